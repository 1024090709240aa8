# SPDX-License-Identifier: GPL-3.0-or-later
"""Pipes whose reader stalls: what waits is bounded, and nothing of it is lost."""

import os
import threading
import time

import numpy as np
import pytest
from gnuradio.largesc._core import PacketDecision, Packetizer
from gnuradio.largesc.cli import watches
from gnuradio.largesc.flowgraphs.ends import (
    IN_FLIGHT_PACKETS,
    MOST_WAITING,
    Receiver,
    Relay,
    Sender,
)
from gnuradio.largesc.flowgraphs.output import Output
from gnuradio.largesc.options import (
    ChannelOptions,
    LinkOptions,
    ReceiverOptions,
    ReportOptions,
    SenderOptions,
)

# What a pipe and the buffers of a flowgraph hold besides: 64 KiB each, or 17 and 9 frames.
BUFFERED = 80
PIPE_BYTES = 65536
TIMEOUT_S = 60.0


@pytest.fixture
def link(models) -> LinkOptions:
    return LinkOptions(codec=models, crc=False)


def packets(count: int, size: int = 0) -> bytes:
    """A stream of packets, as `tx` writes it; ``size`` bytes each, or as the format has them."""
    packetizer, data = Packetizer(), b""
    tokens = np.random.default_rng(3).integers(0, 2048, (count, 8))
    for frame in tokens:
        for packet in packetizer.push(frame.tolist(), PacketDecision()):
            packet = bytes(packet).ljust(size, b"x")
            data += len(packet).to_bytes(2, "big") + packet
    return data


def wait_until(true) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


class Stalled:
    """A pipe that nobody reads until :meth:`read`."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def read(self, tb: object) -> bytes:
        """Runs a started flowgraph to its end; returns what it wrote."""
        data = []

        def drain() -> None:
            while piece := os.read(self.read_end, PIPE_BYTES):
                data.append(piece)

        reader = threading.Thread(target=drain)
        reader.start()
        wait_until(tb.ended)
        tb.end()
        os.close(self.write_end)
        reader.join()
        os.close(self.read_end)
        return b"".join(data)


def source_of(data: bytes) -> int:
    """A pipe that gives ``data``."""
    read_end, write_end = os.pipe()

    def write() -> None:
        with open(write_end, "wb") as file:
            file.write(data)

    threading.Thread(target=write, daemon=True).start()
    return read_end


def test_receiver_does_not_read_what_it_cannot_write(link):
    count, out = MOST_WAITING + 2 * BUFFERED, Stalled()
    tb = Receiver(
        out.write_end,
        link=link,
        receiver=ReceiverOptions(method="repeat"),
        reports=ReportOptions(),
        listen=source_of(packets(count)),
        raw=True,
    )
    tb.start()
    wait_until(lambda: tb.sink.output.waits_since and tb.source.is_full())
    read = tb.source.counters["packets"]
    assert MOST_WAITING <= read <= MOST_WAITING + BUFFERED
    heard = out.read(tb)
    assert tb.rx.decoder.counters["frames"] == count
    assert len(heard) == 2 * (1920 * count - tb.rx.delay_samples)


def test_sender_does_not_encode_what_it_cannot_write(link):
    # So many packets that no pipe holds them.
    count, out = 400, Stalled()
    os.set_blocking(out.write_end, False)
    os.write(out.write_end, b"x" * PIPE_BYTES)
    noise = np.random.default_rng(4).standard_normal(1920).astype(np.float32) * 0.1
    tb = Sender(
        (noise for _ in range(count)),
        link=link,
        sender=SenderOptions(),
        reports=ReportOptions(),
        to=out.write_end,
    )
    tb.start()
    encoder = tb.tx.encoder.statistics
    wait_until(lambda: tb.sink.output.waits_since and encoder()["in_flight"] == IN_FLIGHT_PACKETS)
    assert encoder()["frames"] == IN_FLIGHT_PACKETS
    data = out.read(tb)[PIPE_BYTES:]
    assert encoder()["frames"] >= count and tb.sink.counters["packets"] >= count
    assert len(data) == tb.sink.counters["bytes"] + 2 * tb.sink.counters["packets"]


def test_channel_does_not_read_what_it_cannot_write():
    count, out = 1000, Stalled()
    data = packets(count, size=1000)
    tb = Relay(channel=ChannelOptions(), listen=source_of(data), to=out.write_end)
    tb.start()
    wait_until(lambda: tb.sink.output.waits_since and tb.source.is_full())
    assert tb.source.counters["packets"] <= MOST_WAITING + BUFFERED
    assert out.read(tb) == data


def test_live_receiver_says_once_that_nobody_reads(monkeypatch):
    said, out = [], Stalled()
    monkeypatch.setattr(watches, "say", said.append)
    output = Output(out.write_end)
    watch = watches.StallWatch(output)
    writer = threading.Thread(target=output.write, args=(b"x" * (PIPE_BYTES + 1),))
    writer.start()
    wait_until(lambda: output.waits_since)
    watch.look()
    assert not said
    monkeypatch.setattr(watches, "MISSING_S", 0.0)
    watch.look()
    watch.look()
    assert len(said) == 1 and "stdout has not been read" in said[0]
    os.read(out.read_end, PIPE_BYTES)
    writer.join(TIMEOUT_S)
    assert not output.waits_since
