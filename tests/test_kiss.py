# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets over KISS: frames, a port with programs good and bad, direwolf's kissutil, speech."""

import shutil
import socket
import subprocess
import time

import numpy as np
import pmt
import pytest
import soundfile
from commands import Command
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.blocks.messages import make_packet, packet_bytes
from gnuradio.largesc.packets.ax25 import checked_address, read_ui_frame, ui_frame
from gnuradio.largesc.packets.call_sign import checked_call_sign
from gnuradio.largesc.packets.kiss import KissReader, kiss_frame
from helpers import free_port, wait_until

LOOPBACK = "127.0.0.1"


def free_address() -> str:
    return f"{LOOPBACK}:{free_port(socket.SOCK_STREAM)}"


def connected(block) -> socket.socket:
    """A program at a block's port, once the block knows of it."""
    before = block.statistics()["connections"]
    client = socket.create_connection((LOOPBACK, block.port()), 60.0)
    wait_until(lambda: block.statistics()["connections"] > before)
    return client


def send(block, data: bytes) -> None:
    block.to_basic_block()._post(pmt.intern("packets"), make_packet(data))


def packets_of(store) -> list[bytes]:
    return [packet_bytes(store.get_message(n)) for n in range(store.num_messages())]


@pytest.fixture
def port(tb):
    """A port of its own that runs, and what came out of it."""
    block, store = largesc.kiss_packets(listen=free_address()), blocks.message_debug()
    tb.msg_connect(block, "packets", store, "store")
    tb.start()
    return block, store


def test_frames_as_the_paper_has_them():
    # Its own examples: "TEST", and FEND and FESC as data.
    assert kiss_frame(b"TEST") == b"\xc0\x00TEST\xc0"
    assert kiss_frame(b"\xc0\xdb") == b"\xc0\x00\xdb\xdc\xdb\xdd\xc0"


def test_every_packet_comes_through_in_pieces_of_any_size():
    draw = np.random.default_rng(1)
    sent = [bytes(draw.choice([0xC0, 0xDB, 0xDC, 0xDD, 0, 65], n)) for n in range(1, 60)]
    stream = b"".join(kiss_frame(data) for data in sent)
    for size in (1, 2, 7, len(stream)):
        reader, found = KissReader(), []
        for n in range(0, len(stream), size):
            found += reader.push(stream[n : n + size])
        assert found == sent
        assert not any(reader.counters.values())


@pytest.mark.parametrize(
    "stream, found, counted",
    [
        (b"garbage before" + kiss_frame(b"good"), [b"good"], {}),
        (b"\xc0" * 9 + kiss_frame(b"good"), [b"good"], {}),
        (b"\xc0\x00\xdbXbad" + kiss_frame(b"good"), [b"good"], {"bad_frames": 1}),
        (b"\xc0\x00bad\xdb" + kiss_frame(b"good"), [b"good"], {"bad_frames": 1}),
        (b"\xc0\x01\x32" + kiss_frame(b"good"), [b"good"], {"commands": 1}),
        (b"\xc0\xff" + kiss_frame(b"good"), [b"good"], {"commands": 1}),
        (b"\xc0\x00" + b"x" * 2049 + kiss_frame(b"good"), [b"good"], {"oversized": 1}),
        (kiss_frame(b"x" * 2048), [b"x" * 2048], {}),
        # Of another port of the modem.
        (b"\xc0\x50good\xc0", [b"good"], {}),
        (b"\xc0\x00\xc0", [], {}),
    ],
)
def test_what_is_no_data_is_counted(stream, found, counted):
    reader = KissReader()
    assert reader.push(stream) == found
    assert {name: n for name, n in reader.counters.items() if n} == counted


def test_a_frame_without_end_takes_no_memory():
    reader = KissReader()
    reader.push(b"\xc0\x00")
    for _ in range(100):
        assert reader.push(b"x" * 100_000) == []
    assert len(reader._frame) <= 2049
    assert reader.push(b"\xc0") == [] and reader.counters["oversized"] == 1


def test_ax25_as_the_standard_has_it():
    frame = ui_frame(checked_address("n7lem-2"), b"data")
    # Section 3.12: characters shifted by one, blanks behind; reserved bits set; the last one ends.
    assert frame[:7] == bytes(ord(c) << 1 for c in "LARGSC") + b"\xe0"
    assert frame[7:14] == bytes(ord(c) << 1 for c in "N7LEM ") + bytes([0b01100101])
    assert frame[14:] == b"\x03\xf0data"
    assert read_ui_frame(frame) == ("N7LEM-2", b"data")
    # With a digipeater behind the source.
    repeated = frame[:13] + bytes([frame[13] & 0xFE]) + frame[7:14] + frame[14:]
    assert read_ui_frame(repeated) == ("N7LEM-2", b"data")
    for odd in (b"", frame[:13], frame[:14], frame[:15], b"x" + frame, repeated[:20], b"\x00" * 99):
        assert read_ui_frame(odd) is None


@pytest.mark.parametrize("call", ["DL1ABC", "w1aw", "9A1AA", "3DA0XY", "GB100RSGB", "F/DL1ABC/P"])
def test_call_signs(call):
    assert checked_call_sign(call) == call.upper()


@pytest.mark.parametrize(
    "call",
    ["", "CQ", "ÄB1C", "DL1", "1234A", "DL 1ABC", "DL1ABC/", "/P", "W1AW\n1", "D" * 99, "٣A1A"],
)
def test_odd_call_signs_are_one_line(call):
    with pytest.raises(ValueError, match="is none: letters A to Z and digits, as DL1ABC") as error:
        checked_call_sign(call)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["GB100RSGB", "F/DL1ABC", "W1AW-16", "W1AW-x", "W1AW-٣", "W1AW-"])
def test_addresses_that_ax25_has_not(text):
    if text == "W1AW-":
        assert checked_address(text) == "W1AW"
        return
    with pytest.raises(ValueError, match="AX.25 has no address"):
        checked_address(text)


def test_several_programs_get_each_packet_and_send_theirs(port):
    block, store = port
    programs = [connected(block) for _ in range(3)]
    send(block, b"to all \xc0")
    for program in programs:
        program.settimeout(60.0)
        assert program.recv(100) == kiss_frame(b"to all \xc0")
    for number, program in enumerate(programs):
        program.sendall(kiss_frame(b"from %d" % number))
    wait_until(lambda: store.num_messages() == 3)
    assert sorted(packets_of(store)) == [b"from 0", b"from 1", b"from 2"]
    programs[0].close()
    send(block, b"to two")
    assert programs[1].recv(100) == programs[2].recv(100) == kiss_frame(b"to two")
    wait_until(lambda: block.statistics()["sent"] >= 5)
    counted = block.statistics()
    assert counted["received"] == 3 and counted["dropped"] == 0
    for program in programs:
        program.close()


def test_garbage_ends_nothing(port):
    block, store = port
    program = connected(block)
    program.sendall(np.random.default_rng(3).integers(0, 256, 50_000).astype(np.uint8).tobytes())
    program.sendall(kiss_frame(b"x" * 5000) + kiss_frame(b"good"))
    wait_until(lambda: b"good" in packets_of(store))
    counted = block.statistics()
    assert counted["bad_frames"] and counted["commands"] and counted["oversized"] == 1
    send(block, b"")
    send(block, b"x" * 2049)
    wait_until(lambda: block.statistics()["refused"] == 2)
    program.close()


def test_a_program_that_never_reads_loses_the_oldest_and_holds_nobody_up(port):
    block, _ = port
    deaf, other = connected(block), connected(block)
    other.settimeout(60.0)
    stream = b""
    for number in range(3000):
        send(block, b"%04d" % number + bytes(500))
        if number % 50 == 49:
            # The other one reads: it gets all of them.
            last = kiss_frame(b"%04d" % number + bytes(500))
            while last not in stream[-2 * len(last) :]:
                stream += other.recv(65536)
    assert len(KissReader().push(stream)) == 3000
    assert block.statistics()["dropped"] > 500
    assert max(len(client.waiting) for client in block._clients) <= 64
    # When it reads at last, what comes is whole, and the newest is there.
    deaf.settimeout(60.0)
    reader, found = KissReader(), []
    while not found or not found[-1].startswith(b"2999"):
        found += reader.push(deaf.recv(65536))
    assert not any(reader.counters.values()) and len(found) < 3000
    deaf.close()
    other.close()


def test_more_programs_than_it_takes_are_turned_away(port):
    block, _ = port
    programs = [connected(block) for _ in range(16)]
    late = socket.create_connection((LOOPBACK, block.port()), 60.0)
    assert late.recv(1) == b""
    wait_until(lambda: block.statistics()["refused_clients"] == 1)
    for program in [*programs, late]:
        program.close()


def test_a_packet_modem_that_goes_is_tried_again(tb):
    listener = socket.create_server((LOOPBACK, 0))
    where = f"{LOOPBACK}:{listener.getsockname()[1]}"
    block = largesc.kiss_packets(listen="", tnc=where, call="N0CALL")
    store = blocks.message_debug()
    tb.msg_connect(block, "packets", store, "store")
    tb.start()
    modem, _ = listener.accept()
    modem.settimeout(60.0)
    send(block, b"first")
    assert modem.recv(100) == kiss_frame(ui_frame("N0CALL", b"first"))
    modem.sendall(kiss_frame(ui_frame("W1AW-3", b"answer")) + kiss_frame(b"of another kind"))
    wait_until(lambda: block.statistics()["foreign"] == 1)
    assert packets_of(store) == [b"answer"] and block.statistics()["source"] == "W1AW-3"
    # In this order: nobody waits to be accepted.
    listener.close()
    modem.close()
    wait_until(lambda: block.statistics()["connect_errors"] >= 1)
    listener = socket.create_server((LOOPBACK, int(where.split(":")[1])))
    modem, _ = listener.accept()
    wait_until(lambda: block.statistics()["connections"] == 2)
    modem.settimeout(60.0)
    send(block, b"again")
    assert modem.recv(100) == kiss_frame(ui_frame("N0CALL", b"again"))
    modem.close()
    listener.close()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"listen": "", "tnc": ""}, "give one of listen"),
        ({"tnc": "127.0.0.1:1"}, "give one of listen"),
        ({"listen": "", "tnc": "127.0.0.1:1"}, "no packet modem answers at 127.0.0.1:1"),
        ({"listen": "nowhere"}, "is not of the form host:port"),
        ({"listen": "192.0.2.1:8001"}, "cannot be listened at"),
        ({"call": "Dä1X"}, "call sign 'Dä1X' is none"),
        ({"call": "N0CALL-99"}, "AX.25 has no address"),
    ],
)
def test_wrong_arguments_say_what(arguments, message):
    with pytest.raises(ValueError, match=message):
        largesc.kiss_packets(**arguments)


def test_kissutil_sees_our_packets_and_sends_us_its_own(tb):
    if shutil.which("kissutil") is None:
        pytest.skip("kissutil is not installed: apt-get install direwolf")
    block = largesc.kiss_packets(listen=free_address(), call="N0CALL-7")
    store = blocks.message_debug()
    tb.msg_connect(block, "packets", store, "store")
    tb.start()
    program = subprocess.Popen(
        ["kissutil", "-h", LOOPBACK, "-p", str(block.port())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: block.statistics()["connections"] == 1)
    send(block, b"tokens of speech")
    # A frame for us, one for others, and a command.
    program.stdin.write(b"W1AW-3>LARGSC:from kissutil\nW1AW-3>APRS:no\nd 30\n")
    program.stdin.flush()
    wait_until(lambda: block.statistics()["commands"] == 1)
    wait_until(lambda: block.statistics()["sent"] == 1)
    assert packets_of(store) == [b"from kissutil"]
    assert block.statistics()["foreign"] == 1 and block.statistics()["source"] == "W1AW-3"
    time.sleep(0.5)
    program.stdin.close()
    said = program.stdout.read()
    program.wait(60)
    assert b"N0CALL-7>LARGSC:tokens of speech" in said


@pytest.mark.parametrize("call", ["", "N0CALL-7@"])
def test_speech_goes_over_a_kiss_port(tmp_path, speech, models, call):
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    where = free_address()
    common = ["--codec", models, "--json"]
    heard = [str(tmp_path / "out.wav"), "--listen", f"kiss://{call}{where}"]
    rx = Command(tmp_path, "rx", *heard, "--concealer", "repeat", *common)
    rx.hears("listening at")
    tx = Command(
        tmp_path, "tx", str(tmp_path / "in.wav"), "--to", f"kiss-tnc://{call}{where}", *common
    )
    assert tx.wait() == 0 and rx.wait() == 0
    sent, got = tx.facts()["summary"]["packets"], rx.facts()["summary"]["packets_received"]
    # The end is sent three times.
    assert sent - 2 <= got + 1 and got > 20


def test_a_modem_that_is_not_there_is_one_line(tmp_path, speech, models):
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    where = ["--to", f"kiss-tnc://{free_address()}"]
    tx = Command(tmp_path, "tx", str(tmp_path / "in.wav"), *where, "--codec", models)
    assert tx.wait() == 2
    assert "no packet modem answers at" in tx.said() and tx.said().count("\n") == 1


def test_other_programs_talk_through_our_modem():
    """A packet modem of a KISS port and the modem, and one at the other end of the air."""
    kiss = [largesc.kiss_packets(listen=free_address()) for _ in range(2)]
    tb = gr.top_block("kiss modem", catch_exceptions=False)
    tx = largesc.packet_radio_tx(profile="narrow", continuous=True)
    rx = largesc.packet_radio_rx(profile="narrow")
    pace = blocks.throttle(gr.sizeof_gr_complex, 4 * 28800.0)
    tb.connect(tx, pace, rx)
    tb.msg_connect(kiss[0], "packets", tx, "packets")
    tb.msg_connect(rx, "packets", kiss[1], "packets")
    tb.start()
    ends = [connected(block) for block in kiss]
    ends[1].settimeout(120.0)
    ends[0].sendall(kiss_frame(b"W1AW>N0CALL: over the air"))
    assert ends[1].recv(200) == kiss_frame(b"W1AW>N0CALL: over the air")
    for end in ends:
        end.close()
    tb.stop()
    tb.wait()
