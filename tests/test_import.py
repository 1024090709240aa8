# SPDX-License-Identifier: GPL-3.0-or-later
"""The package is light until a neural block is made."""

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_import_is_quick_and_without_torch():
    code = (
        "import time; t = time.perf_counter(); import gnuradio.largesc as l, sys; "
        "l.uep_packetizer; l.keys; print('torch' in sys.modules, time.perf_counter() - t)"
    )
    torch_loaded, seconds = run(code).split()
    assert torch_loaded == "False"
    # A second for the import alone; starting GNU Radio itself is in it here.
    assert float(seconds) < 3.0


def test_bare_import_in_a_second():
    code = (
        "import time; t = time.perf_counter(); import gnuradio.largesc, sys; "
        "print('torch' in sys.modules, time.perf_counter() - t)"
    )
    torch_loaded, seconds = run(code).split()
    assert torch_loaded == "False" and float(seconds) < 1.0


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
