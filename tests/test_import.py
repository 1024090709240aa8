# SPDX-License-Identifier: GPL-3.0-or-later
"""The package is light until a neural block is made."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


# What takes seconds to import, or is not there for the core.
HEAVY = {"torch", "moshi", "transformers", "scipy", "matplotlib", "soundfile", "safetensors"}
HEAVY |= {"jinja2", "sigmf", "ray", "onnxruntime", "ctranslate2", "librosa", "visqol"}


@pytest.mark.parametrize("use", ["", "; l.uep_packetizer; l.packet_radio_tx(); l.keys"])
def test_import_takes_nothing_heavy(use):
    found = run(f"import gnuradio.largesc as l, sys{use}; print(*sys.modules)")
    assert not HEAVY & {name.split(".")[0] for name in found.split()}


def test_core_needs_no_gnuradio():
    code = (
        "import sys; sys.modules['gnuradio.gr'] = None\n"
        "from gnuradio.largesc import _core; print(_core.Packetizer().end_packet().hex())"
    )
    assert run(code) == "00e0"


def test_every_export_exists():
    from gnuradio import largesc

    for name in largesc.__all__:
        assert getattr(largesc, name) is not None
