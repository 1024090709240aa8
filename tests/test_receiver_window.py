# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of examples/radio.py rx: lamps, figures and words for what is heard."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pmt
import pytest
from commands import Command, main_of, set_environment
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.blocks.messages import to_pmt
from gnuradio.largesc.radio.band import Signal
from gnuradio.largesc.radio.diagnosis import Heard, explain
from gnuradio.largesc.radio.profiles import PROFILES
from helpers import wait_until
from radio_signals import noisy, random_packets, shifted, transmit

EXAMPLES = Path(__file__).parent.parent / "examples"
PROFILE = PROFILES["ssb"]


def over(count: int = 12, gap: int = 40) -> np.ndarray:
    """Samples of bursts with a right CRC, at the profile's own rate."""
    from gnuradio.largesc._core import append_crc

    packets = [append_crc(packet[:-2]) for packet in random_packets([25] * count, 1)]
    return noisy(transmit(packets, PROFILE, gap), 18.0, PROFILE, 2)


def noise(seconds: float) -> np.ndarray:
    return noisy(np.zeros(round(7200 * seconds)), 18.0, PROFILE, 3)


def heard_in(x: np.ndarray, **options) -> object:
    tb = gr.top_block("rx", catch_exceptions=False)
    rx = largesc.packet_radio_rx(profile="ssb", **options)
    tb.connect(blocks.vector_source_c(np.asarray(x, dtype=np.complex64).tolist()), rx)
    tb.run()
    return rx


def test_words_follow_what_is_heard():
    assert heard_in(noise(4.0)).hearing() == "noise alone"
    assert heard_in(over()).hearing() == "packets come"
    assert heard_in(np.zeros(4 * 7200)).hearing().startswith("no samples come, or only zeros")
    for level in (1e-6, np.nan):
        assert heard_in(level * noise(4.0)).hearing() == "noise alone"
    # Two seconds behind the last packet it is noise again.
    assert heard_in(np.concatenate([over(), noise(4.0)])).hearing() == "noise alone"
    beside = shifted(over(24), 3000 / PROFILE.symbol_rate, PROFILE)
    said = heard_in(beside).hearing()
    assert said.startswith("no packet: ") and "kHz above the centre" in said


def test_level_is_that_of_the_last_second():
    tone = 0.5 * np.exp(2j * np.pi * 0.05 * np.arange(4 * 7200))
    assert heard_in(tone).statistics()["level_dbfs"] == pytest.approx(-6.02, abs=0.1)
    assert heard_in(np.zeros(4 * 7200)).statistics()["level_dbfs"] == -100.0
    for odd in (np.nan, np.inf, 1e30):
        level = heard_in(np.full(4 * 7200, odd)).statistics()["level_dbfs"]
        assert np.isfinite(level)


def test_status_tells_the_words():
    tb = gr.top_block("rx", catch_exceptions=False)
    rx, found = largesc.packet_radio_rx(profile="ssb"), blocks.message_debug()
    tb.connect(blocks.vector_source_c(over().astype(np.complex64).tolist()), rx)
    tb.msg_connect(rx, "status", found, "store")
    tb.run()
    assert pmt.to_python(found.get_message(0))["hearing"] == "packets come"


def states(lamp, messages: list) -> list[bool]:
    tb, found = gr.top_block("lamp", catch_exceptions=False), blocks.message_debug()
    tb.msg_connect(lamp, "state", found, "store")
    for message in messages:
        lamp.to_basic_block()._post(pmt.intern("status"), message)
    tb.start()
    wait_until(lambda: lamp.to_basic_block().nmsgs(pmt.intern("status")) == 0)
    tb.stop()
    tb.wait()
    return [pmt.to_python(pmt.cdr(found.get_message(n))) for n in range(found.num_messages())]


def test_lamps_of_a_counter_and_of_a_value():
    counts = [to_pmt({"accepted": n}) for n in (0, 1, 2, 2, 3)]
    assert states(largesc.status_lamp(), counts) == [False, True, False, True]
    levels = [to_pmt({"level_dbfs": level}) for level in (-20.0, -3.0, -1.0, -9.0)]
    lamp = largesc.status_lamp(name="level_dbfs", least=-3)
    assert states(lamp, levels) == [False, True, False]
    odd = [pmt.PMT_NIL, to_pmt({"other": 1}), to_pmt({"accepted": float("nan")})]
    lamp = largesc.status_lamp()
    assert states(lamp, [*odd, to_pmt({"accepted": 1})]) == [True]
    assert lamp.statistics()["refused"] == 2
    with pytest.raises(ValueError, match="name is empty"):
        largesc.status_lamp(name="")


@pytest.mark.parametrize(
    "width, said",
    [(4.4, "is the sender's narrow?"), (1.0, "2 bursts began and none could be read")],
)
def test_a_wider_signal_is_named_though_it_looks_like_a_sync_now_and_then(width, said):
    signal = Signal(offset=0.0, width=width, level_db=12.0, share=0.5, everywhere=False)
    heard = Heard(strong_syncs=2)
    assert said in explain(PROFILE, heard, signal, 8700.0)
    assert "none could be read" in explain(PROFILE, heard, None, 8700.0)


class Modem:
    """Says what it is told."""

    def __init__(self, words: str, **facts) -> None:
        self._words, self.facts = words, {"accepted": 0, "crc_failures": 0} | facts

    def statistics(self) -> dict:
        return self.facts

    def hearing(self) -> str:
        return self._words

    def line(self) -> str:
        return "N0CALL: hello"


@pytest.fixture
def window(monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    pytest.importorskip("PyQt5.QtWidgets")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import receiver_window
    from PyQt5 import QtWidgets

    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["test"])

    class Views:
        def widgets(self) -> list:
            return [QtWidgets.QLabel("waterfall"), QtWidgets.QLabel("symbols")]

        def fit_colours(self) -> None:
            pass

    yield lambda modem: receiver_window.Panel(modem, Views(), modem)
    app.processEvents()


SIGNAL = {"signal_db": 16.0, "signal_offset_hz": 5082.0, "level_dbfs": -6.0}
PACKETS = {"accepted": 9, "es_n0_db": 17.84, "carrier_offset_hz": 199.4}


@pytest.mark.parametrize(
    "words, facts, lit, shown",
    [
        ("packets come", SIGNAL | PACKETS, {"signal", "packets"}, ("17.8 dB", "+199 Hz", "16 dB")),
        ("no packet: a signal", SIGNAL, {"signal"}, ("–", "–", "16 dB")),
        ("noise alone", {"signal_db": 1.0, "level_dbfs": -9.0}, set(), ("–", "–", "–")),
        ("noise alone", {"signal_db": 0.0, "level_dbfs": 0.0}, {"loud"}, ("–", "–", "–")),
        # The receiver of OFDM tells less.
        ("packets come", {"accepted": 3, "es_n0_db": 20.0}, {"packets"}, ("20.0 dB", "–", "–")),
    ],
)
def test_each_case_looks_different(window, words, facts, lit, shown):
    panel = window(Modem(words, **facts))
    assert {name for name, lamp in panel.lamps.items() if lamp.on} == lit
    assert panel.words.text() == words and panel.read.text() == "N0CALL: hello"
    names = ("es_n0_db", "carrier_offset_hz", "signal_db")
    assert tuple(panel.values[name].text() for name in names) == shown


def test_lamp_of_packets_goes_out(window):
    modem = Modem("packets come", accepted=4)
    panel = window(modem)
    assert panel.lamps["packets"].on
    panel.refresh()
    assert not panel.lamps["packets"].on
    modem.facts["accepted"] = 5
    panel.refresh()
    assert panel.lamps["packets"].on


def run_radio(folder: Path, *arguments: str, **environment: str | None) -> Command:
    """The receiver of the example, in an environment with these variables."""
    prepare = partial(set_environment, **({"QT_QPA_PLATFORM": "offscreen"} | environment))
    main = partial(main_of, "radio", folder=str(EXAMPLES))
    return Command(folder, "rx", *arguments, prepare=prepare, main=main)


def test_a_recording_is_looked_at_and_its_picture_kept(tmp_path):
    pytest.importorskip("PyQt5.QtWidgets")
    over(24).astype(np.complex64).tofile(tmp_path / "over.cf32")
    picture = tmp_path / "window.png"
    where = [str(tmp_path / "out.wav"), "--from", str(tmp_path / "over.cf32")]
    done = run_radio(tmp_path, *where, "--window", "--picture", str(picture))
    assert done.wait() == 0, done.said()
    out = Path(done.stdout).read_text()
    assert json.loads(out.splitlines()[-1])["modem"]["accepted"] == 24
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000


def test_without_a_display_it_says_so(tmp_path):
    noise(0.1).astype(np.complex64).tofile(tmp_path / "x.cf32")
    where = [str(tmp_path / "out.wav"), "--from", str(tmp_path / "x.cf32"), "--window"]
    no_display = dict.fromkeys(("DISPLAY", "WAYLAND_DISPLAY"))
    done = run_radio(tmp_path, *where, QT_QPA_PLATFORM="", **no_display)
    assert done.wait() == 2 and "--window needs a display" in done.said()


def test_a_rate_that_is_too_high_is_one_line(tmp_path):
    noise(0.1).astype(np.complex64).tofile(tmp_path / "fast.cf32")
    where = [str(tmp_path / "out.wav"), "--from", str(tmp_path / "fast.cf32")]
    done = run_radio(tmp_path, *where, "--window", "--sample-rate", "10e6")
    # Nor is there a traceback.
    assert done.wait() == 2
    lines = [line for line in done.said().splitlines() if line.startswith("radio rx: ")]
    assert len(lines) == 1 and "10" in lines[0], done.said()
