# SPDX-License-Identifier: GPL-3.0-or-later
# What others find: find_package(gnuradio-largesc), and a Debian package by cpack.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/gnuradio-largesc)
configure_package_config_file(cmake/gnuradio-largescConfig.cmake.in
    ${CMAKE_BINARY_DIR}/gnuradio-largescConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(
    ${CMAKE_BINARY_DIR}/gnuradio-largescConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/gnuradio-largescConfig.cmake
    ${CMAKE_BINARY_DIR}/gnuradio-largescConfigVersion.cmake DESTINATION ${package_dir})
install(EXPORT gnuradio-largescTargets NAMESPACE gnuradio:: DESTINATION ${package_dir})

# Neural blocks need what pip installs: the lists come along.
file(GLOB requirements CONFIGURE_DEPENDS requirements*.txt)
install(FILES ${requirements} README.md CHANGELOG.md DESTINATION share/doc/gr-largesc)

# cmake -B build-deb -DCMAKE_INSTALL_PREFIX=/usr && cmake --build build-deb && (cd build-deb && cpack)
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME gr-largesc)
set(CPACK_PACKAGE_CONTACT "gr-largesc maintainers")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "speech over links of 0.5 to 2 kbit/s that lose a third of it")
set(CPACK_RESOURCE_FILE_LICENSE ${CMAKE_SOURCE_DIR}/COPYING)
set(CPACK_PACKAGING_INSTALL_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION hamradio)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/cmake/prerm)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "gnuradio (>= 3.10), gnuradio (<< 3.11), python3-numpy, python3-scipy")
# torch and moshi are in no distribution: `largesc doctor` says how to get them.
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS
    "python3-venv, python3-pyqt5.qtsvg, alsa-utils, libsndfile1")
# For programs that find_package(gnuradio-largesc).
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "gnuradio-dev, cmake, g++")
# cpack says it less plainly.
find_program(file_program file)
find_program(shlibdeps_program dpkg-shlibdeps)
if(NOT file_program OR NOT shlibdeps_program)
    message(STATUS "cpack makes no Debian package yet: apt-get install file dpkg-dev")
endif()
include(CPack)
