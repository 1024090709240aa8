# SPDX-License-Identifier: GPL-3.0-or-later
"""The core of the task link: voice activity, codebooks, packets, decisions."""

import numpy as np
import pytest
import torch
from gnuradio.largesc.channel.symbols import SymbolChannel
from gnuradio.largesc.channel_codec.snr_adaptive import (
    AdaptiveConfig,
    SnrAdaptiveCodec,
    biorthogonal,
)
from gnuradio.largesc.features.student import StudentConfig, StudentEncoder
from gnuradio.largesc.models.store import ModelError, save_model
from gnuradio.largesc.packets.posterior import packet_of, read_posterior
from gnuradio.largesc.speech.activity import ActivityDetector
from gnuradio.largesc.tasks.commands import Command, CommandDecider, CommandEncoder
from gnuradio.largesc.tasks.model import TaskModel, load_task, task_config

RATE = 24000
LABELS = ("on", "off", "_unknown_", "_silence_")


def spoken(*parts: tuple[float, float], seconds: float = 4.0, noise: float = 1e-3) -> np.ndarray:
    """Hums from one second to another, in noise."""
    t = np.arange(int(seconds * RATE)) / RATE
    out = noise * np.random.default_rng(0).standard_normal(len(t))
    for begin, end in parts:
        out += 0.3 * np.sin(2 * np.pi * 200 * t) * ((t >= begin) & (t < end))
    return out.astype(np.float32)


def detected(samples: np.ndarray, piece: int = 1000) -> tuple[list, dict]:
    detector, found = ActivityDetector(), []
    for begin in range(0, len(samples), piece):
        found += detector.push(samples[begin : begin + piece])
    return found + detector.flush(), detector.counters


@pytest.mark.parametrize("piece", [1, 777, 100_000])
def test_commands_are_cut_out_of_a_stream(piece):
    samples = spoken((1.0, 1.6), (2.5, 2.9))[: 96000 if piece > 1 else 48000]
    found, counters = detected(samples, piece)
    starts = [round(f.start / RATE, 1) for f in found]
    assert starts == ([0.9, 2.4] if piece > 1 else [0.9])
    assert len(found[0].samples) / RATE == pytest.approx(0.84, abs=0.03)
    first = found[0]
    assert np.array_equal(first.samples, samples[first.start : first.start + len(first.samples)])
    assert counters == {"too_long": 0, "too_short": 0, "broken_samples": 0}


@pytest.mark.parametrize(
    ("samples", "commands", "counted"),
    [
        (spoken(), 0, {}),
        (np.zeros(4 * RATE, np.float32), 0, {}),
        (spoken((1.0, 1.05)), 0, {"too_short": 1}),
        (spoken((1.0, 3.5)), 0, {"too_long": 1}),
        (spoken((1.0, 61.0), seconds=63.0), 0, {}),
        (spoken((1.0, 1.5)).clip(-0.05, 0.05), 1, {}),
        (20.0 * spoken((1.0, 1.5)), 1, {}),
        (np.full(RATE, np.nan), 0, {"broken_samples": RATE}),
        (spoken((3.6, 4.0)), 1, {}),
        (spoken()[:0], 0, {}),
    ],
    ids=["noise", "silence", "50 ms", "2.5 s", "60 s", "clipped", "loud", "nan", "at the end",
         "nothing"],
)  # fmt: skip
def test_what_is_no_command_is_left_out_and_counted(samples, commands, counted):
    found, counters = detected(samples)
    assert len(found) == commands
    assert all(len(f.samples) <= 1.6 * RATE for f in found)
    assert {k: v for k, v in counters.items() if v}.items() >= counted.items()


def test_detector_keeps_no_more_than_it_needs():
    detector = ActivityDetector()
    for _ in range(50):
        detector.push(spoken((0.0, 4.0)))
    assert len(detector._steps) < 250
    with pytest.raises(ValueError, match="margin_db 1 is out of range"):
        ActivityDetector(1)


def test_codebook_starts_at_the_biorthogonal_code():
    words = biorthogonal(22, 32)
    assert torch.allclose(words @ words.T / 32, torch.eye(22), atol=1e-5)
    words = biorthogonal(100, 32)
    assert torch.equal(words[64:], -words[:36])
    assert biorthogonal(5, 48).shape == (5, 96)
    with pytest.raises(ValueError, match="8 symbols are too few for 33 classes"):
        biorthogonal(33, 8)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("kind", ["awgn", "rayleigh"])
def test_what_the_encoder_is_sure_of_arrives(kind, adaptive):
    torch.manual_seed(0)
    codec = SnrAdaptiveCodec(AdaptiveConfig(22, (32, 128), 16, adaptive))
    label = torch.arange(22).repeat(20)
    logits = 12.0 * torch.nn.functional.one_hot(label, 22).float()
    for symbols, snr_db in ((32, 3.0), (128, -3.0)):
        snr = torch.full((len(label),), snr_db)
        x = codec(logits, snr, symbols)
        assert x.shape == (440, symbols)
        assert torch.allclose(x.abs().square().mean(1), torch.ones(440), atol=1e-4)
        y, h = SymbolChannel(kind, snr_db, 3)(x)
        right = (codec.receive(y, h, snr, symbols).argmax(1) == label).float().mean()
        assert right > (0.99 if kind == "awgn" else 0.85)
    assert codec.rate(x, snr, label).isfinite()


def test_packet_keeps_what_was_likely():
    logits = np.array([3.0, 1.0, -4.0, 0.2], dtype=np.float32)
    packet = packet_of(logits, 70000, LABELS)
    back, index = read_posterior(packet, LABELS)
    assert index == 70000 % 65536 and len(packet) == 9
    assert np.abs((back - back.max()) - (logits - logits.max())).max() <= 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: b"", "no command"),
        (lambda p: p[:-1], "wrong CRC"),
        (lambda p: b"\x00" + p[1:], "no command"),
        (lambda p: p[:5] + bytes([p[5] ^ 1]) + p[6:], "wrong CRC"),
        (lambda p: packet_of(np.zeros(4), 0, ("up", *LABELS[1:])), "another list of labels"),
    ],
)
def test_packets_that_are_none_are_refused(change, said):
    with pytest.raises(ValueError, match=said):
        read_posterior(change(packet_of(np.zeros(4), 1, LABELS)), LABELS)


@pytest.fixture(scope="module")
def model(models) -> TaskModel:
    return load_task(models)


def certain(label: int) -> Command:
    logits = np.full(4, -9.0, np.float32)
    logits[label] = 9.0
    return Command(0, logits, 0, np.zeros(0, np.float32))


def test_decisions_say_what_was_sent(model):
    encoder, decider = CommandEncoder(model), CommandDecider(model, 0.0)
    for label in range(4):
        burst = encoder.burst(certain(label), 10.0, 32)
        found = decider.decide(burst * 1j, 10.0, 1j, 7)
        assert (found.label, found.index) == (LABELS[label], 7)
        assert found.understood == (label < 2)
        packet = encoder.packet(certain(label))
        assert decider.decide_packet(packet).label == LABELS[label]
    decider.set_confidence(1.0)
    assert not decider.decide(burst, 10.0).understood


def test_speech_of_any_length_is_encoded(model):
    encoder = CommandEncoder(model)
    for samples in (np.zeros(0), spoken((0.0, 0.05))[:1200], spoken((0, 4)), np.full(9999, 1e30)):
        assert np.isfinite(encoder.logits(samples)).all()
    commands = [*encoder.push(spoken((1.0, 1.5), (2.5, 3.0))), *encoder.flush()]
    assert [c.index for c in commands] == [0, 1]
    encoder.reset()
    assert [c.index for c in encoder.push(spoken((1.0, 1.5)))] == [0]


@pytest.mark.parametrize(
    ("burst", "snr_db", "h", "said"),
    [
        (np.zeros(31), 0.0, 1.0, "a burst of shape"),
        (np.zeros((2, 32)), 0.0, 1.0, "a burst of shape"),
        (np.full(32, np.nan), 0.0, 1.0, "no number"),
        (np.full(32, 1e9), 0.0, 1.0, "far too loud"),
        (np.zeros(32), float("nan"), 1.0, "snr_db nan"),
        (np.zeros(32), 0.0, complex("nan"), "no number"),
        (np.zeros(32), 0.0, 1e39, "far too loud"),
    ],
)
def test_bursts_that_are_none_are_refused(model, burst, snr_db, h, said):
    with pytest.raises(ValueError, match=said):
        CommandDecider(model).decide(burst, snr_db, h)


def test_two_bursts_at_once_and_silence_are_survived(model):
    encoder, decider = CommandEncoder(model), CommandDecider(model)
    both = encoder.burst(certain(0), 0.0, 32) + encoder.burst(certain(1), 0.0, 32)
    for burst in (both, np.zeros(32), 1e-20 * both, 1e2 * both):
        found = decider.decide(burst, 200.0, 0.0 if burst is both else 1.0)
        assert found.label in LABELS and 0.0 <= found.probability <= 1.0


def test_noise_at_the_least_snr_is_decided(model):
    noise = np.random.default_rng(5).standard_normal((2, 32)) * np.sqrt(0.5)
    for snr_db in (-65.0, -100.0):
        heard = (noise[0] + 1j * noise[1]) * 10 ** (-snr_db / 20)
        assert not CommandDecider(model, 0.0).decide(heard, snr_db).understood
    found = CommandDecider(model).decide(np.ones(32), 0.0, 9e5)
    assert np.isfinite(found.probabilities).all()


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda m: CommandDecider(m, 1.5), "confidence 1.5 is out of range"),
        (lambda m: CommandEncoder(m).burst(certain(0), 0.0, 33), "use one of 8, 32"),
        (lambda m: CommandEncoder(m).burst(certain(0), float("nan"), 32), "snr_db nan"),
        (lambda m: load_task("/nowhere"), "unknown model"),
    ],
)
def test_bad_settings_are_named(model, act, said):
    with pytest.raises(ValueError, match=said):
        act(model)


def test_models_that_cannot_be_are_refused(model, tmp_path):
    facts = model.config.as_dict()
    for change in ({"labels": ["on", "off"]}, {"labels": [*LABELS[:2], "a", "b"]}, {"codec": {}}):
        save_model(model, facts | change, tmp_path, "task")
        with pytest.raises(ModelError):
            load_task(str(tmp_path))
    for name in ("student.head.weight", "student.layers.0.norm.running_var"):
        other = TaskModel(task_config(facts))
        with torch.no_grad():
            other.state_dict()[name].fill_(float("nan"))
        save_model(other, facts, tmp_path, "task")
        with pytest.raises(ModelError, match="no numbers"):
            load_task(str(tmp_path))


def test_encoders_have_five_convolutions_or_more():
    mel = torch.zeros(1, 40, 160)
    for count in (5, 7):
        encoder = StudentEncoder(StudentConfig(4, channels=(8,) * count)).eval()
        assert encoder(mel).shape == (1, 4) and len(encoder.layers) == count
    with pytest.raises(ValueError, match="3 convolutions are too few"):
        StudentEncoder(StudentConfig(4, channels=(8, 8, 8)))
