# SPDX-License-Identifier: GPL-3.0-or-later
"""Every example compiles; those without a display run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

ROOT = Path(__file__).parent.parent
YMLS = sorted((ROOT / "grc").glob("*.block.yml"))
GRCS = sorted((ROOT / "examples").glob("*.grc"))


@pytest.mark.parametrize("path", YMLS, ids=lambda p: p.name)
def test_block_description_is_complete(path):
    found = yaml.safe_load(path.read_text())
    assert found["category"].startswith("[LargeSC]")
    assert found["asserts"]
    for section in ("Input", "Output", "Parameters", "Metadata"):
        assert section in found["documentation"], section
    from gnuradio import largesc

    assert hasattr(largesc, found["id"].removeprefix("largesc_"))


@pytest.mark.parametrize("path", GRCS, ids=lambda p: p.name)
def test_flowgraph_compiles(path, tmp_path):
    environment = os.environ | {"GRC_BLOCKS_PATH": str(ROOT / "grc")}
    done = subprocess.run(
        ["grcc", "-o", str(tmp_path), str(path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search("Error while loading", done.stdout + done.stderr)
    assert (tmp_path / f"{path.stem}.py").exists()


def compiled(name: str, folder: Path) -> str:
    environment = os.environ | {"GRC_BLOCKS_PATH": str(ROOT / "grc")}
    grc = str(ROOT / "examples" / f"{name}.grc")
    subprocess.run(
        ["grcc", "-o", str(folder), grc], check=True, capture_output=True, env=environment
    )
    return str(folder / f"{name}.py")


def test_two_processes_over_udp(tmp_path):
    script_tx, script_rx = compiled("tx", tmp_path), compiled("rx", tmp_path)
    out = tmp_path / "out.wav"
    rx = subprocess.Popen(
        ["timeout", "-s", "INT", "25", sys.executable, script_rx, "--wav-out", str(out)],
        stderr=subprocess.PIPE,
    )
    subprocess.run(
        ["timeout", "-s", "INT", "14", sys.executable, script_tx], capture_output=True, timeout=60
    )
    rx.wait(timeout=60)
    speech = soundfile.read(out)[0]
    assert np.sqrt(np.mean(speech**2)) > 1e-3, "nothing but comfort noise came out"


def test_loopback_with_a_display_runs(tmp_path):
    script = compiled("loopback", tmp_path)
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        ["timeout", "15", sys.executable, script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 124, done.stderr
    assert "Traceback" not in done.stderr


def test_headless_loopback_runs(tmp_path):
    samples = 0.1 * np.random.default_rng(0).standard_normal(24000)
    soundfile.write(tmp_path / "in.wav", samples, 24000)
    script = str(ROOT / "examples" / "loopback.py")
    files = [str(tmp_path / "in.wav"), str(tmp_path / "out.wav")]
    subprocess.run([sys.executable, script, *files, "--loss", "0.3"], check=True, timeout=120)
    # The end of a WAV is whole frames.
    assert len(soundfile.read(tmp_path / "out.wav")[0]) == 13 * 1920
