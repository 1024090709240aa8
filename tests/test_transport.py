# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of the command line over UDP, and what it says when none come."""

import socket
import time

import pmt
import pytest
from gnuradio import blocks, gr
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.burst_source import read_packet
from gnuradio.largesc.blocks.messages import make_packet, packet_bytes
from gnuradio.largesc.cli import link
from gnuradio.largesc.cli.end_repeater import end_repeater
from gnuradio.largesc.cli.transport import udp_packets


@pytest.fixture
def tb():
    top = gr.top_block(catch_exceptions=False)
    yield top
    top.stop()
    top.wait()


def send(block, data: bytes) -> None:
    block.to_basic_block()._post(pmt.intern("packets"), make_packet(data))


def wait_until(true) -> None:
    end = time.monotonic() + 20.0
    while not true():
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.02)


def test_answers_go_to_whoever_was_heard_last(tb):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{probe.getsockname()[1]}"
    server, found = udp_packets(listen=at), blocks.message_debug()
    clients = [udp_packets(to=at), udp_packets(to=at)]
    tb.msg_connect(server, "packets", found, "store")
    heard = [blocks.message_debug(), blocks.message_debug()]
    for client, sink in zip(clients, heard, strict=True):
        tb.msg_connect(client, "packets", sink, "store")
    tb.start()
    send(server, b"nobody hears this")
    for number, (client, sink) in enumerate(zip(clients, heard, strict=True)):
        send(client, b"packet %d" % number)
        wait_until(lambda n=number: found.num_messages() == n + 1)
        send(server, b"report %d" % number)
        wait_until(lambda s=sink: s.num_messages() == 1)
        assert packet_bytes(sink.get_message(0)) == b"report %d" % number
    assert server.statistics()["sent"] == 2 and server.statistics()["received"] == 2


def test_errors_of_the_network_are_counted_and_over(tb):
    # Broadcasts are forbidden to an ordinary socket.
    client = udp_packets(to="255.255.255.255:9")
    tb.msg_connect(client, "packets", blocks.message_debug(), "store")
    tb.start()
    for _ in range(3):
        send(client, b"packet")
    client.to_basic_block()._post(pmt.intern("packets"), pmt.PMT_NIL)
    wait_until(lambda: client.statistics()["send_errors"] == 3)


def test_silence_is_said_once_and_its_end(monkeypatch, capsys):
    now, count = [0.0], [0]
    monkeypatch.setattr(link.time, "monotonic", lambda: now[0])
    watch = link.Watch(lambda: count[0], "nothing for 2 s", "again")

    def after(seconds: float) -> str:
        now[0] += seconds
        watch.look()
        return capsys.readouterr().err

    # Looked at each 0.05 s: within 2 s. One lost report leaves 1.6 s.
    assert after(1.7) == "" and "nothing for 2 s" in after(0.25) and after(9.0) == ""
    count[0] = 1
    assert "again" in after(0.1)
    assert after(1.7) == "" and "nothing for 2 s" in after(0.25)


def test_end_packet_is_sent_three_times_and_counted(tb):
    block, found = end_repeater(0.2), blocks.message_debug()
    tb.msg_connect(block, "packets", found, "store")
    tb.start()
    send(block, b"speech")
    end = pmt.dict_add(pmt.make_dict(), pmt.intern(keys.end_of_stream), pmt.PMT_T)
    begin = time.monotonic()
    block.to_basic_block()._post(
        pmt.intern("packets"), pmt.cons(end, pmt.init_u8vector(2, [1, 0xE0]))
    )
    wait_until(block.ended)
    assert time.monotonic() - begin >= 0.4
    got = [read_packet(found.get_message(n)) for n in range(found.num_messages())]
    again = (False, b"\x01\xe0")
    assert got == [(False, b"speech"), again, again, (True, b"\x01\xe0")]
    assert block.statistics() == {"packets": 2, "bytes": 4}
