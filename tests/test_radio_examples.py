# SPDX-License-Identifier: GPL-3.0-or-later
"""examples/radio.py: recordings, ZMQ, radios that are not there and radios that stand in."""

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import Command, main_of
from gnuradio import gr, largesc
from helpers import wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"
FRAMES = 20
RADIO = ["--frequency", "433.5e6", "--sample-rate", "250e3"]


@pytest.fixture
def radio(monkeypatch, tmp_path):
    """The example, without the language model, which takes seconds to load."""
    # Names without a folder are written to as well.
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import radio

    monkeypatch.setattr(largesc, "speech_rx", partial(largesc.speech_rx, method="repeat"))

    return radio


@pytest.fixture
def wav(tmp_path, speech) -> str:
    soundfile.write(tmp_path / "in.wav", speech[: FRAMES * 1920 - 480], 24000)
    return str(tmp_path / "in.wav")


def result(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_recording_is_sigmf_and_plays(radio, wav, tmp_path, capsys):
    recording = tmp_path / "over.sigmf-data"
    out = str(tmp_path / "out.wav")
    air = ["--simulate", "12", "--carrier-offset", "500"]
    tuned = ["--tune-below", "5e3"]
    where = [*tuned, "--sample-rate", "48e3", "--frequency", "433.5e6", "--to", str(recording)]
    assert radio.main(["tx", wav, *air, *where]) == 0
    sent = result(capsys)
    assert sent["speech"]["encoder"]["frames"] == FRAMES
    assert sent["modem"]["dropped"] == 0

    meta = json.loads(recording.with_suffix(".sigmf-meta").read_text())
    assert set(meta) == {"global", "captures", "annotations"}
    assert meta["global"]["core:datatype"] == "cf32_le"
    assert meta["global"]["core:sample_rate"] == 48000
    assert meta["global"]["core:version"].startswith("1.")
    assert meta["global"]["largesc:profile"] == "ssb"
    samples = np.fromfile(recording, dtype="<c8")
    (capture,) = meta["captures"]
    begin = datetime.fromisoformat(capture.pop("core:datetime"))
    assert 0 <= (datetime.now(UTC) - begin).total_seconds() < 3600
    assert capture == {"core:sample_start": 0, "core:frequency": 433.495e6}
    assert meta["annotations"] == [
        {
            "core:sample_start": 0,
            "core:sample_count": len(samples),
            "core:freq_lower_edge": 433.5005e6 - 1125,
            "core:freq_upper_edge": 433.5005e6 + 1125,
            "core:label": "over",
        }
    ]
    assert recording.stat().st_size == 8 * len(samples) and np.isfinite(samples).all()
    # The power lies where the radio is not tuned to.
    power = np.abs(np.fft.fft(samples)) ** 2
    centre = np.abs(np.fft.fftfreq(len(samples), 1 / 48000)) < 500
    shifted = np.abs(np.fft.fftfreq(len(samples), 1 / 48000) - 5000) < 500
    assert power[shifted].sum() > 3 * power[centre].sum()

    # The recording names its profile, which counts more than what is asked for.
    asked = ["--profile", "narrow", "--from", str(recording)]
    assert radio.main(["rx", out, *tuned, *asked]) == 0
    said = capsys.readouterr()
    assert "is a recording of profile ssb: it is read so, and not as narrow" in said.err
    got = json.loads(said.out.splitlines()[-1])
    assert got["modem"]["accepted"] == sent["modem"]["packets"]
    assert got["modem"]["es_n0_db"] == pytest.approx(12, abs=2.5)
    assert got["modem"]["carrier_offset_hz"] == pytest.approx(500, abs=5)
    assert got["speech"]["decoder"]["frames"] == FRAMES
    assert got["speech"]["concealer"]["frames_made_up"] == 0
    heard = soundfile.read(out)[0]
    assert len(heard) == FRAMES * 1920
    assert np.sqrt(np.mean(heard**2)) > 3e-3

    # Noise drowns it: not a packet, and no speech, and that is said.
    loud = np.random.default_rng(0).standard_normal((len(samples), 2)).astype(np.float32)
    (samples + 20 * loud.view(np.complex64)[:, 0]).astype("<c8").tofile(recording)
    assert radio.main(["rx", out, *tuned, "--from", str(recording)]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out.splitlines()[-1])["modem"]["accepted"] == 0
    assert "no packet was understood: nothing but noise is heard" in said.err


def test_parity_is_a_matter_of_both_ends(radio, wav, tmp_path, capsys):
    recording, out = str(tmp_path / "over.sigmf-data"), str(tmp_path / "out.wav")
    parity = ["--layout", "parity"]
    air = ["--simulate", "12", "--to", recording]
    assert radio.main(["tx", wav, *parity, "--expected-loss", "0.3", *air]) == 0
    assert result(capsys)["speech"]["packetizer"]["tokens_repeated"] > 0
    assert radio.main(["rx", out, *parity, "--from", recording]) == 0
    heard = result(capsys)["speech"]["depacketizer"]
    assert heard["frames_released"] == FRAMES and heard["frames_lost"] == 0
    radio.main(["rx", out, "--from", recording])
    assert "they look like frames_per_packet 2, layout parity" in capsys.readouterr().out


def test_what_is_heard_is_recorded_with_each_packet_marked(radio, wav, tmp_path, capsys):
    first, second = tmp_path / "over.sigmf-data", tmp_path / "heard.sigmf-data"
    where = ["--sample-rate", "48e3", "--frequency", "433.5e6", "--tune-below", "5e3"]
    assert radio.main(["tx", wav, "--simulate", "30", *where, "--to", str(first)]) == 0
    capsys.readouterr()
    kept = tmp_path / "kept.wav"
    play = ["--from", str(first), "--record", str(second), "--tune-below", "5e3"]
    play += ["--keep-speech", str(kept)]
    assert radio.main(["rx", str(tmp_path / "out.wav"), *play]) == 0
    accepted = result(capsys)["modem"]["accepted"]
    told = json.loads(second.with_suffix(".sigmf-meta").read_text())
    assert kept.read_bytes() == (tmp_path / "out.wav").read_bytes()
    # What was played told the frequency.
    assert told["captures"][0]["core:frequency"] == 433.495e6
    marks = told["annotations"]
    assert len(marks) == accepted and {m["core:label"] for m in marks} == {"packet"}
    samples = np.fromfile(second, dtype="<c8")
    power = np.abs(samples) ** 2
    for mark in marks:
        middle = (mark["core:freq_lower_edge"] + mark["core:freq_upper_edge"]) / 2
        assert abs(middle - 433.5e6) < 10
        assert mark["core:comment"].startswith("Es/N0 ")
        start, count = mark["core:sample_start"], mark["core:sample_count"]
        assert power[start : start + count].mean() > 0.2
    # In front of the first one is silence.
    assert power[: marks[0]["core:sample_start"] - 500].mean() < 0.02


def test_recording_of_ofdm_ends_with_silence(radio, wav, tmp_path, capsys):
    path = tmp_path / "wide.cf32"
    assert radio.main(["tx", wav, "--profile", "wide", "--simulate", "--to", str(path)]) == 0
    samples = np.fromfile(path, dtype="<c8")
    assert not samples[-75000:].any() and samples[-75200:-75000].any()
    assert not path.with_suffix(".sigmf-meta").exists()
    from sigmf_files import open_recording

    source, rate = (found := open_recording(path, 250e3)).source, found.sample_rate
    tb, rx = gr.top_block("play", catch_exceptions=False), largesc.packet_radio_rx(profile="wide")
    tb.connect(source, rx)
    tb.run()
    assert rate == 250e3
    assert rx.statistics()["accepted"] == result(capsys)["modem"]["packets"]


def test_nothing_is_told_from_noise(radio, tmp_path, capsys):
    """Nobody sends samples: that is not the fault of the air."""
    address = f"ipc://{tmp_path}/air"
    command = ["rx", str(tmp_path / "out.wav"), "--from", address, "--seconds", "0.5"]
    assert radio.main(command) == 1
    said = capsys.readouterr().err
    assert "no packet was understood: no samples come, or only zeros" in said
    assert "noise" not in said


def test_live_over_zmq_with_a_record_of_it(radio, wav, tmp_path):
    address, record = f"ipc://{tmp_path}/air", str(tmp_path / "heard.sigmf-data")
    parse = radio.parser().parse_args
    out = str(tmp_path / "out.wav")
    receiver = radio.Receiver(parse(["rx", out, "--from", address, "--record", record]))
    sender = radio.Sender(parse(["tx", wav, "--simulate", "--to", address]))
    receiver.start()
    sender.run()
    sent = sender.statistics()
    # However slow the machine is: what was sent comes in.
    wait_until(lambda: receiver.statistics()["modem"]["accepted"] >= sent["modem"]["packets"])
    receiver.stop()
    receiver.wait()
    got = receiver.statistics()
    assert got["modem"]["accepted"] == sent["modem"]["packets"]
    # What was recorded is what came in, and plays as well.
    from sigmf_files import open_recording

    source, rate = (found := open_recording(Path(record))).source, found.sample_rate
    tb, rx = gr.top_block("play", catch_exceptions=False), largesc.packet_radio_rx(profile="ssb")
    tb.connect(source, rx)
    tb.run()
    assert rate == 7200 and rx.statistics()["accepted"] == sent["modem"]["packets"]


@pytest.mark.parametrize("command", ["tx", "rx"])
@pytest.mark.parametrize("option, device", [("--device", "driver=rtlsdr"), ("--uhd", "type=b200")])
def test_missing_radio_is_named(radio, wav, tmp_path, capsys, command, option, device):
    file = wav if command == "tx" else str(tmp_path / "out.wav")
    assert radio.main([command, file, option, device, *RADIO]) == 2
    said = capsys.readouterr().err
    assert f"no radio answers to '{device}'" in said
    assert ("SoapySDRUtil" if option == "--device" else "uhd_find_devices") in said
    assert "Traceback" not in said


def test_missing_radio_is_exit_status_2(tmp_path):
    command = ["rx", str(tmp_path / "out.wav"), "--device", "driver=hackrf", *RADIO]
    done = Command(tmp_path, *command, main=partial(main_of, "radio", folder=str(EXAMPLES)))
    # Nor is there a traceback.
    assert done.wait() == 2
    assert "no radio answers to 'driver=hackrf'" in done.said()


class StandIn:
    """Takes every call of a radio's block and remembers it."""

    rate = 250e3

    def __init__(self, *made) -> None:
        self.calls = [("made", *made)]

    def __getattr__(self, name: str):
        def call(*arguments):
            self.calls.append((name, *arguments))
            return self.rate if name in ("get_sample_rate", "get_samp_rate") else True

        return call


def test_radios_are_set_as_told(radio, monkeypatch):
    from gnuradio import soapy, uhd
    from radio_options import radio_of

    for module, end in ((soapy, "source"), (uhd, "usrp_sink")):
        monkeypatch.setattr(module, end, StandIn)
    gains = ["--gain", "30", "--gain", "LNA=-2.5", "--antenna", "A", "--tune-below", "50e3"]
    parse = radio.parser().parse_args
    made = radio_of(parse(["rx", "--device", "driver=x", *RADIO, *gains])).source()
    for call in [
        ("made", "driver=x", "fc32", 1, "", "", [""], [""]),
        ("set_sample_rate", 0, 250e3),
        ("set_frequency", 0, 433.45e6),
        ("set_antenna", 0, "A"),
        ("set_gain_mode", 0, False),
        ("set_gain", 0, 30.0),
        ("set_gain", 0, "LNA", -2.5),
    ]:
        assert call in made.calls
    made = radio_of(parse(["rx", "--device", "driver=x", *RADIO])).source()
    assert ("set_gain_mode", 0, True) in made.calls
    made = radio_of(parse(["tx", "--uhd", "type=y", *RADIO, *gains])).sink("packet_len")
    assert made.calls[0][1] == "type=y" and made.calls[0][3] == "packet_len"
    for call in [
        ("set_samp_rate", 250e3),
        ("set_center_freq", 433.45e6, 0),
        ("set_antenna", "A", 0),
        ("set_gain", 30.0, 0),
        ("set_gain", -2.5, "LNA", 0),
    ]:
        assert call in made.calls
    monkeypatch.setattr(StandIn, "rate", 256e3)
    with pytest.raises(ValueError, match="runs at 256000 samples"):
        radio_of(parse(["tx", "--uhd", "type=y", *RADIO])).sink()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["rx", "o.wav"], "give one of --device, --uhd, --audio, --from; given: none"),
        (["rx", "o.wav", "--from", "x", "--uhd", ""], "given: --uhd, --from"),
        (["rx", "o.wav", "--uhd", ""], "--uhd needs --frequency and --sample-rate"),
        (["rx", "o.wav", "--from", "nothing.sigmf-data"], "nothing.sigmf-data is not there"),
        (
            ["rx", "o.wav", "--from", "tcp://127.0.0.1:1", "--keep-speech", "no/x.wav"],
            "no/x.wav cannot be written",
        ),
        (["rx", "o.wav", "--from", "x", "--record", "x"], "write over what --from plays"),
        (["rx", "o.wav", "--from", "x", "--afc", "-1"], "--afc -1 is out of range"),
        (["tx", "IN", "--to", "no/folder"], "no is no folder"),
        (["tx", "IN", "--to", "tcp://127.0.0.1:0:x"], "tcp://127.0.0.1:0:x"),
        (["tx", "no.wav", "--to", "DIR/x"], "'no.wav' is no file"),
        (["tx", "IN", "--to", "DIR/x", "--fading", "rayleigh"], "those of --simulate"),
        (["tx", "IN", "--uhd", "", *RADIO, "--simulate"], "takes the place of a radio"),
    ],
)
def test_wrong_arguments_say_what(radio, wav, tmp_path, capsys, arguments, message):
    given = [a.replace("IN", wav).replace("DIR", str(tmp_path)) for a in arguments]
    assert radio.main(given) == 2
    assert message in capsys.readouterr().err


def test_analogue_speech_is_a_recording_too(radio, wav, tmp_path, capsys):
    path, out = tmp_path / "over.sigmf-data", tmp_path / "out.wav"
    air = ["--simulate", "0", "--carrier-offset", "50", "--frequency", "14.2e6", "--seed", "2"]
    sent = ["tx", wav, "--analogue", *air, "--sample-rate", "48e3", "--call-sign", "N0CALL"]
    assert radio.main([*sent, "--to", str(path)]) == 0
    told = result(capsys)["modem"]
    assert told["bursts"] == 3 and told["dropped"] == 0 and told["idents"] == 1
    meta = json.loads(path.with_suffix(".sigmf-meta").read_text())
    assert meta["global"]["largesc:profile"] == "analogue_ssb"
    assert meta["global"]["core:description"] == "speech as analogue symbols of gr-largesc"
    assert meta["annotations"][0]["core:label"] == "over"

    kept, again = tmp_path / "kept.wav", tmp_path / "again.sigmf-data"
    more = ["--keep-speech", str(kept), "--record", str(again)]
    assert radio.main(["rx", str(out), "--analogue", "--from", str(path), *more]) == 0
    got = result(capsys)["modem"]
    assert got["bursts"] == 3 and got["carrier_offset_hz"] == pytest.approx(50, abs=2)
    # In the symbol rate there is 2.2 dB less noise than in 3 kHz.
    assert got["snr_db"] == pytest.approx(2.2, abs=2.0)
    heard, samples = soundfile.read(out)[0], np.fromfile(path, dtype="<c8")
    assert len(heard) / 24000 >= len(samples) / 48000 - 0.1 and np.abs(heard).max() > 0.02
    assert kept.read_bytes() == out.read_bytes()
    meta = json.loads(again.with_suffix(".sigmf-meta").read_text())
    assert meta["global"]["largesc:profile"] == "analogue_ssb"

    # One for the other is told at once.
    assert radio.main(["rx", str(out), "--from", str(path)]) == 2
    assert "is a recording of analogue speech: give --analogue" in capsys.readouterr().err
    noise = np.random.default_rng(0).standard_normal((len(samples), 2)).astype(np.float32)
    noise.view(np.complex64).tofile(path)
    assert radio.main(["rx", str(out), "--analogue", "--from", str(path)]) == 1
    assert "no speech was understood, 0 preambles were found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tx", "--budget", "800"], "--budget is none of --analogue, since there are no bits"),
        (["tx", "--expected-loss", "0.1"], "--expected-loss is none of --analogue"),
        (["tx", "--key-up-ms", "100"], "--key-up-ms is none of --analogue, since its own"),
        (["tx", "--text", "QTH"], "--text is none of --analogue, since there are no packets"),
        (["tx", "--profile", "wide"], "profile wide carries no analogue speech: use one of ssb"),
        (["tx", "--profile", "medium", "--audio", ""], "profile medium is 6 kHz wide"),
        (["tx", "--call-sign", "N0!"], "call sign 'N0!' is none"),
        (["tx"], "give one of --device, --uhd, --audio, --to"),
        (["rx", "--afc", "50"], "--afc is none of --analogue, since carriers up to 12 %"),
        (["rx", "--window"], "--window is none of --analogue, since examples/analogue_speech.grc"),
        (["rx", "--from", "nowhere.sigmf-data"], "nowhere.sigmf"),
    ],
)
def test_options_of_packets_are_none_of_analogue_speech(radio, wav, capsys, arguments, message):
    command, *given = arguments
    if "--audio" not in given and "--from" not in given and given:
        given += ["--to" if command == "tx" else "--from", "a.cf32"]
    if command == "tx":
        given = [wav, *given]
    assert radio.main([command, *given, "--analogue"]) == 2
    assert message in capsys.readouterr().err


def test_the_profile_medium_is_of_analogue_speech_only(radio, wav, capsys):
    assert radio.main(["tx", wav, "--profile", "medium", "--to", "a.cf32"]) == 2
    assert "profile medium carries analogue speech only: use it with" in capsys.readouterr().err
