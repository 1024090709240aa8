# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/tutorial.md: each step is done as it stands there, in its order."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from helpers import free_port

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
# Another program may have that of the text.
PORT = str(free_port())
STEPS = re.split(r"^## (?=\d+\. )", TEXT, flags=re.M)[1:]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
SPOKEN = Path("/usr/share/sounds/alsa/Front_Center.wav")
# What a step leaves behind, as long as the speech but for a frame or two, and what it says.
LEAVES = {
    2: ("clean.wav", "frames"),
    3: ("lossy.wav", "frames"),
    4: (None, "Generating"),
    5: ("first_link.wav", ""),
    6: ("told_link.wav", ""),
    7: ("link.wav", "made up:"),
    8: ("link.wav", "my block has lost"),
    9: ("heard.wav", "listening"),
    10: ("air.wav", '"accepted"'),
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder with what the tutorial uses of a clone."""
    if not SPOKEN.exists():
        pytest.skip("alsa-utils, whose recordings the tutorial uses, is not installed")
    folder = tmp_path_factory.mktemp("clone")
    (folder / "my").mkdir()
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def blocks_of(step: str) -> list[tuple[str, str]]:
    """Language and text of the fenced blocks of a step."""
    return FENCE.findall(step)


def prelude() -> str:
    """What the first step sets for the terminal."""
    lines = "".join(text for _, text in blocks_of(STEPS[0])).splitlines()
    return "\n".join(line for line in lines if line.startswith(("source ", "export ")))


def test_there_are_ten_steps_in_their_order():
    assert [int(step.split(".")[0]) for step in STEPS] == list(range(1, 11))
    assert all(blocks_of(step) for step in STEPS)


@pytest.mark.parametrize("number", range(1, 11))
def test_step(number, clone):
    said = ""
    for language, text in blocks_of(STEPS[number - 1]):
        if language != "bash":
            name = re.match(r"# (my/\S+)\n", text).group(1)
            (clone / name).write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", f"{prelude()}\n{text.replace('52001', PORT)}"],
            cwd=clone, capture_output=True, text=True, timeout=500,
            env=os.environ | {"OMP_WAIT_POLICY": "passive"},
        )  # fmt: skip
        said += done.stdout + done.stderr
        assert done.returncode == 0, said
    assert "Traceback" not in said and "Error while loading" not in said, said
    wav, words = LEAVES.get(number, (None, ""))
    assert words in said
    if wav is not None:
        found, spoken = soundfile.info(clone / "my" / wav), soundfile.info(SPOKEN)
        assert found.samplerate == 24000
        # A receiver that listens plays silence until somebody speaks.
        assert found.duration > spoken.duration - 0.6
        assert number == 9 or found.duration < spoken.duration + 0.6
