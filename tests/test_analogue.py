# SPDX-License-Identifier: GPL-3.0-or-later
"""Analogue speech without blocks: bursts, sender, receiver and model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gnuradio.largesc.channel_codec.analogue import load_analogue_code, save_analogue_code
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.models.store import ModelError, write_sha256
from gnuradio.largesc.options import AnalogueOptions
from gnuradio.largesc.radio.air import SimulatedAir
from gnuradio.largesc.radio.burst_reader import Place
from gnuradio.largesc.radio.preamble import PREAMBLE_SYMBOLS, preamble_symbols
from gnuradio.largesc.radio.speech_burst import (
    OVER_SYMBOLS,
    PREAMBLE,
    HeardBurst,
    SpeechBurstReceiver,
    make_speech_burst,
    speech_layout,
)
from gnuradio.largesc.radio.symbol_burst import SYMBOL_PROFILES
from gnuradio.largesc.tasks import analogue_speech
from gnuradio.largesc.tasks.analogue_speech import (
    AnalogueReceiver,
    AnalogueSender,
    HeardSpeech,
    LatentReader,
)
from test_spread_code import complex_noise, latents_of

RATE, FRAME = 24000, 1920
SSB = SYMBOL_PROFILES["ssb"]
LAYOUT = speech_layout(SSB, 8)


@pytest.fixture(scope="module")
def model() -> object:
    return load_analogue_code()


@pytest.mark.parametrize("name", ["ssb", "medium", "narrow"])
def test_a_burst_fills_the_time_of_its_speech(name):
    profile = SYMBOL_PROFILES[name]
    layout = speech_layout(profile, 8)
    assert layout.length == 0.64 * profile.symbol_rate and layout.count % 8 == 0
    burst = make_speech_burst(np.ones(layout.count, np.complex64), layout.length)
    assert len(burst) == layout.length and np.abs(burst[:PREAMBLE_SYMBOLS]).min() > 0.99
    # Nothing is left where a frame's symbol more would go.
    assert layout.count > 0.7 * (layout.length - PREAMBLE_SYMBOLS)
    with pytest.raises(ValueError, match="symbols do not fit a burst of"):
        make_speech_burst(np.ones(2 * layout.count), layout.length)
    with pytest.raises(ValueError, match="0 symbols do not fit"):
        make_speech_burst(np.ones(0), layout.length)


def test_the_preamble_looks_like_itself_at_its_place_only():
    known, worst = preamble_symbols(PREAMBLE), 0.0
    for shift in range(1, PREAMBLE_SYMBOLS):
        product = known[shift:] * known[:-shift].conj()
        fit = np.abs(np.fft.fft(product, 4096)) ** 2 / PREAMBLE_SYMBOLS**2
        offsets = np.abs(np.fft.fftfreq(4096))
        worst = max(worst, float(fit[offsets < 0.12].max()))
    assert worst < 0.05
    other = np.abs(np.fft.fft(known * preamble_symbols(1).conj(), 4096)) ** 2
    assert other.max() / PREAMBLE_SYMBOLS**2 < 0.1


def drawn_bursts(count: int, layout=LAYOUT) -> tuple[np.ndarray, list[np.ndarray]]:
    """Symbols of bursts, and the bursts."""
    sent = complex_noise((count, layout.count)).astype(np.complex64)
    return sent, [make_speech_burst(one, layout.length) for one in sent]


def heard_of(bursts: list, snr_db: float | None, profile=SSB, offset_hz: float = 60.0) -> tuple:
    """A receiver behind bursts and the end of an over, and what it read."""
    rng = np.random.default_rng(9)
    air = SimulatedAir(profile, snr_db, None, offset_hz, rng)
    layout = speech_layout(profile, 8)
    receiver = SpeechBurstReceiver(profile, layout)
    quiet = np.zeros(OVER_SYMBOLS + layout.length, dtype=np.complex64)
    samples = air(np.concatenate([quiet, *bursts, quiet]), 0.0)
    heard = receiver.push(samples)
    receiver.flush()
    return receiver, heard


@pytest.mark.parametrize(("name", "snr_db"), [("ssb", -3.8), ("medium", -5.5), ("narrow", -5.5)])
def test_bursts_are_found_far_below_the_noise(name, snr_db):
    """That is -6 dB in 3 kHz of `ssb`."""
    profile = SYMBOL_PROFILES[name]
    sent, bursts = drawn_bursts(5, speech_layout(profile, 8))
    receiver, heard = heard_of(bursts, snr_db, profile)
    assert len(heard) == 5 and receiver.counters["bursts"] == 5
    for one, was in zip(heard, sent, strict=True):
        assert one.snr_db == pytest.approx(snr_db, abs=1.5)
        like = abs(np.vdot(one.symbols, was)) / np.linalg.norm(one.symbols) / np.linalg.norm(was)
        assert like > 0.9 * np.sqrt(1 / (1 + 10 ** (-snr_db / 10)))
        offset = one.place.offset * profile.symbol_rate
        assert offset == pytest.approx(60.0, abs=0.3)


def test_a_burst_whose_preamble_fades_is_read_where_it_must_be():
    sent, bursts = drawn_bursts(8)
    for number in (2, 4, 5, 6):
        bursts[number][:PREAMBLE_SYMBOLS] = 0.0
    receiver, heard = heard_of(bursts, 6.0)
    # Of three in a row the third is given up.
    assert receiver.counters["blind"] == 3 and receiver.counters["bursts"] == 7
    assert receiver.counters["preambles"] == 4 and not receiver.counters["cut"]
    for one, was in zip(heard, np.delete(sent, 6, axis=0), strict=True):
        like = abs(np.vdot(one.symbols, was)) / np.linalg.norm(one.symbols) / np.linalg.norm(was)
        assert like > 0.8


def test_nothing_is_found_in_noise():
    receiver = SpeechBurstReceiver(SSB, LAYOUT)
    noise = complex_noise((120 * 7200,)).astype(np.complex64)
    for first in range(0, len(noise), 7200):
        assert not receiver.push(noise[first : first + 7200])
    receiver.flush()
    assert not any(receiver.counters.values())


def test_bursts_that_are_cut_are_counted():
    _, bursts = drawn_bursts(3)
    # Another begins in its midst, and the last one ends with the stream.
    receiver, heard = heard_of([bursts[0], bursts[1][:700], bursts[2]], 20.0)
    assert len(heard) == 2 and receiver.counters["cut"] == 1
    air = SimulatedAir(SSB, 20.0, None, 0.0, np.random.default_rng(0))
    receiver = SpeechBurstReceiver(SSB, LAYOUT)
    assert not receiver.push(air(bursts[0], 0.0)[:3000])
    receiver.flush()
    assert receiver.counters["cut"] == 1 and receiver.counters["bursts"] == 0


@pytest.mark.parametrize("strength", [0.5, 0.7, 1.4])
@pytest.mark.parametrize("late", [-900, -400, 400, 900, 2400])
def test_a_weaker_sender_does_not_break_off_a_stronger_one(strength, late):
    """Both send bursts without end, the other's begin so many samples behind the first's."""
    sent, bursts = drawn_bursts(8)
    air = SimulatedAir(SSB, 20.0, None, 30.0, np.random.default_rng(0))
    samples = air(np.concatenate([np.zeros(300), *bursts, np.zeros(LAYOUT.length)]), 0.0)
    other = strength * np.exp(0.05j * np.arange(len(samples))) * np.roll(samples, late)
    receiver = SpeechBurstReceiver(SSB, LAYOUT)
    heard = receiver.push((samples + other).astype(np.complex64))
    like = [max(abs(np.vdot(one.symbols, was)) for was in sent) / LAYOUT.count for one in heard]
    offsets = [one.place.offset * SSB.symbol_rate for one in heard]
    stronger = 30.0 if strength < 1.0 else 87.3
    kept = [near for near, hz in zip(like, offsets, strict=True) if abs(hz - stronger) < 1.0]
    assert len(kept) >= 7 and min(kept) > 0.7 and len(heard) <= len(kept) + 2


@pytest.fixture(scope="module")
def sender() -> AnalogueSender:
    return AnalogueSender(AnalogueOptions())


def tone(seconds: float) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)
    return (0.1 * syllables * np.sin(2 * np.pi * 180 * t)).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * RATE), dtype=np.float32)


def test_pauses_are_not_sent_and_what_dies_away_is(sender):
    sender.reset()
    # Two bursts of speech, one behind them, then pauses, and again.
    speech = np.concatenate([tone(1.28), quiet(3.2), tone(0.64)])
    found = sender.push(speech) + sender.flush()
    counters = sender.counters
    assert len(found) == counters["bursts"] and counters["pauses"] >= 3
    assert counters["bursts"] + counters["pauses"] == counters["frames"] / 8
    assert all(len(one) == sender.length for one in found)


@pytest.mark.parametrize("size", [1, 777, 1920, 50_000])
def test_pieces_of_any_length_are_the_same_bursts(sender, size):
    speech, found = tone(0.9), []
    sender.reset()
    whole = sender.push(speech) + sender.flush()
    sender.reset()
    step = max(size, 100)
    for first in range(0, len(speech), step):
        piece = speech[first : first + step]
        for sample in np.split(piece, len(piece)) if size == 1 and first < 200 else [piece]:
            found += sender.push(sample)
    found += sender.flush()
    assert len(found) == len(whole) == 2
    for one, other in zip(found, whole, strict=True):
        assert np.abs(one - other).max() < 1e-4


def test_flush_of_nothing_is_nothing(sender):
    sender.reset()
    assert sender.flush() == []


def speech_read(model: object, snr_db: float) -> HeardSpeech:
    """What comes of a burst at an SNR."""
    code = analogue_speech.code_of(SSB, model)
    sent = code.encode(latents_of(model.statistics, 2))
    burst = make_speech_burst(sent.ravel(), LAYOUT.length)
    noise = 10.0 ** (-snr_db / 20.0)
    symbols = sent.ravel() + noise * complex_noise((LAYOUT.count,))
    received = burst + noise * complex_noise((LAYOUT.length,), 3)
    h = np.ones(LAYOUT.count, np.float32)
    heard = HeardBurst(symbols.astype(np.complex64), h, snr_db, Place(0, 0.0, 0.0), received)
    return LatentReader(model, SSB, 4608).read(heard)


def test_what_is_not_known_is_not_played(model):
    assert np.all(speech_read(model, -20.0).gains == 0.0)
    assert np.all(speech_read(model, 10.0).gains == 1.0)
    found = [speech_read(model, snr_db).unsure for snr_db in (-20.0, -6.0, 0.0, 10.0)]
    assert found == sorted(found, reverse=True)


def hour_of(receiver: AnalogueReceiver, monkeypatch, ppm: float) -> dict[str, int]:
    """Counters behind an hour with a sender whose clock is so fast; nothing is decoded."""
    count = 0

    class Bursts:
        counters = receiver.counters

        def push(self, samples: np.ndarray) -> list:
            # A burst comes when its last sample does.
            nonlocal at, count
            at += len(samples)
            late = at >= (count + 1) * 4608 / (1 + 1e-6 * ppm)
            count += late
            heard = HeardBurst(symbols, None, 9.0, Place(at, 0.0, 0.0), symbols)
            return [heard] if late else []

    at, latents = 0, np.zeros((8, 64), np.float32)
    heard = HeardSpeech(latents, np.ones(8), 0.1, 9.0, False)
    symbols = np.zeros(0, np.complex64)
    frame = np.zeros(FRAME, np.float32)
    monkeypatch.setattr(receiver, "_bursts", Bursts())
    monkeypatch.setattr(receiver._reader, "read", lambda _: heard)
    monkeypatch.setattr(receiver._decoder, "decode", lambda *_: frame)
    monkeypatch.setattr(receiver._decoder, "comfort_noise", lambda _: frame)
    samples = np.zeros(receiver.frame_input, np.complex64)
    for _ in range(45_000):
        receiver.push(samples)
    return receiver.counters


@pytest.mark.parametrize("ppm", [-100.0, 0.0, 100.0])
def test_clocks_that_differ_cost_a_frame_now_and_then(monkeypatch, ppm):
    found = hour_of(AnalogueReceiver(AnalogueOptions()), monkeypatch, ppm)
    # An hour at 100 ppm is four and a half frames.
    assert found["frames"] == 45_000
    assert found["left_out"] <= (5 if ppm > 0 else 0)
    assert found["empty"] <= 9 + (10 if ppm < 0 else 0)


def test_a_fast_clock_is_heard_out(sender):
    """Both ends as they are, 60 ppm apart."""
    from radio_signals import resampled

    sender.reset()
    bursts = sender.push(tone(1.9)) + sender.flush()
    over = np.zeros(2 * sender.length, dtype=np.complex64)
    air = SimulatedAir(SSB, 10.0, None, 30.0, np.random.default_rng(1))
    samples = air(np.concatenate([*bursts, *bursts, *bursts, over]), 0.0)
    receiver = AnalogueReceiver(AnalogueOptions())
    for ppm in (-60.0, 60.0):
        receiver.reset()
        receiver.push(resampled(samples, ppm).astype(np.complex64))
        found = receiver.counters
        assert found["bursts"] == 3 * len(bursts) and found["left_out"] == found["cut"] == 0
        assert receiver.snr_db > 7.0


@pytest.fixture(scope="module")
def said(sender) -> np.ndarray:
    """Samples of three bursts of speech without noise, silence around them."""
    sender.reset()
    bursts = sender.push(tone(1.9)) + sender.flush()
    air = SimulatedAir(SSB, None, None, 30.0, np.random.default_rng(1))
    quiet = np.zeros(2 * sender.length, dtype=np.complex64)
    return air(np.concatenate([quiet[:300], *bursts, quiet]), 0.0)


@pytest.fixture(scope="module")
def receiver() -> AnalogueReceiver:
    return AnalogueReceiver(AnalogueOptions())


def test_echoes_are_taken_out(said, receiver):
    wave = said.astype(complex)
    noise = 0.3 * complex_noise((len(wave),))
    for echo, expected in ((0.0, 0), (0.8, 3)):
        receiver.reset()
        # Of two symbols, 1.1 ms.
        receiver.push((wave + echo * np.roll(wave, 8) + noise).astype(np.complex64))
        assert receiver.counters["bursts"] == 3 and receiver.counters["echoes"] == expected
        assert receiver.means()["unsure"] < 0.06


@pytest.mark.parametrize("click", [30.0, 300.0, 3000.0])
def test_a_click_does_not_spoil_a_burst(said, receiver, click):
    noise = 0.3 * complex_noise((len(said),))
    latents = []
    for height in (0.0, click):
        wave = said + noise
        wave[1200 + 1500 + 4608 * np.arange(3)] += height
        receiver.reset()
        heard = receiver._bursts.push(wave.astype(np.complex64))
        latents.append(np.stack([receiver._reader.read(one).latents for one in heard]))
    error, size = np.square(latents[1] - latents[0]).mean(), latents[0].var()
    assert error < 0.05 * size


def test_a_burst_that_ends_with_the_stream_is_played_whole(said, receiver):
    whole = []
    # To the last sample without which it is not read.
    for length in range(1200 + 4608, 1200 + 4608 + 400, 8):
        receiver.reset()
        receiver.push(said[:length])
        read = receiver.counters["bursts"]
        out = receiver.flush()
        if receiver.counters["bursts"] == 1:
            whole.append(read == 0)
            assert read or len(out) == 9 * FRAME
    assert any(whole)


@pytest.mark.parametrize("gain", [1e-17, 1e-12, 1e8])
def test_numbers_of_any_size_are_worked_with(said, receiver, gain):
    receiver.reset()
    wave = said.astype(complex) / np.abs(said).max() * gain
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        receiver.push(wave.astype(np.complex64))
        receiver.flush()
    assert receiver.counters["preambles"] == 3


@pytest.mark.parametrize("kind", ["loud", "silent", "carrier", "mixed", "echoes"])
def test_whatever_lies_in_a_burst_gives_numbers(said, receiver, kind):
    for seed in range(3):
        draw, wave = np.random.default_rng(seed), said.astype(complex)
        for _ in range(draw.integers(1, 8)):
            begin, size = draw.integers(0, len(wave)), draw.integers(10, 6000)
            here = slice(begin, begin + size)
            if kind == "loud":
                wave[here] *= 10.0 ** draw.uniform(-8.0, 8.0)
            elif kind == "silent":
                wave[here] = 0.0
            elif kind == "carrier":
                wave[here] = 10.0 ** draw.uniform(-3.0, 8.0)
            elif kind == "mixed":
                wave[here] = 3.0 * np.roll(wave, draw.integers(1, 40))[here]
            else:
                wave += draw.uniform(0.2, 1.5) * np.roll(wave, draw.integers(1, 30))
        receiver.reset()
        heard = [receiver.push(wave.astype(np.complex64)), receiver.flush()]
        assert np.isfinite(np.concatenate(heard)).all()
        assert np.isfinite([receiver.unsure, receiver.snr_db, receiver.offset_hz]).all()


def test_nothing_at_all_is_no_burst():
    """Behind a burst, samples that are all zero have no SNR."""
    _, bursts = drawn_bursts(1)
    air = SimulatedAir(SSB, None, None, 0.0, np.random.default_rng(0))
    found = SpeechBurstReceiver(SSB, LAYOUT)
    samples = air(np.concatenate([np.zeros(100), *bursts]), 0.0)
    samples[(400 + 1152) * 4 :] = 0.0
    assert len(found.push(np.append(samples, np.zeros(10_000, np.complex64)))) == 1
    assert found.counters["blind"] == 0


def test_a_model_of_another_codec_is_refused(models):
    for end in (AnalogueSender, AnalogueReceiver):
        with pytest.raises(ModelError, match=r"for latents of 64 numbers, .* have 16: use the"):
            end(AnalogueOptions(codec=models))


@pytest.fixture
def folder(tmp_path, model) -> Path:
    save_analogue_code(model, tmp_path / "m")
    write_sha256(tmp_path / "m")
    return tmp_path / "m"


def test_a_model_that_is_saved_is_the_one_that_is_loaded(folder, model):
    again = load_analogue_code(str(folder))
    assert again.refiner.config == model.refiner.config
    assert np.allclose(again.statistics.variance, model.statistics.variance, rtol=1e-3)
    error = np.abs(again.statistics.basis - model.statistics.basis).max()
    assert error < 0.01


def test_damaged_models_are_refused(folder, model):
    weights = folder / "analogue.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100] + bytes([whole[-100] ^ 0xFF]) + whole[-99:])
    with pytest.raises(ModelError, match="is corrupt: sha256"):
        load_analogue_code(str(folder))
    for name, file, content in (
        ("short", "analogue.safetensors", whole[:1000]),
        ("empty", "analogue.safetensors", b""),
        ("sizes", "analogue.json", json.dumps({"hidden": 8}).encode()),
        ("keys", "analogue.json", b'{"unheard": 8}'),
        ("none", "analogue.json", b"[]"),
    ):
        other = Path(shutil.copytree(folder, folder.parent / name))
        (other / "sha256.json").unlink()
        (other / "analogue.safetensors").write_bytes(whole)
        (other / file).write_bytes(content)
        with pytest.raises(ModelError, match=name):
            load_analogue_code(str(other))
    (other / "analogue.json").write_text("{}")
    (other / "analogue.safetensors").unlink()
    with pytest.raises(ModelError, match=r"analogue\.safetensors is missing"):
        load_analogue_code(str(other))


def test_a_model_whose_weights_are_no_numbers_is_refused(tmp_path, model):
    bad = load_analogue_code()
    bad.refiner.contract.bias.data[:] = float("nan")
    save_analogue_code(bad, tmp_path)
    with pytest.raises(ModelError, match="weights that are no numbers: train it again"):
        load_analogue_code(str(tmp_path))


def test_codec_and_code_belong_together(model):
    assert load_codec("embedded").dimension == model.statistics.dimension
    assert isinstance(model.refiner, torch.nn.Module)
    assert analogue_speech.code_of(SSB, model).block_symbols * 2 == LAYOUT.count
