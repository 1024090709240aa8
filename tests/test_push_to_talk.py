# SPDX-License-Identifier: GPL-3.0-or-later
"""examples/push_to_talk.py: keyed by times, by the voice and by its button."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def talk(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import push_to_talk

    return push_to_talk


@pytest.fixture
def files(tmp_path, speech) -> list[str]:
    """Options: four seconds in, and where they go."""
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    wavs = ["--source", str(tmp_path / "in.wav"), "--sink", str(tmp_path / "out.wav")]
    return [*wavs, "--concealer", "repeat"]


def facts(talk, capsys, *options: str) -> dict:
    assert talk.main(["--headless", *options]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_key_opens_the_way_and_shuts_it(talk, files, tmp_path, capsys):
    keys = ["--key", "0.3-1.9", "--seconds", "5"]
    found = facts(talk, capsys, "--simulate", "12", *files, *keys)
    # 1.6 s of speech and what ends it, 160 ms a packet; DTX leaves some out.
    assert 4 <= found["packets_sent"] <= 19
    assert found["packets_sent"] - 2 <= found["packets_heard"] <= found["packets_sent"]
    assert found["es_n0_db"] == pytest.approx(12, abs=2.5)
    # Where the machine is slow the sender stalls, which the receiver takes for losses.
    assert found["tokens_sent"] > 0 and 0 <= found["loss_probability"] <= 1
    assert 500 < found["latency_ms"] < 3000
    heard = soundfile.read(tmp_path / "out.wav")[0]
    assert np.sqrt(np.mean(heard**2)) > 1e-3


def test_without_a_key_nothing_is_sent(talk, files, capsys):
    found = facts(talk, capsys, "--simulate", "12", *files, "--seconds", "3")
    assert found["packets_sent"] == found["packets_heard"] == 0
    assert np.isnan(found["es_n0_db"])


def test_two_stations_talk_over_zmq(talk, files, tmp_path, capsys):
    ends = [f"ipc://{tmp_path}/{n}" for n in "ab"]
    parse = talk.parser().parse_args
    other = talk.Station(parse(["--to", ends[1], "--from", ends[0], *files]))
    other.start()
    ours = ["--to", ends[0], "--from", ends[1], *files, "--vad", "--seconds", "6"]
    sent = facts(talk, capsys, *ours)
    assert sent["packets_sent"] >= 4 and sent["packets_heard"] == 0
    wait_until(lambda: other.facts()["packets_heard"] >= sent["packets_sent"] - 4)
    found = other.facts()
    other.stop()
    other.wait()
    assert other.report_rx.statistics()["reports"] == 0
    # What lay in buffers when the sender stopped does not come.
    assert sent["packets_sent"] - 4 <= found["packets_heard"] <= sent["packets_sent"]
    assert found["packets_sent"] == 0


def test_report_rides_with_the_end_of_the_answer(talk, speech, tmp_path):
    ends = [f"ipc://{tmp_path}/{n}" for n in "ab"]
    # Longer than both overs.
    soundfile.write(tmp_path / "in.wav", np.tile(speech, 8), 24000)
    files = ["--source", str(tmp_path / "in.wav"), "--sink", str(tmp_path / "out.wav")]
    files += ["--concealer", "repeat"]
    parse = talk.parser().parse_args
    both = [talk.Station(parse(["--to", ends[n], "--from", ends[1 - n], *files])) for n in (0, 1)]
    for station in both:
        station.start()

    def refresh():
        for station in both:
            station.refresh()

    def over(station, heard):
        station.key(True)
        wait_until(lambda: station.gate.sent >= 8, refresh)
        station.key(False)
        wait_until(lambda: not station.gate.sending(), refresh)
        wait_until(heard, refresh)

    over(both[0], lambda: both[1].gate.heard >= both[0].gate.sent - 1)
    # Nothing was heard yet that could be told.
    assert both[1].report_rx.statistics()["reports"] == 0
    over(both[1], lambda: both[0].report_rx.statistics()["reports"])
    told = both[0].report_rx.statistics()["reports"]
    for station in both:
        station.stop()
        station.wait()
    # On a loaded machine packets come late, so that p says little.
    assert told == 1 and 0 <= both[0].gate.loss_probability <= 1
    assert both[0].speech_tx.statistics()["controller"]["reports"] >= 1


@pytest.mark.parametrize(
    "options, message",
    [
        ([], "give one of --simulate, a radio, or --to and --from"),
        (["--simulate", "--to", "ipc:///nowhere/x"], "give one of --simulate"),
        (["--simulate", "--uhd", ""], "give one of --simulate"),
        (["--uhd", ""], "--uhd needs --frequency and --sample-rate"),
        (["--to", "ipc:///nowhere/x"], "belong together"),
        (["--simulate", "--source", "none.wav"], "'none.wav' is no file"),
        (["--simulate", "--longest-over", "0"], "--longest-over 0: give more than 0 seconds"),
        (["--simulate", "--longest-over", "nan"], "--longest-over nan: give more than 0 seconds"),
    ],
)
def test_wrong_arguments_say_what(talk, capsys, options, message):
    assert talk.main(["--headless", *options]) == 2
    assert message in capsys.readouterr().err


def test_missing_radio_is_named(talk, files, capsys):
    radio = ["--device", "driver=lime", "--frequency", "433.5e6", "--sample-rate", "250e3"]
    assert talk.main(["--headless", *radio, *files]) == 2
    assert "no radio answers to 'driver=lime'" in capsys.readouterr().err


def test_voice_keys_before_it_is_heard_and_hangs_on(talk):
    from keyer import BEFORE_PARTS, HANG_S, PART, keyer

    block = keyer(voice=True)
    random = np.random.default_rng(0)
    quiet = 1e-4 * random.standard_normal((200, PART)).astype(np.float32)
    loud = 0.1 * random.standard_normal((25, PART)).astype(np.float32)
    parts = np.concatenate([quiet[:50], loud, quiet[50:]])
    out = np.zeros_like(parts)
    for n, part in enumerate(parts):
        block.work([part], [out[n]])
    sent = np.flatnonzero(np.any(out != 0, axis=1))
    # All of the voice, some of what is before it, and no more than the hang behind it.
    assert set(range(50 + BEFORE_PARTS, 75 + BEFORE_PARTS)) <= set(sent)
    assert 50 <= sent.min() < 50 + BEFORE_PARTS
    assert sent.max() <= 75 + BEFORE_PARTS + HANG_S * 24000 / PART + 1
    assert np.array_equal(out[60 + BEFORE_PARTS], parts[60])
    # 20 ms a part, 80 ms a frame.
    assert block.is_sent(sent.max() // 4 + 8, 2) and not block.is_sent(sent.max() // 4 + 9, 2)
    assert not block.is_sent(sent.min() // 4 - 2, 2)
    voiceless = keyer(voice=False)
    voiceless.work([loud[0]], [out[0]])
    assert not out[0].any() and not voiceless.opened() and not voiceless.is_sent(0, 2)


def test_an_over_that_is_too_long_ends_until_the_key_is_up(talk):
    from keyer import BEFORE_PARTS, PART, keyer

    block = keyer(voice=False, longest_over_s=1.0)
    loud = 0.1 * np.random.default_rng(0).standard_normal((130, PART)).astype(np.float32)
    down = np.ones(130, dtype=bool)
    # A button that sticks for two seconds, is let go, and pressed again.
    down[100:105] = False
    out = np.zeros_like(loud)
    for n, part in enumerate(loud):
        block.down = bool(down[n])
        block.work([part], [out[n]])
    sent = np.flatnonzero(np.any(out != 0, axis=1))
    assert 47 <= sent[sent < 100].max() - BEFORE_PARTS < 50
    assert sent[sent >= 100].min() >= 105 and sent.max() == 129
    assert block.overs_cut == 1


@pytest.mark.parametrize("longest_over_s, cut", [(1e-3, 1), (float("inf"), 0)])
def test_overs_of_any_length_can_be_asked_for(talk, longest_over_s, cut):
    from keyer import PART, keyer

    block = keyer(voice=False, longest_over_s=longest_over_s)
    loud = 0.1 * np.random.default_rng(0).standard_normal((60, PART)).astype(np.float32)
    out = np.zeros_like(loud)
    block.down = True
    for part, sent in zip(loud, out, strict=True):
        block.work([part], [sent])
    assert block.overs_cut == cut and np.any(out) == (not cut)


def test_panel_keys_and_shows(talk, files, monkeypatch):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    QtWidgets = pytest.importorskip("PyQt5.QtWidgets")  # noqa: N806
    from PyQt5 import QtCore, QtTest

    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication([])
    station = talk.Station(talk.parser().parse_args(["--simulate", "12", *files]))
    station.start()
    from talk_panel import Panel

    panel = Panel(station)
    panel.show()
    QtTest.QTest.mousePress(panel.button, QtCore.Qt.LeftButton)
    heard = panel.values["packets_heard"]
    wait_until(lambda: heard.text() not in ("–", "0"), app.processEvents)
    assert panel.state.text() == "SENDING" and station.keyer.down
    assert panel.values["es_n0_db"].text().endswith("dB")
    QtTest.QTest.mouseRelease(panel.button, QtCore.Qt.LeftButton)
    assert not station.keyer.down
    wait_until(lambda: panel.state.text() != "SENDING", app.processEvents)
    assert panel.state.text() == "hearing"
    panel.close()
    station.stop()
    station.wait()
