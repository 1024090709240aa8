# SPDX-License-Identifier: GPL-3.0-or-later
"""Receiver reports: bytes, pace, caution, blocks, and how the loop follows a step."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks
from gnuradio.largesc import _core, keys, report_rx, report_tx
from gnuradio.largesc.blocks.messages import make_packet, packet_bytes, to_pmt
from gnuradio.largesc.control.report_follower import ReportFollower, ReportPacer
from gnuradio.largesc.packets.report import Report, decode, encode
from gnuradio.largesc.studies.closed_loop import Loop, following, run
from helpers import wait_until


def test_bytes_of_the_documented_example():
    report = Report(0.3, 2.0, 12.0, 3)
    assert encode(report, 7, False).hex(" ") == "07 f3 8d 1c"
    assert encode(report, 7, True).hex(" ") == "07 f3 8d 1c d1 96"
    sequence, back = decode(encode(report, 263, True), True)
    assert sequence == 7 and (back.snr_db, back.buffered_frames) == (12.0, 3)
    assert back.loss_probability == pytest.approx(0.3, abs=0.01)
    assert back.mean_burst_packets == 2.0


def test_values_survive_the_wire_within_its_steps():
    for p in np.linspace(0, 1, 101):
        _, back = decode(encode(Report(p, 1 + 12 * p), 0, False), False)
        assert abs(np.sqrt(back.loss_probability) - np.sqrt(p)) <= 0.5 / 63 + 1e-9
        assert back.mean_burst_packets == pytest.approx(1 + 12 * p, rel=0.1)
        assert back.snr_db is None and back.buffered_frames is None
    for far in (
        Report(7.0, 1e9, 1e9, 10**9),
        Report(-1.0, 0.0, -1e9, -5),
        Report(0.0, 1.0, np.nan),
    ):
        _, back = decode(encode(far, 0, True), True)
        assert 0 <= back.loss_probability <= 1 and 1 <= back.mean_burst_packets < 14


def test_noise_damage_and_speech_are_no_reports():
    good = encode(Report(0.1), 1, True)
    for bit in range(48):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        assert decode(bytes(bad), True) is None
    for cut in range(6):
        assert decode(good[:cut], True) is None
    packetizer = _core.Packetizer()
    for sent in range(9):
        for packet in packetizer.push(list(range(8)), _core.PacketDecision(sent)):
            assert decode(packet, False) is None
    # And speech is told from reports: the depacketizer passes them over.
    receiver = _core.Depacketizer()
    assert receiver.push(encode(Report(0.1), 1, False))
    assert receiver.statistics()["refused_format"] == 0


@pytest.mark.parametrize("calm", [True, False])
def test_pace_stays_within_its_rate(calm):
    pacer = ReportPacer(600)
    random = np.random.default_rng(1)
    sent = [t for t in range(0, 60_000, 80) if pacer.due(0.1 if calm else random.random(), t)]
    assert 60_000 / 800 - 1 <= len(sent) <= 60_000 / 600 + 3
    for window in (5_000, 20_000):
        most = max(sum(t <= s < t + window for s in sent) for t in sent)
        assert most <= window / 600 + 3


def test_a_change_is_told_at_once_and_again():
    pacer = ReportPacer(600)
    sent = [t for t in range(0, 20_000, 80) if pacer.due(0.0, t)]
    behind = sent[-1] + 160
    assert pacer.due(0.25, behind) and not pacer.due(0.26, behind + 80)
    assert pacer.due(0.5, behind + 160)
    assert ReportPacer(0).due(0.5, 0) is False


def test_caution_rises_without_reports_and_ends_with_one():
    follower = ReportFollower(1000, 0.2)
    assert follower.belief(0).loss_probability == 0.0
    assert follower.take(250, Report(0.04, 2.0), 500)
    assert follower.belief(1500).loss_probability == 0.04
    steps = [follower.belief(t).loss_probability for t in (1501, 2000, 2500, 99_000)]
    assert steps == sorted(steps) and steps[1] == pytest.approx(0.12)
    assert steps[-1] == pytest.approx(0.2) and follower.counters["timeouts"] == 1
    # Whatever number it has: the receiver may have begun anew.
    assert follower.take(248, Report(0.0), 99_100)
    assert follower.belief(99_200).loss_probability == 0.0
    # More than the cautious level stays.
    assert follower.take(249, Report(0.5), 99_300)
    assert follower.belief(999_999).loss_probability == 0.5


def test_old_and_double_reports_are_counted_and_refused():
    follower = ReportFollower()
    assert follower.take(2, Report(0.1), 0)
    assert not follower.take(2, Report(0.1), 10)
    assert not follower.take(1, Report(0.9), 20)
    assert not follower.take(250, Report(0.9), 30)
    assert follower.take(3, Report(0.2), 40) and follower.belief(50).loss_probability == 0.2
    assert follower.take(130, Report(0.3), 60)
    assert follower.counters == {"reports": 3, "duplicates": 1, "late": 2, "timeouts": 0}


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: report_tx(interval_ms=50), "interval_ms 50"),
        (lambda: report_tx(interval_ms=float("nan")), "interval_ms nan"),
        (lambda: report_rx(timeout_ms=0), "timeout_ms 0"),
        (lambda: report_rx(timeout_ms=1000, cautious_loss=1.5), "cautious_loss 1.5"),
    ],
)
def test_bad_parameters_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_blocks_carry_a_report_and_survive_what_is_none(tb):
    tx, rx, found = (
        report_tx(interval_ms=100),
        report_rx(timeout_ms=2000, cautious_loss=0.25),
        blocks.message_debug(),
    )
    tb.msg_connect(tx, "packets", rx, "packets")
    tb.msg_connect(rx, "report", found, "store")
    tb.start()
    post = lambda block, port, message: block.to_basic_block()._post(pmt.intern(port), message)  # noqa: E731
    for nonsense in (pmt.PMT_NIL, pmt.from_long(3), to_pmt({"loss_probability": 2.0})):
        post(tx, "report", nonsense)
        post(tx, "status", nonsense)
        post(rx, "packets", nonsense)
    post(rx, "packets", make_packet(b""))
    post(rx, "packets", make_packet(bytes([1, 0x20, 3, 4, 5, 6])))
    post(rx, "packets", make_packet(bytes([1, 0xF0, 3, 4, 5, 6])))
    post(tx, "send", pmt.PMT_NIL)
    post(tx, "status", to_pmt({"es_n0_db": 11.0}))
    # Ports have queues of their own: what was sent to one may overtake another.
    wait_until(lambda: tx.statistics()["refused"] == 4)
    time.sleep(0.3)
    post(tx, "report", to_pmt({"loss_probability": 0.5, "mean_burst_packets": 2.0}))
    wait_until(lambda: rx.statistics()["reports"] == 1)
    facts = pmt.to_python(found.get_message(0))
    assert facts[keys.loss_probability] == pytest.approx(0.5, abs=0.02)
    assert facts[keys.snr_db] == 11.0 and facts[keys.mean_burst_packets] == 2.0
    assert rx.statistics()["refused"] == 4 and rx.statistics()["other_packets"] == 2
    assert tx.statistics()["refused"] == 4 and tx.statistics()["bytes"] == 6
    # Without a report: cautious, but p was higher already.
    wait_until(lambda: rx.statistics()["timeouts"] == 1)
    assert rx.cautious()
    wait_until(lambda: found.num_messages() > 2)
    last = pmt.to_python(found.get_message(found.num_messages() - 1))
    assert last[keys.loss_probability] == facts[keys.loss_probability]
    # On demand, as at the end of an over.
    post(tx, "send", pmt.PMT_NIL)
    wait_until(lambda: rx.statistics()["reports"] == 2 and not rx.cautious())


def test_packet_bytes_of_anything():
    assert packet_bytes(pmt.PMT_NIL) is None and packet_bytes(make_packet(b"ab")) == b"ab"


def test_median_decision_follows_a_step_in_time():
    courses = [run(Loop(), seed) for seed in range(1, 21)]
    found = following(Loop(), courses)
    assert found.p_s <= 1.5 and found.decision_s <= 1.5
    assert 0 <= found.changes <= 1
    assert max(course.report_bps for course in courses) <= 80


def test_dead_way_back_makes_the_sender_cautious():
    course = run(Loop(back_loss=1.0, before_s=5.0, after_s=5.0), 1)
    assert course.p[0] == 0.0 and course.p[-1] == pytest.approx(0.2)
    assert course.tokens_repeated[-20:].mean() > course.tokens_repeated[:20].mean()
