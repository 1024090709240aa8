# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: complex samples to packets."""

import math

import numpy as np
from gnuradio import blocks, gr

from ...radio.profiles import RadioProfile, find_profile
from ...radio.search import most_search_hz, searched_profile
from .burst_sink import Burst, burst_sink
from .ofdm_demodulator import ofdm_demodulator
from .ofdm_sink import ofdm_sink
from .radio_rate import rate_changer
from .renewed import Renewed

# Samples: of a thousand to one, the resampler reads 35000 for each that it gives.
RESAMPLER_INPUT = 131072


class packet_radio_rx(Renewed, gr.hier_block2):  # noqa: N801
    """Packets from the air.

    Input: complex stream. Output: message ports `packets` (PDUs of bytes whose CRC is right),
    `symbols` (with a single carrier: PDUs of complex symbols, the payload of each packet, upright),
    `status`.

    Every burst is found and read by itself, at any amplitude and at any carrier offset up to
    ``search_hz``. When the stream ends, the ports end.

    Args:
        profile, modulation, code: as at the sender.
        sample_rate: of the stream in samples a second; 0 for the profile's own.
        search_hz: greatest carrier offset at which bursts are found, for a single carrier; 0 for
            what the profile's own sample rate holds (`ssb` 1.75 kHz, `narrow` 7 kHz). More costs
            processor time, and wants a higher ``sample_rate``.

    Raises:
        ValueError: an argument is unknown or out of range.
    """

    def __init__(
        self,
        *,
        profile: str = "ssb",
        modulation: str = "",
        code: str = "",
        sample_rate: float = 0.0,
        search_hz: float = 0.0,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "packet_radio_rx",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(0, 0, 0),
        )
        self.profile = find_profile(profile, modulation, code)
        ofdm = self.profile.waveform == "ofdm"
        if not ofdm:
            self.profile = _searched(self.profile, sample_rate, search_hz)
        elif search_hz:
            raise ValueError(f"profile {profile!r} has a search of its own: use search_hz 0")
        self._sample_rate = sample_rate
        for port in ("packets", "symbols", "status"):
            self.message_port_register_hier_out(port)
        if ofdm:
            self.sink = ofdm_sink(profile=self.profile, on_stop=self._renew)
        else:
            self.sink = burst_sink(profile=self.profile, search_hz=search_hz, on_stop=self._renew)
            self.msg_connect(self.sink, "symbols", self, "symbols")
        self._build()
        self.msg_connect(self.sink, "packets", self, "packets")
        self.msg_connect(self.sink, "status", self, "status")

    def _build(self) -> None:
        chain = []
        change = rate_changer(self.profile.sample_rate, self._sample_rate, receives=True)
        if change is not None:
            # A long filter that its input buffer cannot feed gives nothing, for ever.
            room = blocks.copy(gr.sizeof_gr_complex)
            room.set_min_output_buffer(0, RESAMPLER_INPUT)
            chain += [room, change]
        self._messages = []
        if self.profile.waveform == "ofdm":
            demodulator = ofdm_demodulator(bits_per_symbol=self.profile.bits_per_symbol)
            ports = ("symbols", "header")
            self._messages = [(demodulator, port, self.sink, port) for port in ports]
            for connection in self._messages:
                self.msg_connect(*connection)
            chain.append(demodulator)
        self._chain = chain
        # The demodulator gives messages alone.
        self.connect(self, *chain, *([] if self._messages else [self.sink]))

    def _renew(self) -> None:
        """Puts new blocks in place of those that know where in a burst a run ended."""
        # Of messages, disconnect_all() leaves the connections.
        for connection in self._messages:
            self.msg_disconnect(*connection)
        super()._renew()

    def statistics(self) -> dict[str, int | float]:
        """Counters: accepted; with a single carrier also syncs, headers, crc_failures and more."""
        return self.sink.statistics()

    def bursts(self) -> list[Burst]:
        """When the bursts of the last 4096 accepted packets came; none with OFDM."""
        return self.sink.bursts() if isinstance(self.sink, burst_sink) else []

    def hearing(self) -> str:
        """What the last two seconds were, in words: packets, why there are none, or noise."""
        return self.sink.hearing()

    def diagnosis(self) -> str:
        """What was heard and what to try, where no packet was accepted; empty for noise alone."""
        return self.sink.diagnosis()

    def spectrum_db(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets in Hz, and the greatest power there in the last seconds in dB over the noise.

        Both are empty with OFDM, and as long as there are no samples.
        """
        return self.sink.spectrum_db()


def _searched(profile: RadioProfile, sample_rate: float, search_hz: float) -> RadioProfile:
    """The profile at the sample rate that ``search_hz`` to each side need.

    Raises:
        ValueError: it is negative, or the stream does not hold as much.
    """
    rate = sample_rate or profile.sample_rate
    if not 0 <= search_hz < math.inf:
        raise ValueError(f"search_hz {search_hz} is out of range: use 0 or more")
    searched = searched_profile(profile, search_hz)
    if searched.sample_rate > max(rate, profile.sample_rate):
        raise ValueError(
            f"search_hz {search_hz:g} needs a sample_rate of {searched.sample_rate:g} or more: "
            f"{rate:g} hold {most_search_hz(profile, rate):g}"
        )
    return searched
