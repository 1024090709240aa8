# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: packets to complex samples."""

import numpy as np
from gnuradio import blocks, digital, filter, gr

from ..._core import append_crc
from ...radio.burst import make_burst
from ...radio.codes import PacketCode
from ...radio.morse import StationIdent
from ...radio.ofdm import make_payload
from ...radio.profiles import MOST_BYTES, OFDM_GUARD_SAMPLES, RadioProfile, find_profile
from ...radio.pulses import pulse_taps, to_symbols, whitening
from ..block_base import setter
from .burst_source import LENGTH_TAG, burst_source
from .radio_rate import rate_changer
from .renewed import Renewed

MOST_KEY_UP_MS = 5000.0
# Silence at both ends, so that resamplers and receiver see the first and last burst whole.
FIRST_SYMBOLS, LAST_SYMBOLS = 16, 48
IDLE_SYMBOLS = 16
# The same for OFDM: a burst that is no packet of any code, since guards come only before others.
LAST_BYTES = 1

# Of the inverse FFT of 52 carriers of energy 1.
CARRIERS_RMS = np.sqrt(52.0)

# A page of complex samples: buffers cannot be smaller.
LEAST_BUFFER = 512
BUFFER_SECONDS = 0.04


def buffer_for(sample_rate: float) -> int:
    """Samples of a buffer of about 40 ms, in whole pages."""
    return max(1, round(BUFFER_SECONDS * sample_rate / LEAST_BUFFER)) * LEAST_BUFFER


def completed(chain: list, profile: RadioProfile, sample_rate: float, continuous: bool) -> list:
    """A chain of blocks of a sender with what changes its rate; 0: it has the profile's own."""
    change = rate_changer(profile.sample_rate, sample_rate, receives=False)
    chain = chain if change is None else [*chain, change]
    if continuous:
        bound_buffers(chain, sample_rate or profile.sample_rate)
    return chain


def bound_buffers(chain: list, sample_rate: float) -> None:
    """Keeps short what a burst must wait for: the silence in the buffers of a chain.

    Args:
        chain: blocks from the source of symbols on.
        sample_rate: behind the last of them, which holds about 40 ms.
    """
    for block in chain:
        block.set_max_output_buffer(LEAST_BUFFER)
    chain[-1].set_max_output_buffer(buffer_for(sample_rate))


def checked_amplitude(amplitude: float) -> float:
    """Returns the amplitude, or raises ValueError outside 0 to 1."""
    if not 0 < amplitude <= 1:
        raise ValueError(f"amplitude {amplitude} is out of range: use more than 0, at most 1")
    return float(amplitude)


def scaled_pulse(samples_per_symbol: int, rms: float) -> list[float]:
    """Taps of the pulse for a burst of the given RMS."""
    return (rms * pulse_taps(samples_per_symbol)).tolist()


def pulse_shaper(samples_per_symbol: int, rms: float) -> tuple[object, object]:
    """Symbols to the pulses of a burst of the given RMS; and its tag `packet_len` to samples."""
    pulses = filter.interp_fir_filter_ccf(samples_per_symbol, scaled_pulse(samples_per_symbol, rms))
    size = gr.sizeof_gr_complex
    return pulses, blocks.tagged_stream_multiply_length(size, LENGTH_TAG, samples_per_symbol)


class packet_radio_tx(Renewed, gr.hier_block2):  # noqa: N801
    """Packets on the air: CRC, code, header, sync and pulses; or OFDM.

    Input: message port `packets`, PDUs of 1 to 110 bytes. Output: complex stream, mean power
    ``amplitude``² within a burst, each burst with the tag `packet_len` (in samples; without
    ``sample_rate`` only); message ports `credit` (dicts for the frames of packets that are not
    sent), `status`.

    A packet that is the end of the stream is sent, then the stream ends.

    Args:
        profile: `ssb` or `ssb_bpsk` (2.25 kHz), `narrow` (9 kHz) or `wide` (OFDM, 207 kHz).
        modulation: `bpsk` or `qpsk` in place of the profile's; empty for that.
        code: `none`, `convolutional` or `ldpc` in place of the profile's; empty for that.
        key_up_ms: preamble before the first packet, for transmitters and gain controls that need
            time; 0 to 5000. Single carrier only.
        amplitude: RMS of a burst; peaks are 1.8 times as high, with OFDM 5 times (QPSK 6).
        sample_rate: of the stream in samples a second; 0 for the profile's own.
        continuous: silence between packets, for sound cards and radios that want a steady stream.
            Otherwise nothing comes out between packets. A packet waits for the silence that lies in
            buffers, up to 0.5 s (`narrow` 0.15 s), and for that in buffers behind this block.
        queue_packets: packets that wait at most; of more, the oldest are dropped and counted.
        call_sign: of the station, sent in Morse code at 20 words a minute on the carrier, 0.3 s
            behind the last packet of an over, and at the end; empty for none. Needs ``continuous``.
        ident_minutes: it is sent behind an over that ends so long after the last call, or later,
            and in the midst of a longer one, where packets wait; 0 to 60, 0 for behind each over.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        profile: str = "ssb",
        modulation: str = "",
        code: str = "",
        key_up_ms: float = 0.0,
        amplitude: float = 0.5,
        sample_rate: float = 0.0,
        continuous: bool = False,
        queue_packets: int = 64,
        call_sign: str = "",
        ident_minutes: float = 10.0,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "packet_radio_tx",
            gr.io_signature(0, 0, 0),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        self.counters = {"refused_settings": 0}
        self.profile = find_profile(profile, modulation, code)
        if not 0 <= key_up_ms <= MOST_KEY_UP_MS:
            raise ValueError(f"key_up_ms {key_up_ms} is out of range: use 0 to {MOST_KEY_UP_MS:g}")
        if queue_packets < 1:
            raise ValueError(f"queue_packets {queue_packets} is too small: use 1 or more")
        ofdm = self.profile.waveform == "ofdm"
        if ofdm and (key_up_ms or continuous):
            raise ValueError(f"profile {profile!r} has no key_up_ms and is not continuous: use 0")
        if call_sign and not continuous:
            raise ValueError(f"call_sign {call_sign!r} needs continuous, and another than 'wide'")
        ident = None
        if call_sign:
            ident = StationIdent(call_sign, ident_minutes, self.profile.symbol_rate)
        self._amplitude = checked_amplitude(amplitude)
        if ofdm:
            self.source = self._ofdm_source(queue_packets)
        else:
            self.source = self._symbol_source(key_up_ms, continuous, queue_packets, ident)
        self._sample_rate, self._continuous = sample_rate, continuous
        self._build()
        self.message_port_register_hier_in("packets")
        self.msg_connect(self, "packets", self.source, "packets")
        for port in ("credit", "status"):
            self.message_port_register_hier_out(port)
            self.msg_connect(self.source, port, self, port)

    def _build(self) -> None:
        modulator = self._ofdm() if self.profile.waveform == "ofdm" else self._single_carrier()
        chain = [self.source, *modulator]
        self._chain = completed(chain, self.profile, self._sample_rate, self._continuous)
        self.connect(*self._chain, self)

    def _symbol_source(
        self, key_up_ms: float, continuous: bool, queue_packets: int, ident: StationIdent | None
    ) -> object:
        profile, code = self.profile, PacketCode(self.profile.code)

        def make(packet: bytes) -> np.ndarray:
            return make_burst(append_crc(packet), profile, code)

        key_up = to_symbols(whitening(round(key_up_ms / 1000 * profile.symbol_rate)), 1)
        first = np.concatenate([np.zeros(FIRST_SYMBOLS, dtype=np.complex64), key_up])
        return burst_source(
            item=np.complex64,
            make=make,
            first=first,
            last=np.zeros(LAST_SYMBOLS, dtype=np.complex64),
            most_bytes=MOST_BYTES,
            queue_packets=queue_packets,
            idle_items=IDLE_SYMBOLS if continuous else 0,
            ident=ident,
            on_stop=self._renew,
        )

    def _single_carrier(self) -> list:
        sps = self.profile.samples_per_symbol
        pulses, length = pulse_shaper(sps, self._amplitude)
        self._scale = lambda rms: pulses.set_taps(scaled_pulse(sps, rms))
        return [pulses, length]

    def _ofdm_source(self, queue_packets: int) -> object:
        code = PacketCode(self.profile.code)

        def make(packet: bytes) -> np.ndarray:
            return make_payload(append_crc(packet), code)

        return burst_source(
            item=np.uint8,
            make=make,
            first=np.zeros(0, dtype=np.uint8),
            last=np.zeros(LAST_BYTES, dtype=np.uint8),
            most_bytes=MOST_BYTES,
            queue_packets=queue_packets,
            idle_items=0,
            on_stop=self._renew,
        )

    def _ofdm(self) -> list:
        modulator = digital.ofdm_tx(
            packet_length_tag_key=LENGTH_TAG,
            bps_header=1,
            bps_payload=self.profile.bits_per_symbol,
        )
        scale = blocks.multiply_const_cc(self._amplitude / CARRIERS_RMS)
        self._scale = lambda rms: scale.set_k(rms / CARRIERS_RMS)
        guard = digital.burst_shaper_cc([], OFDM_GUARD_SAMPLES, 0, False, LENGTH_TAG)
        return [modulator, scale, guard]

    @setter
    def set_amplitude(self, amplitude: float) -> None:
        """Changes the RMS of bursts while running; one on the air changes in its midst."""
        self._amplitude = checked_amplitude(amplitude)
        self._scale(self._amplitude)

    def is_identifying(self) -> bool:
        """Whether the call sign goes out now."""
        return self.source.is_identifying()

    def sign_off(self, timeout_s: float = 30.0) -> None:
        """Sends the call sign where it is owed, and ends the stream with it.

        Returns when its last sample is in the buffers behind this block, or after ``timeout_s``.
        """
        self.source.sign_off(timeout_s)

    def statistics(self) -> dict[str, int]:
        """Counters: packets sent, refused, dropped, refused_settings; with a call sign, idents."""
        return self.source.statistics() | self.counters
