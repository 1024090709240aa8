# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets of the command line over UDP, and what it says when none come."""

import socket
import time
from binascii import crc_hqx

import pmt
import pytest
from gnuradio import blocks
from gnuradio.largesc import keys, packet_verifier
from gnuradio.largesc.blocks.messages import make_packet, packet_bytes, read_packet
from gnuradio.largesc.cli import watches
from gnuradio.largesc.flowgraphs.end_repeater import end_repeater
from gnuradio.largesc.flowgraphs.transport import udp_packets
from gnuradio.largesc.packets.signature import PacketSigner
from helpers import free_port, wait_until


def send(block, data: bytes) -> None:
    block.to_basic_block()._post(pmt.intern("packets"), make_packet(data))


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def test_answers_go_to_whoever_was_heard_last(tb):
    at = free_address()
    server, found = udp_packets(listen=at), blocks.message_debug()
    clients = [udp_packets(to=at), udp_packets(to=at)]
    tb.msg_connect(server, "packets", server, "accepted")
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


@pytest.mark.parametrize("signed", [False, True])
def test_stray_packets_do_not_turn_the_answers(tb, tmp_path, signed):
    at, key = free_address(), tmp_path / "key"
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    server, found = udp_packets(listen=at, crc=not signed), blocks.message_debug()
    good = b"speech" + crc_hqx(b"speech", 0xFFFF).to_bytes(2, "big")
    checked = server
    if signed:
        good = PacketSigner(bytes(32)).sign(b"speech")
        checked = packet_verifier(key_file=str(key))
        tb.msg_connect(server, "packets", checked, "packets")
    tb.msg_connect(checked, "packets", server, "accepted")
    tb.msg_connect(server, "packets", found, "store")
    tb.start()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger,
    ):
        where = ("127.0.0.1", int(at.split(":")[1]))
        stranger.sendto(b"hello", where)
        wait_until(lambda: found.num_messages() == 1)
        time.sleep(0.2)
        assert server.peer is None
        sender.sendto(good, where)
        wait_until(lambda: server.peer is not None)
        # A replay is stray as well where packets are signed.
        strays = [b"", b"\xff\xff", b"hello", good[:-1] + b"!", *([good] if signed else [])]
        for stray in strays:
            stranger.sendto(stray, where)
        wait_until(lambda: found.num_messages() == 2 + len(strays))
        time.sleep(0.2)
        send(server, b"report")
        sender.settimeout(20.0)
        assert sender.recv(100) == b"report"


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
    monkeypatch.setattr(watches.time, "monotonic", lambda: now[0])
    watch = watches.Watch(lambda: count[0], "nothing for 2 s", "again")

    def after(seconds: float) -> str:
        now[0] += seconds
        watch.look()
        return capsys.readouterr().err

    # Looked at each 0.05 s: within 2 s. One lost report leaves 1.6 s.
    assert after(1.7) == "" and "nothing for 2 s" in after(0.25) and after(9.0) == ""
    count[0] = 1
    assert "again" in after(0.1)
    assert after(1.7) == "" and "nothing for 2 s" in after(0.25)


def test_refusals_are_said_once_with_a_reason(monkeypatch, capsys):
    now, heard, refused = [0.0], [0], {}
    monkeypatch.setattr(watches.time, "monotonic", lambda: now[0])
    watch = watches.RefusalWatch(lambda: heard[0], lambda: dict(refused))

    def after(good: int, bad: int) -> str:
        now[0] += 2.1
        heard[0] += good
        refused["refused_tag"] = refused.get("refused_tag", 0) + bad
        watch.look()
        return capsys.readouterr().err

    # A few damaged packets are usual.
    assert after(25, 5) == "" and after(0, 4) == ""
    said = after(3, 22)
    assert "22 of 25 packets in 2 s are refused: refused_tag 22" in said and "--key" in said
    assert after(0, 25) == ""


def test_end_packet_is_sent_three_times_and_counted(tb):
    block, found = end_repeater(interval_s=0.2), blocks.message_debug()
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
    wait_until(lambda: found.num_messages() >= 4)
    got = [read_packet(found.get_message(n)) for n in range(found.num_messages())]
    again = (False, b"\x01\xe0")
    assert got == [(False, b"speech"), again, again, (True, b"\x01\xe0")]
    assert block.statistics() == {"refused": 0, "packets": 2, "bytes": 4}


def test_what_came_while_nothing_ran_is_dropped(tb):
    at = free_address()
    server, found = udp_packets(listen=at), blocks.message_debug()
    tb.msg_connect(server, "packets", found, "store")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", int(at.rsplit(":", 1)[1])))
        tb.start()
        client.send(b"first")
        wait_until(lambda: found.num_messages() == 1)
        tb.stop()
        tb.wait()
        for _ in range(50):
            client.send(b"between")
        tb.start()
        client.send(b"again")
        wait_until(lambda: found.num_messages() == 2)
    assert packet_bytes(found.get_message(1)) == b"again"
    assert server.statistics()["received"] == 1
