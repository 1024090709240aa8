# SPDX-License-Identifier: GPL-3.0-or-later
"""What others install: one version, a CMake package, recipes that name what the module needs."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import gnuradio.largesc
import pytest
import yaml
from gnuradio.largesc import packages

ROOT = Path(__file__).resolve().parents[1]
# By the names that conda gives them, or where a recipe must not list them.
OTHER_NAMES = {"torch": "pytorch", "soundfile": "pysoundfile", "matplotlib": "matplotlib-base"}
# Of tests, training and evaluation; sphn comes with moshi, which is in no channel.
NOT_IN_CONDA = {
    "sphn", "accelerate", "tensorboard", "pyworld", "sigmf", "visqol-python", "pytest", "ruff",
    "pytest-timeout", "pytest-xdist",
}  # fmt: skip


def prefix() -> Path:
    """Where the module that is tested was installed."""
    packages = Path(gnuradio.largesc.__file__).parents[2]
    return next(p for p in packages.parents if p.name == "lib").parent


def test_version_is_the_same_everywhere():
    version = gnuradio.largesc.__version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    found = list(prefix().glob("lib/**/gnuradio-largescConfigVersion.cmake"))
    assert found and f'set(PACKAGE_VERSION "{version}")' in found[0].read_text()
    assert list(prefix().glob(f"lib/**/libgnuradio-largesc.so.{version}"))


def test_a_program_of_others_builds_against_the_package(tmp_path):
    build = tmp_path / "build"
    for command in (
        ["cmake", "-B", build, "-S", ROOT / "tests/consumer", f"-DCMAKE_PREFIX_PATH={prefix()}"],
        ["cmake", "--build", build],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run([build / "consumer"], capture_output=True, text=True)
    assert done.stdout == "loss_channel\n", done.stderr


def test_what_cpack_needs_is_said_where_it_is_used():
    needed = {"file", "dpkg-dev"}
    flow = yaml.safe_load((ROOT / ".github/workflows/build.yml").read_text())
    steps = [step.get("run", "") for step in flow["jobs"]["distribution"]["steps"]]
    assert needed <= set(steps[0].split()) and any("cpack" in step for step in steps)
    assert "apt-get install file dpkg-dev" in (ROOT / "docs/installing.md").read_text()


def test_removed_package_leaves_nothing_compiled():
    script = ROOT / "cmake" / "prerm"
    assert os.access(script, os.X_OK) and "py3clean -p gr-largesc" in script.read_text()
    assert "CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/cmake/prerm" in (
        ROOT / "cmake/package.cmake"
    ).read_text().replace("\n", " ")


def test_all_lists_of_requirements_are_installed():
    for path in ROOT.glob("requirements*.txt"):
        assert Path(packages.listed(path.name)).read_text() == path.read_text()
    assert packages.listed("no_such_list.txt") == "no_such_list.txt"


def test_remedies_fit_the_python_that_runs(tmp_path, monkeypatch):
    assert packages.pip_install() == f"{sys.prefix}/bin/pip install"
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert packages.pip_install() == "pip install"
    # Debian's own Python takes nothing from pip.
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    assert "python3 -m venv --system-site-packages " in packages.pip_install()


@pytest.fixture
def launched(tmp_path):
    """Runs the command as installed for the base Python; gives sys.prefix, and if it is first."""
    text = (ROOT / "apps/largesc.in").read_text()

    def run(folder: str, **environment: str) -> tuple[str, bool]:
        destination = tmp_path / folder
        cli = destination / "gnuradio" / "largesc" / "cli"
        cli.mkdir(parents=True, exist_ok=True)
        for package in (cli, cli.parent, cli.parent.parent):
            (package / "__init__.py").touch()
        says = f"print(sys.prefix, sys.path[0] == {str(destination)!r}, *sys.argv[1:])"
        (cli / "main.py").write_text(f"import sys\n\n\ndef main():\n    {says}\n")
        command = tmp_path / "largesc"
        filled = text.replace("@python_destination@", str(destination))
        command.write_text(filled.replace("@PYTHON_EXECUTABLE@", "unused"))
        clean = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
        clean |= environment | {"PYTHONPATH": str(destination)}
        base = Path(sys.base_prefix) / "bin" / "python3"
        done = subprocess.run(
            [base, command, "--word"], env=clean, capture_output=True, text=True, check=True
        )
        prefix, first, word = done.stdout.split()
        assert word == "--word"
        return prefix, first == "True"

    return run


def test_command_uses_the_virtual_environment_that_is_active(launched, tmp_path):
    assert launched("site-packages") == (sys.base_prefix, True)
    assert launched("site-packages", VIRTUAL_ENV=sys.prefix) == (sys.prefix, True)
    # What a distribution has beside the module does not hide what is newer there.
    assert launched("dist-packages") == (sys.base_prefix, True)
    assert launched("dist-packages", VIRTUAL_ENV=sys.prefix) == (sys.prefix, False)
    # One that does not see GNU Radio, or is no more.
    apart = tmp_path / "apart"
    apart.mkdir()
    assert launched("dist-packages", VIRTUAL_ENV=str(apart))[0] == sys.base_prefix
    facts = f"home = {sys.base_prefix}/bin\ninclude-system-site-packages = false\n"
    (apart / "pyvenv.cfg").write_text(facts)
    assert launched("dist-packages", VIRTUAL_ENV=str(apart))[0] == sys.base_prefix


def test_bootstrap_installs_what_an_error_asks_for(tmp_path, monkeypatch):
    from gnuradio.largesc.cli import task_demo

    monkeypatch.setattr(task_demo, "RECORDINGS", tmp_path)
    with pytest.raises(ValueError, match="no recordings in") as error:
        task_demo.recordings()
    asked = str(error.value).partition("apt-get install ")[2].split()
    wanted = re.search(r"^task\)\n +PACKAGES\+=\((.*)\)", (ROOT / "bootstrap").read_text(), re.M)
    listed = subprocess.run(
        ["bash", "-c", f"echo {wanted.group(1)}"], capture_output=True, text=True
    ).stdout.split()
    assert asked and set(asked) <= set(listed)


def test_catalogue_files_can_be_read():
    head, text = (ROOT / "MANIFEST.md").read_text().split("---\n")
    facts = yaml.safe_load(head)
    assert facts["title"] == "gr-largesc" and facts["license"] == "GPL-3.0-or-later" and text
    recipe = yaml.safe_load((ROOT / "gr-largesc.lwr").read_text())
    assert recipe["inherit"] == "cmake" and "gnuradio" in recipe["depends"]
    flow = yaml.safe_load((ROOT / ".github/workflows/build.yml").read_text())
    images = flow["jobs"]["distribution"]["strategy"]["matrix"]["image"]
    assert {"debian:12", "debian:13", "ubuntu:22.04", "ubuntu:24.04"} == set(images)


def test_conda_recipe_lists_what_the_link_needs():
    jinja2 = pytest.importorskip("jinja2")
    functions = {
        "load_file_regex": lambda path, pattern, **_: re.search(pattern, (ROOT / path).read_text()),
        "compiler": lambda name: f"{name} compiler",
        "stdlib": lambda name: f"{name} library",
        "pin_compatible": lambda name: name,
    }
    text = (ROOT / ".conda/recipe/meta.yaml").read_text()
    recipe = yaml.safe_load(jinja2.Template(text).render(**functions))
    assert recipe["package"]["version"] == gnuradio.largesc.__version__
    listed = {line.split()[0] for line in recipe["requirements"]["run"]}
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    needed = {line.split("==")[0] for line in lines if "==" in line} - NOT_IN_CONDA
    assert {OTHER_NAMES.get(name, name) for name in needed} <= listed
