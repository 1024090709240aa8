# SPDX-License-Identifier: GPL-3.0-or-later
"""Playout that waits longer where packets come late: the block, the options, the table."""

import csv
import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc._core import Depacketizer, PacketDecision, Packetizer
from gnuradio.largesc.cli.arguments import link_of, receiver_of
from gnuradio.largesc.cli.main import main, parser
from gnuradio.largesc.studies.playout import JITTERS, packets_of, run
from helpers import wait_until


def test_block_grows_where_packets_come_late_and_says_so():
    packetizer = Packetizer()
    packets = [packetizer.push([n] * 8, PacketDecision())[0] for n in range(50)]
    rx = largesc.uep_depacketizer(mode="live", crc=False, deadline_ms=80, max_deadline_ms=400)
    tb = gr.top_block("test", catch_exceptions=False)
    sink = blocks.message_debug(False)
    tb.msg_connect(rx, "status", sink, "store")
    assert rx.statistics()["playout_delay_ms"] == 100
    # Every third packet is late by two; a pull each 80 ms. Packets first: ties must not decide.
    events = [(80 * n + (160 if n > 10 and n % 3 == 0 else 0), 0, n) for n in range(50)]
    events += [(80 * n + 50, 1, n) for n in range(60)]
    tb.start()
    begin = time.monotonic()
    for at_ms, is_pull, n in sorted(events):
        time.sleep(max(0.0, begin + at_ms / 1000 - time.monotonic()))
        if is_pull:
            rx._post(pmt.intern("pull"), pmt.make_dict())
        else:
            data = packets[n]
            vector = pmt.init_u8vector(len(data), list(data))
            rx._post(pmt.intern("packets"), pmt.cons(pmt.make_dict(), vector))
    wait_until(lambda: rx.statistics()["packets_received"] == 50)
    tb.stop()
    tb.wait()
    facts = rx.statistics()
    assert 1 <= facts["playout_grown"] <= 4 and facts["playout_shrunk"] == 0
    assert 120 <= facts["playout_delay_ms"] <= 480
    status = pmt.to_python(sink.get_message(sink.num_messages() - 1))
    assert {"playout_delay_ms", "playout_grown", "playout_shrunk"} <= set(status)


@pytest.mark.parametrize("most", [-1, 79, 5001])
def test_limits_are_refused_by_name(most):
    with pytest.raises(ValueError, match=f"max_deadline_ms {most}.*deadline_ms .80. to 5000"):
        largesc.uep_depacketizer(mode="live", max_deadline_ms=most)


def test_command_line_is_adaptive_unless_told_otherwise():
    for given, limits in (
        ([], (80, 400)),
        (["--frames-per-packet", "2"], (160, 400)),
        (["--deadline-ms", "640"], (640, 640)),
        (["--max-deadline-ms", "0"], (80, 0)),
        (["--max-deadline-ms", "1000"], (80, 1000)),
    ):
        args = parser().parse_args(["rx", *given])
        packet_ms = link_of(args).packet_ms
        found = receiver_of(args).listening(packet_ms, args.deadline_ms, args.max_deadline_ms)
        assert (found.deadline_ms, found.max_deadline_ms) == limits


def test_adaptive_playout_keeps_what_a_fixed_one_loses():
    count = 3000
    packets, lost = packets_of(count), np.zeros(count, dtype=bool)
    random = np.random.default_rng(1)
    came_ns = (80e6 * np.arange(count) + 1e6 * JITTERS["exponential, 50 ms"](random, count)).astype(
        int
    )
    came_ns[0] = 0
    fixed = run(packets, came_ns, lost, Depacketizer(live=True, deadline_ms=80))
    adaptive = run(
        packets, came_ns, lost, Depacketizer(live=True, deadline_ms=80, max_deadline_ms=400)
    )
    assert fixed.late > 0.05 and adaptive.late < 0.02
    assert adaptive.delay_ms.mean() < 400


def test_table_is_written(tmp_path, capsys):
    options = ["--output", str(tmp_path), "--minutes", "0.5", "--runs", "1"]
    assert main(["study", "playout", *options]) == 0
    with (tmp_path / "playout.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(JITTERS) * 2 * 5
    assert capsys.readouterr().out.startswith("| jitter | packets lost | fixed 80")
