# SPDX-License-Identifier: GPL-3.0-or-later
"""Systems of the evaluation: aligned, counted as they send, and unharmed by any loss."""

from pathlib import Path

import numpy as np
import pytest
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.channel.loss_timeline import LossChannel, lost_at
from gnuradio.largesc.control.policies import Decision
from gnuradio.largesc.evaluation.systems import own
from gnuradio.largesc.evaluation.systems.aac import Aac
from gnuradio.largesc.evaluation.systems.codec2 import Codec2
from gnuradio.largesc.evaluation.systems.lyra import Lyra
from gnuradio.largesc.evaluation.systems.opus import Opus
from gnuradio.largesc.evaluation.systems.own import OwnSystem
from gnuradio.largesc.evaluation.systems.parity import Parity

BASELINES = Path(__file__).parents[2] / "shared" / "baselines"
LYRA, TPLCNET = BASELINES / "lyra", BASELINES / "tplcnet" / "tPLCnet_s.tflite"
OTHERS = {
    "opus 20": Opus(16000, 20),
    "opus 60": Opus(6000, 60),
    "codec2 700C": Codec2("700C"),
    "codec2 2400": Codec2("2400"),
    "aac": Aac(),
    "lyra": Lyra(LYRA, 9200),
    "lyra tplcnet": Lyra(LYRA, 3200, TPLCNET),
}


def ours(models: str, **facts: object) -> OwnSystem:
    return OwnSystem("ours", lm=models, codec=models, controller=models, **facts)


def installed(system: object) -> object:
    if why := system.missing():
        pytest.skip(f"needs {why}")
    return system


def carry(system: object, speech: np.ndarray, channel: LossChannel, seed: int = 3):
    packets = system.encode(speech, channel)
    assert len(packets.leave_ms) == len(packets.radio_bytes) == len(packets.data)
    assert np.all(np.diff(packets.leave_ms) >= 0)
    lost = lost_at(channel.draw(len(speech) / 24000, seed), packets.leave_ms)
    decoded = system.decode(packets, lost, len(speech))
    assert decoded.speech.shape == speech.shape and decoded.speech.dtype == np.float32
    assert np.isfinite(decoded.speech).all()
    return packets, lost, decoded


@pytest.mark.parametrize("name", OTHERS)
def test_competitors_are_aligned_and_counted(name, speech):
    system = installed(OTHERS[name])
    packets, _, decoded = carry(system, speech, LossChannel(0.0))
    rate = packets.payload_bits / packets.leave_ms[-1] * 1000.0
    asked = {"opus 20": 16000, "opus 60": 6000, "codec2 700C": 700, "codec2 2400": 2400}
    asked |= {"aac": 20000, "lyra": 9200, "lyra tplcnet": 3200}
    # Opus and AAC spend less where there is less to say.
    assert rate == pytest.approx(asked[name], rel=0.35)
    overhead = 8 * packets.radio_bytes.sum() - packets.payload_bits
    assert overhead == pytest.approx(24 * len(packets.data), rel=0.1)

    def envelope(x):
        return np.convolve(np.abs(x), np.ones(1200) / 1200, "same")[12_000:60_000:240]

    fits = [
        np.corrcoef(envelope(speech), envelope(np.roll(decoded.speech, shift)))[0, 1]
        for shift in range(-2400, 2401, 480)
    ]
    assert abs(int(np.argmax(fits)) - 5) <= 1 and max(fits) > 0.8


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("loss", [0.3, 1.0])
def test_competitors_survive_losses(name, loss, speech):
    system = installed(OTHERS[name])
    packets = system.encode(speech, LossChannel(loss))
    rng = np.random.default_rng(1)
    lost = rng.random(len(packets.data)) < loss
    lost[0] = True
    decoded = system.decode(packets, lost, len(speech)).speech
    assert decoded.shape == speech.shape and np.isfinite(decoded).all()
    if loss == 1.0:
        assert np.sqrt(np.mean(decoded[48_000:] ** 2)) < 1e-2


def test_loss_free_link_is_the_codec(models, speech):
    system = ours(models, policy="fixed", rate_bps=0.0, concealer="repeat")
    packets, _, decoded = carry(system, speech, LossChannel(0.0))
    assert packets.payload_bits == 88 * len(packets.data)
    assert set(packets.radio_bytes) == {15}
    frames, _ = own.encoded(models, speech.tobytes())
    decoder = own.decoder_of(models)
    decoder.reset()
    whole = np.concatenate([decoder.decode(f.tokens) for f in frames])
    delay = decoder.codec.delay_samples
    assert np.array_equal(decoded.speech, whole[delay : delay + len(speech)])


@pytest.mark.parametrize("policy", ["table", "learned", "exact"])
@pytest.mark.parametrize("layout", own.LAYOUTS)
def test_rate_is_kept(models, speech, policy, layout):
    system = ours(models, policy=policy, layout=layout, rate_bps=1300.0, concealer="repeat")
    packets, _, _ = carry(system, np.tile(speech, 2), LossChannel(0.2, 240.0))
    # With parity three more packets are sent behind those of the frames.
    slots = own.frames_of(layout) * len(packets.data)
    frames = max(len(packets.facts["frames"]), slots)
    rate = 8.0 * packets.radio_bytes.sum() / (0.08 * frames)
    assert 600.0 < rate <= 1300.0


def test_same_seed_same_sound(models, speech):
    system = ours(models)
    first, second = (carry(system, speech, LossChannel(0.3, 160.0))[2].speech for _ in range(2))
    assert np.array_equal(first, second)


def received_counts(found: list) -> list[tuple[int, int]]:
    return [(f.index, int(np.sum(f.tokens != ERASED_TOKEN))) for f in found]


def test_copies_arrive_behind_losses(models, speech):
    frames = own.encoded(models, speech.tobytes())[0][:5]
    decisions = [Decision(8, 3, 1), Decision(8, 0, 1), Decision(6, 2, 1), Decision(5, 5, 1)]
    data = own.packed(frames, [*decisions, Decision(4, 0, 1)], "sequential")
    lost = np.array([True, False, True, True, False])
    waited = received_counts(own.arrived(data, lost, "sequential", 5, wait=True))
    assert waited == [(0, 3), (1, 8), (2, 0), (3, 5), (4, 4)]
    # Without waiting the copy is a repair, just before the frame that came along with it.
    at_once = received_counts(own.arrived(data, lost, "sequential", 5, wait=False))
    assert at_once == [(0, 0), (0, 3), (1, 8), (2, 0), (3, 0), (3, 5), (4, 4)]
    everything = np.ones(5, dtype=bool)
    assert received_counts(own.arrived(data, everything, "sequential", 5, wait=True)) == [
        (n, 0) for n in range(5)
    ]


def test_two_frames_a_packet_are_lost_together_and_copied(models, speech):
    frames = own.encoded(models, speech.tobytes())[0][:6]
    data = own.packed(frames, [Decision(6, 2, 1)] * 6, "two frames a packet")
    assert len(data) == 3
    lost = np.array([False, True, False])
    found = own.arrived(data, lost, "two frames a packet", 6, wait=True)
    counts = [(0, 6), (1, 6), (2, 2), (3, 2), (4, 6), (5, 6)]
    assert received_counts(found) == counts
    # The last frame of a packet knows nothing of a lost one behind it: its copies come later.
    behind = [0 if f.following is None else int(np.sum(f.following != ERASED_TOKEN)) for f in found]
    assert behind == [6, 0, 2, 6, 6, 0]


def test_pair_in_one_packet_is_lost_as_a_whole(models, speech):
    system = ours(models, layout="pair in one packet", concealer="repeat", policy="table")
    packets = system.encode(speech, LossChannel(0.2))
    halves = ours(models, layout="pair", concealer="repeat", policy="table")
    apart = halves.encode(speech, LossChannel(0.2))
    assert len(apart.data) == 2 * len(packets.data)
    lost = np.zeros(len(packets.data), dtype=bool)
    lost[1] = True
    found = own.arrived(packets.data, lost, "pair", len(packets.facts["frames"]), wait=True)
    assert [n for n, count in received_counts(found) if count == 0] == [2, 3]


@pytest.mark.parametrize("block, parity", [(2, 1), (4, 2)])
def test_parity_repairs_what_it_can(models, speech, block, parity):
    system = installed(Parity(4, block, parity, ours(models, concealer="repeat")))
    packets = system.encode(speech, LossChannel(0.0))
    behind = packets.leave_ms[np.flatnonzero(packets.facts["order"] == block + parity - 1)[0]]
    assert behind - 80.0 == system.latency.waiting_ms
    clean = system.decode(packets, np.zeros(len(packets.data), bool), len(speech)).speech
    lost = np.zeros(len(packets.data), dtype=bool)
    # As many as there are parities, of the first block.
    sent_as = {int(place): n for n, place in enumerate(packets.facts["order"])}
    for place in range(parity):
        lost[sent_as[place]] = True
    assert np.array_equal(system.decode(packets, lost, len(speech)).speech, clean)
    lost[sent_as[parity]] = True
    assert not np.array_equal(system.decode(packets, lost, len(speech)).speech, clean)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="'pair', wait False"):
        OwnSystem("x", layout="pair", wait=False)
