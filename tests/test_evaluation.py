# SPDX-License-Identifier: GPL-3.0-or-later
"""The link without GNU Radio, and tables of figures."""

import numpy as np
import pytest
from gnuradio.largesc.control.policies import Channel, Decision
from gnuradio.largesc.evaluation import link_table, own_link
from gnuradio.largesc.evaluation.own_link import OwnSystem
from gnuradio.largesc.evaluation.table import bootstrap, markdown


def system(models: str, **facts: object) -> OwnSystem:
    return OwnSystem("x", lm=models, codec=models, controller=models, **facts)


def test_copies_arrive_behind_losses():
    decisions = [Decision(8, 3, 2), Decision(8, 0, 2), Decision(6, 2, 1), Decision(5, 5, 1)]
    lost = np.array([True, True, False, True])
    assert own_link.arrived(decisions, lost).tolist() == [3, 0, 6, 0]
    assert own_link.arrived(decisions, np.zeros(4, bool)).tolist() == [8, 8, 6, 5]


def test_loss_free_link_is_the_codec(models, speech):
    own = system(models, policy="fixed", concealer="repeat")
    frames = own_link.encode(models, speech)
    known = own_link.known_channel(0.0, 1.0, len(frames))
    decisions = own_link.decide(own, frames, known, 1100.0)
    lost = own_link.draw_losses(len(frames), 0.0, 1.0, seed=1)
    outcome = own_link.transmit(own, frames, decisions, lost, len(speech))
    assert outcome.payload_bps == pytest.approx(1100.0) and (outcome.received == 8).all()
    decoder = own_link.decoder_of(models)
    decoder.reset()
    whole = np.concatenate([decoder.decode(f.tokens) for f in frames])
    delay = decoder.codec.delay_samples
    assert np.array_equal(outcome.decoded, whole[delay : delay + len(speech)])


@pytest.mark.parametrize("policy", ["table", "learned"])
def test_payload_is_matched(models, speech, policy):
    own = system(models, policy=policy)
    frames = own_link.encode(models, np.tile(speech, 2))
    channels = [Channel(0.2, 2.0)] * len(frames)
    found = own_link.decide_at(own, frames, channels, 900.0)
    assert own_link.payload_of(found) == pytest.approx(900.0, abs=120.0)


def test_same_seed_same_sound(models, speech):
    own = system(models, policy="exact")
    frames = own_link.encode(models, speech)
    lost = own_link.draw_losses(len(frames), 0.3, 2.0, seed=5)
    known = own_link.known_channel(0.3, 2.0, len(frames))
    decisions = own_link.decide(own, frames, known, 1100.0)
    first, second = (
        own_link.transmit(own, frames, decisions, lost, len(speech)).decoded for _ in range(2)
    )
    assert np.array_equal(first, second) and np.isfinite(first).all()


def test_bootstrap_and_markdown():
    mean, half = bootstrap([1.0, 2.0, 3.0, float("nan")])
    assert mean == pytest.approx(2.0) and 0.3 < half < 1.5
    assert all(np.isnan(bootstrap([])))
    rows = [{"system": "a", "visqol": v} for v in (2.0, 4.0)] + [{"system": "b"}]
    lines = markdown(rows, ["system"], ["visqol"]).splitlines()
    assert lines[0] == "| system | utterances | visqol |"
    assert "| 0.50 ±" in markdown([{"s": 1, "v": 0.0}, {"s": 1, "v": 1.0}], ["s"], ["v"])
    assert lines[2].startswith("| a | 2 | 3.00 ±") and lines[3] == "| b | 1 | – |"


def test_picture_from_the_table(tmp_path):
    rows = [
        {"system": s, "loss": p, "mean_burst_packets": b, "utterance": u, "stoi": 1 - p}
        for s in ("a", "b")
        for p, b in ((0.0, 1.0), (0.2, 1.0), (0.2, 3.0))
        for u in "xy"
    ]
    link_table.draw(rows, ["stoi"], tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 10_000
