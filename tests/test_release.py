# SPDX-License-Identifier: GPL-3.0-or-later
"""What others install: one version, a CMake package, recipes that name what the module needs."""

import re
import subprocess
from pathlib import Path

import gnuradio.largesc
import pytest
import yaml

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
