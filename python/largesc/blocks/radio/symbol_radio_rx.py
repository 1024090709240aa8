# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: complex samples to bursts of a channel code's symbols."""

from collections.abc import Callable

import numpy as np
from gnuradio import blocks, gr

from ...options import TranslationOptions
from ...radio.profiles import RadioProfile
from ...speech.format import FRAME_S
from ...tasks.translation_radio import RadioReceiver
from ..block_base import STATUS_FRAMES, TokenBlock, log_once
from ..translation.bursts import burst_pdu
from .packet_radio_rx import RESAMPLER_INPUT
from .radio_rate import rate_changer
from .renewed import Renewed

# Of samples without a burst, until the log tells of it.
PATIENCE_S = 10


class symbol_burst_sink(TokenBlock, gr.sync_block):  # noqa: N801
    """Finds bursts of symbols, and the channel at each symbol.

    Input: complex stream at the sample rate of the profile. Output: message ports `symbols`,
    `status`.
    """

    def __init__(self, *, profile: str, symbols: int, on_stop: Callable[[], None]) -> None:
        gr.sync_block.__init__(self, "symbol_burst_sink", [np.complex64], None)
        self.open_ports({}, ["symbols"], None)
        self._new = lambda: RadioReceiver(profile, symbols)
        self._on_stop = on_stop
        self.begin()

    def begin(self) -> None:
        self._receiver, self._since_status, self._samples = self._new(), 0, 0

    def halt(self) -> None:
        self._receiver.flush()
        self._on_stop()

    @property
    def profile(self) -> RadioProfile:
        """Returns the profile that the bursts have."""
        return self._receiver.profile

    def work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        for burst in self._receiver.push(samples):
            self.publish("symbols", burst_pdu(burst))
            self.publish_status()
        self._samples += len(samples)
        self._tell_wrong()
        self._since_status += len(samples)
        if self._since_status >= STATUS_FRAMES * FRAME_S * self.profile.sample_rate:
            self._since_status = 0
            self.publish_status()
        return len(samples)

    def _tell_wrong(self) -> None:
        """The log tells once of what the two ends may have set differently."""
        found, rate = self._receiver.counters, self.profile.sample_rate
        if found["other_symbols"]:
            text = "a burst with another number of symbols a frame is heard: use the sender's"
            log_once(self, "other_symbols", text)
        elif not found["bursts"] and self._samples > PATIENCE_S * rate:
            text = (
                f"no burst was read in {PATIENCE_S} s of samples, {found['preambles']} preambles "
                f"were found. Is anybody speaking, with the profile {self.profile.name} and so "
                f"{rate:g} samples a second?"
            )
            log_once(self, "no burst", text)

    def statistics(self) -> dict[str, int | float]:
        """Counters; SNR of a symbol in dB and carrier offset in Hz of the last burst."""
        found = self._receiver
        last = {"snr_db": found.snr_db, "carrier_offset_hz": found.offset_hz}
        return found.counters | self.counters | last


class symbol_radio_rx(Renewed, gr.hier_block2):  # noqa: N801
    """`symbols` PDUs from the air, with the gain at each symbol and the SNR as measured.

    Input: complex stream. Output: message ports `symbols` (for translation_rx; metadata as of
    translation_tx, the places in the speech 0, and frames, fading, snr_db), `status`.

    Bursts are found at any amplitude, at a carrier offset of up to 12 % of the symbol rate
    (`medium` 576 Hz). Echoes are not taken out; pilots follow fading of up to some Hz. A burst
    whose header cannot be read is counted and lost. When the stream ends, the ports end.

    Args:
        profile, symbols: as at the sender.
        sample_rate: of the stream in samples a second; 0 for the profile's own.

    Raises:
        ValueError: an argument is out of range, or the profile is too slow for the symbols.
    """

    def __init__(
        self,
        *,
        profile: str = "medium",
        symbols: int = TranslationOptions.symbols,
        sample_rate: float = 0.0,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "symbol_radio_rx",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(0, 0, 0),
        )
        self._sample_rate = sample_rate
        self.sink = symbol_burst_sink(profile=profile, symbols=symbols, on_stop=self._renew)
        self.profile = self.sink.profile
        self._build()
        for port in ("symbols", "status"):
            self.message_port_register_hier_out(port)
            self.msg_connect(self.sink, port, self, port)

    def _build(self) -> None:
        chain = [self.sink]
        change = rate_changer(self.profile.sample_rate, self._sample_rate, receives=True)
        if change is not None:
            # A long filter that its input buffer cannot feed gives nothing, for ever.
            room = blocks.copy(gr.sizeof_gr_complex)
            room.set_min_output_buffer(0, RESAMPLER_INPUT)
            chain = [room, change, self.sink]
        self._chain = chain
        self.connect(self, *chain)

    def statistics(self) -> dict[str, int | float]:
        """Counters: preambles, headers_failed, bursts, cut, other_symbols, broken_samples; and
        snr_db and carrier_offset_hz of the last burst."""
        return self.sink.statistics()
