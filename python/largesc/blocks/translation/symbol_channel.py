# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: noise and fading on bursts of symbols."""

from gnuradio import gr

from ...options import SYMBOL_CHANNELS, TranslationOptions, check_choice
from ...tasks.translation import Air
from ..block_base import TokenBlock, setter
from .bursts import burst_pdu, end_of_bursts, read_burst


class symbol_channel(TokenBlock, gr.basic_block):  # noqa: N801
    """y = h x + n on `symbols` PDUs, h one for each 80 ms and known to the receiver.

    Settings may change while it runs; what is drawn goes on. It begins at ``seed`` with each start
    of the flowgraph.

    Input: message port `symbols`. Output: message ports `symbols` (metadata: fading), `status`.

    Args:
        channel: ``rayleigh``, ``awgn`` or ``none``; may change while it runs.
        snr_db: mean SNR of a symbol; may change while it runs.
        seed: of all that is drawn.
    """

    def __init__(
        self,
        *,
        channel: str = TranslationOptions.channel,
        snr_db: float = TranslationOptions.snr_db,
        seed: int = TranslationOptions.seed,
    ) -> None:
        gr.basic_block.__init__(self, "symbol_channel", None, None)
        self.open_ports({"symbols": self._on_symbols}, ["symbols"], "symbols")
        self.counters |= {"bursts": 0}
        self._settings = {"channel": channel, "snr_db": float(snr_db), "seed": seed}
        self.begin()

    def begin(self) -> None:
        self._air = Air(TranslationOptions(**self._settings).checked())

    @setter
    def set_snr_db(self, snr_db: float) -> None:
        """Mean SNR of a symbol in dB, -40 to 100."""
        self._air.set_snr_db(snr_db)
        self._settings["snr_db"] = float(snr_db)

    @setter
    def set_channel(self, channel: str) -> None:
        """``rayleigh``, ``awgn`` or ``none``."""
        check_choice("channel", channel, SYMBOL_CHANNELS)
        self._settings["channel"] = self._air.kind = channel

    def _on_symbols(self, message: object) -> None:
        _, burst = read_burst(message)
        if burst is None:
            self.publish("symbols", end_of_bursts())
            self.finish()
            return
        self.counters["bursts"] += 1
        self.publish("symbols", burst_pdu(self._air(burst)))
        self.publish_status()
