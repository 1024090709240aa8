# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: complex samples to packets."""

from gnuradio import blocks, gr

from ...radio.profiles import find_profile
from .burst_sink import burst_sink
from .ofdm_demodulator import ofdm_demodulator
from .ofdm_sink import ofdm_sink
from .radio_rate import rate_changer

# Samples: of a thousand to one, the resampler reads 35000 for each that it gives.
RESAMPLER_INPUT = 131072


class packet_radio_rx(gr.hier_block2):  # noqa: N801
    """Packets from the air.

    Input: complex stream. Output: message ports `packets` (PDUs of bytes whose CRC is right),
    `status`.

    Every burst is found and read by itself: carrier offset up to 10 % of the symbol rate (single
    carrier), any amplitude. When the stream ends, the ports end.

    Args:
        profile, modulation, code: as at the sender.
        sample_rate: of the stream in samples a second; 0 for the profile's own.

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
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "packet_radio_rx",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(0, 0, 0),
        )
        self.profile = find_profile(profile, modulation, code)
        change = rate_changer(self.profile.sample_rate, sample_rate, receives=True)
        chain = [self]
        if change is not None:
            # A long filter that its input buffer cannot feed gives nothing, for ever.
            room = blocks.copy(gr.sizeof_gr_complex)
            room.set_min_output_buffer(0, RESAMPLER_INPUT)
            chain += [room, change]
        self.message_port_register_hier_out("packets")
        self.message_port_register_hier_out("status")
        if self.profile.waveform == "ofdm":
            demodulator = ofdm_demodulator(bits_per_symbol=self.profile.bits_per_symbol)
            self.sink = ofdm_sink(profile=self.profile)
            chain += [demodulator]
            for port in ("symbols", "header"):
                self.msg_connect(demodulator, port, self.sink, port)
        else:
            self.sink = burst_sink(profile=self.profile)
            chain += [self.sink]
        self.connect(*chain)
        self.msg_connect(self.sink, "packets", self, "packets")
        self.msg_connect(self.sink, "status", self, "status")

    def statistics(self) -> dict[str, int | float]:
        """Counters: accepted; with a single carrier also syncs, headers, crc_failures and more."""
        return self.sink.statistics()
