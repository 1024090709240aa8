# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets through the radio blocks: samples of a sender, noise, and what a receiver finds."""

import gc
from dataclasses import dataclass

import numpy as np
import pmt
from gnuradio import analog, blocks, gr

from ... import keys, packet_radio_rx, packet_radio_tx, radio_channel
from ...blocks.radio.packet_radio_tx import FIRST_SYMBOLS
from ...radio.profiles import OFDM_LENGTH, RadioProfile, find_profile

AMPLITUDE = 0.5
# Silence behind an OFDM recording: the in-tree demultiplexer ends with its input.
TAIL = 65536


@dataclass(frozen=True)
class Setting:
    """A profile with another modulation or code where one is given."""

    profile: str
    modulation: str = ""
    code: str = ""

    @property
    def radio(self) -> RadioProfile:
        """Returns the profile, with modulation and code replaced where they are given."""
        return find_profile(self.profile, self.modulation, self.code)

    @property
    def label(self) -> str:
        """Returns the name that plots and tables show."""
        radio = self.radio
        kind = "OFDM " if radio.waveform == "ofdm" else ""
        return f"{self.profile}: {kind}{radio.modulation.upper()}, {radio.code}"

    def arguments(self) -> dict[str, str]:
        """Returns the arguments that the radio blocks take by name."""
        return {"profile": self.profile, "modulation": self.modulation, "code": self.code}


def random_packets(count: int, packet_bytes: int, seed: int) -> list[bytes]:
    """Returns ``count`` packets of random bytes, the same for the same seed."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, packet_bytes).astype(np.uint8).tobytes() for _ in range(count)]


def transmit(setting: Setting, packets: list[bytes], key_up_ms: float = 0.0) -> np.ndarray:
    """Samples of one burst behind the other."""
    tb = gr.top_block("transmit", catch_exceptions=False)
    tx = packet_radio_tx(
        **setting.arguments(),
        key_up_ms=key_up_ms,
        amplitude=AMPLITUDE,
        queue_packets=len(packets) + 1,
    )
    sink = blocks.vector_sink_c()
    tb.connect(tx, sink)
    over = pmt.dict_add(pmt.make_dict(), pmt.intern(keys.end_of_stream), pmt.PMT_T)
    for packet in packets:
        body = pmt.init_u8vector(len(packet), list(packet))
        tx.source.gateway._post(pmt.intern("packets"), pmt.cons(pmt.make_dict(), body))
    tx.source.gateway._post(pmt.intern("packets"), pmt.cons(over, pmt.init_u8vector(0, [])))
    tb.start()
    tb.wait()
    samples = np.array(sink.data(), dtype=np.complex64)
    del tb, tx, sink
    gc.collect()
    return samples


def in_time(
    setting: Setting, samples: np.ndarray, sizes: list[int], slot_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """The bursts of ``samples`` as live speech sends them: each waits until its packet is complete.

    Args:
        samples: of :func:`transmit`, without key-up.
        sizes: bytes of each packet.
        slot_s: seconds from one packet to the next. Bursts that take longer queue up.

    Returns:
        Samples, and the first and the one behind the last of each burst, ``[packets, 2]``.
    """
    radio = setting.radio
    at = 0 if radio.waveform == "ofdm" else FIRST_SYMBOLS * radio.samples_per_symbol
    slot, free, spans, parts = round(slot_s * radio.sample_rate), 0, [], []
    for number, size in enumerate(sizes):
        length = radio.burst_symbols(size) * radio.samples_per_symbol
        begin = max(free, number * slot)
        parts.append(np.zeros(begin - free, dtype=np.complex64))
        parts.append(samples[at : at + length])
        at, free = at + length, begin + length
        spans.append((begin, free))
    return np.concatenate(parts), np.array(spans)


def receive(
    setting: Setting, samples: np.ndarray, noise_power: float, seed: int, **channel: object
) -> tuple[list[bytes], dict]:
    """Packets and counters of a receiver behind a channel.

    Args:
        noise_power: of complex white noise, a sample.
        channel: arguments of ``radio_channel`` but for its sample rate and noise.
    """
    if setting.radio.waveform == "ofdm":
        samples = np.concatenate([samples, np.zeros(TAIL, dtype=np.complex64)])
    tb = gr.top_block("receive", catch_exceptions=False)
    source = blocks.vector_source_c(samples.tolist())
    air = radio_channel(sample_rate=setting.radio.sample_rate, seed=seed, **channel)
    # A noise source of its own: that of the channel model repeats itself.
    noise = analog.noise_source_c(analog.GR_GAUSSIAN, float(np.sqrt(noise_power)), seed)
    count = blocks.head(gr.sizeof_gr_complex, len(samples))
    add = blocks.add_cc()
    rx = packet_radio_rx(**setting.arguments())
    debug = blocks.message_debug()
    tb.connect(source, air, (add, 0))
    tb.connect(noise, count, (add, 1))
    tb.connect(add, rx)
    tb.msg_connect(rx, "packets", debug, "store")
    tb.start()
    tb.wait()
    found = [debug.get_message(n) for n in range(debug.num_messages())]
    packets = [bytes(pmt.u8vector_elements(pmt.cdr(message))) for message in found]
    counters = rx.statistics()
    del tb, source, air, noise, count, add, rx, debug
    # Flowgraphs of Python blocks are freed late, and there is not much shared memory.
    gc.collect()
    return packets, counters


def listen(setting: Setting, seconds: float, seed: int) -> tuple[int, dict]:
    """Packets accepted out of white noise, and counters."""
    tb = gr.top_block("listen", catch_exceptions=False)
    noise = analog.noise_source_c(analog.GR_GAUSSIAN, 1.0, seed)
    count = blocks.head(gr.sizeof_gr_complex, round(seconds * setting.radio.sample_rate))
    rx = packet_radio_rx(**setting.arguments())
    tb.connect(noise, count, rx)
    tb.start()
    tb.wait()
    counters = rx.statistics()
    del tb, noise, count, rx
    gc.collect()
    return int(counters["accepted"]), counters


@dataclass(frozen=True)
class Energy:
    """Energies of a burst, in units of a sample's power.

    Attributes:
        symbol: of a payload symbol, or of a carrier in an OFDM symbol's 64 samples.
        used: of header and payload.
        burst: of all of it.
    """

    symbol: float
    used: float
    burst: float


def energies(setting: Setting, packet_bytes: int) -> Energy:
    """Energy of a burst of ``packet_bytes`` by its parts, of the sum of symbols in ``profiles``."""
    radio = setting.radio
    if radio.waveform == "ofdm":
        # A carrier of amplitude 1 is AMPLITUDE / sqrt(52) times sqrt(64) in a sample's power.
        if radio.modulation != "bpsk":
            raise ValueError("energies of OFDM are those of BPSK: the in-tree QPSK is 6 dB above")
        carrier = AMPLITUDE**2 / 52 * OFDM_LENGTH
        row = AMPLITUDE**2 * radio.samples_per_symbol
        used = (1 + radio.payload_symbols(packet_bytes)) * row
        return Energy(carrier, used, used + 2 * row)
    symbol = AMPLITUDE**2 * radio.samples_per_symbol
    used = (radio.header_symbols + radio.payload_symbols(packet_bytes)) * symbol
    return Energy(symbol, used, used + 32 * symbol)
