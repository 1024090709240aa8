# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: bursts of a channel code's symbols to complex samples."""

from collections.abc import Callable

import numpy as np
from gnuradio import gr

from ...options import TranslationOptions
from ...radio.profiles import RadioProfile
from ...tasks.translation_radio import RadioSender
from ..block_base import setter
from ..translation.bursts import read_burst
from .burst_source import burst_source
from .packet_radio_tx import (
    FIRST_SYMBOLS,
    IDLE_SYMBOLS,
    LAST_SYMBOLS,
    checked_amplitude,
    completed,
    pulse_shaper,
    scaled_pulse,
)
from .renewed import Renewed

# Bursts wait at most, 6 s of speech; of more, the oldest are dropped.
QUEUE = 8
SYMBOL_BYTES = 8
# Behind a burst of a stream that is not continuous: what resamplers hold back.
HELD_SYMBOLS = 64


class symbol_burst_source(burst_source):  # noqa: N801
    """Queue of bursts in front of a modulator.

    Input: message port `packets` (`symbols` PDUs). Output: stream of symbols.
    """

    def __init__(
        self,
        *,
        profile: str,
        symbols: int,
        continuous: bool,
        silence: int,
        on_stop: Callable[[], None],
    ) -> None:
        quiet = np.zeros(silence, dtype=np.complex64)
        self._new_sender = lambda: RadioSender(profile, symbols)
        super().__init__(
            item=np.complex64,
            make=lambda sent: np.append(np.frombuffer(sent, dtype=np.complex64), quiet),
            first=np.zeros(FIRST_SYMBOLS, dtype=np.complex64),
            last=np.zeros(LAST_SYMBOLS, dtype=np.complex64),
            most_bytes=2**31,
            least_bytes=SYMBOL_BYTES,
            queue_packets=QUEUE,
            idle_items=IDLE_SYMBOLS if continuous else 0,
            on_stop=on_stop,
        )
        self.counters |= {"bursts": 0, "symbols": 0, "payload_symbols": 0}

    def begin(self) -> None:
        super().begin()
        self.sender = self._new_sender()

    @property
    def profile(self) -> RadioProfile:
        """Returns the profile that the bursts are for."""
        return self.sender.profile

    def read(self, message: object) -> tuple[bool, bytes | None]:
        _, burst = read_burst(message)
        if burst is None:
            return True, None
        sent = self.sender.push(burst)
        self.counters["bursts"] = self.sender.sent
        self.counters["symbols"] += len(sent)
        self.counters["payload_symbols"] += burst.symbols.size
        return False, sent.tobytes()


class symbol_radio_tx(Renewed, gr.hier_block2):  # noqa: N801
    """`symbols` PDUs on the air: preamble, header, symbols with pilots between them, pulses.

    Input: message port `symbols` (of translation_tx). Output: complex stream, mean power
    ``amplitude``² within a burst, each burst with the tag `packet_len` (in samples; without
    ``sample_rate`` only); message port `status`. Behind the end of the PDUs the stream ends.

    Args:
        profile: `ssb` (1800 symbols a second, 2.25 kHz), `medium` (4800, 6 kHz) or `narrow` (7200,
            9 kHz).
        symbols: complex symbols a feature frame of 20 ms, as of translation_tx; `ssb` carries up to
            21 in segments of 0.75 s, `medium` 78, `narrow` 111.
        amplitude: RMS of a burst; peaks are four times as high.
        sample_rate: of the stream in samples a second; 0 for the profile's own.
        continuous: silence between bursts, for sound cards and radios that want a steady stream;
            otherwise nothing comes out between them. A burst waits for the silence that lies in
            buffers, 0.5 s (`medium` 0.2 s, `narrow` 0.15 s), and for that in buffers behind this
            block.

    Raises:
        ValueError: an argument is out of range, or the profile is too slow for the symbols.
    """

    def __init__(
        self,
        *,
        profile: str = "medium",
        symbols: int = TranslationOptions.symbols,
        amplitude: float = 0.25,
        sample_rate: float = 0.0,
        continuous: bool = False,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "symbol_radio_tx",
            gr.io_signature(0, 0, 0),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        self.counters = {"refused_settings": 0}
        self._amplitude, self._sample_rate = checked_amplitude(amplitude), sample_rate
        self.source = symbol_burst_source(
            profile=profile,
            symbols=symbols,
            continuous=continuous,
            silence=HELD_SYMBOLS if sample_rate and not continuous else 0,
            on_stop=self._renew,
        )
        self.profile = self.source.profile
        self._continuous = continuous
        self._build()
        self.message_port_register_hier_in("symbols")
        self.message_port_register_hier_out("status")
        self.msg_connect(self, "symbols", self.source, "packets")
        self.msg_connect(self.source, "status", self, "status")

    def _build(self) -> None:
        sps = self.profile.samples_per_symbol
        self.shaper, length = pulse_shaper(sps, self._amplitude)
        chain = [self.source, self.shaper, length]
        self._chain = completed(chain, self.profile, self._sample_rate, self._continuous)
        self.connect(*self._chain, self)

    @setter
    def set_amplitude(self, amplitude: float) -> None:
        """Changes the RMS of bursts while running."""
        self._amplitude = checked_amplitude(amplitude)
        self.shaper.set_taps(scaled_pulse(self.profile.samples_per_symbol, self._amplitude))

    def statistics(self) -> dict[str, int]:
        """Counters: bursts and symbols on the air, of them payload_symbols, those that had to be
        dropped included; dropped and refused PDUs; refused_settings."""
        return self.source.statistics() | self.counters
