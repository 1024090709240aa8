# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: complex samples to what was commanded."""

import numpy as np
from gnuradio import gr

from ..._core import keys
from ...options import TaskOptions
from ...radio.profiles import RadioProfile, find_profile
from ...radio.task_burst import TaskBurstReceiver
from ...speech.format import FRAME_S
from ...tasks.commands import checked_symbols
from ..block_base import STATUS_FRAMES, TokenBlock
from ..messages import make_burst
from ..task_decider import task_decider


class task_burst_sink(TokenBlock, gr.sync_block):  # noqa: N801
    """Finds bursts of commands and makes them upright.

    Input: complex stream at the sample rate of the profile. Output: message ports `bursts` (PDUs
    of complex symbols, metadata: command_index, snr_db), `status`.
    """

    def __init__(self, *, profile: RadioProfile, words: np.ndarray) -> None:
        gr.sync_block.__init__(self, "task_burst_sink", [np.complex64], None)
        self.open_ports({}, ["bursts"], None)
        self._profile, self._words = profile, words
        self._status_samples = int(STATUS_FRAMES * FRAME_S * profile.sample_rate)
        self.begin()

    def begin(self) -> None:
        self._core = TaskBurstReceiver(self._profile, self._words)
        self._since_status = self._index = 0
        self._measured = {"snr_db": 0.0, "carrier_offset_hz": 0.0}

    def work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        for found in self._core.push(samples):
            meta = {keys.command_index: self._index, keys.snr_db: found.snr_db}
            self._index += 1
            self._measured["snr_db"] = found.snr_db
            self._measured["carrier_offset_hz"] = found.offset * self._profile.symbol_rate
            self.publish("bursts", make_burst(meta, found.symbols))
        self._since_status += len(samples)
        if self._since_status >= self._status_samples:
            self._since_status = 0
            self.publish_status()
        return len(samples)

    def statistics(self) -> dict[str, int | float]:
        """Counters; SNR of a symbol in dB and carrier offset in Hz of the last burst."""
        return self._core.counters | self.counters | self._measured


class task_rx(gr.hier_block2):  # noqa: N801
    """Spoken commands from the air.

    Input: complex stream at the profile's own rate. Output: message ports `decision` (see
    task_decider), `bursts` (upright, with snr_db), `status`.

    Bursts are found at any amplitude, at a carrier offset of up to 12 % of the symbol rate (`ssb`
    216 Hz), down to about -6 dB a symbol. The channel is taken as flat, and as constant within a
    burst.

    Args:
        model, symbols, confidence: see task_encoder and task_decider, as at the sender.
        profile: as at the sender.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        model: str = TaskOptions.model,
        symbols: int = TaskOptions.symbols,
        confidence: float = TaskOptions.confidence,
        profile: str = "ssb",
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "task_rx",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(0, 0, 0),
        )
        self.decider = task_decider(model=model, confidence=confidence)
        known = self.decider.task_model
        words = known.codec.words(checked_symbols(known, symbols)).numpy()
        self.sink = task_burst_sink(profile=find_profile(profile), words=words)
        self.connect(self, self.sink)
        self.msg_connect(self.sink, "bursts", self.decider, "bursts")
        for port, block in (
            ("decision", self.decider),
            ("bursts", self.sink),
            ("status", self.decider),
        ):
            self.message_port_register_hier_out(port)
            self.msg_connect(block, port, self, port)

    def set_confidence(self, confidence: float) -> None:
        """Changes the least probability of a command while running."""
        self.decider.set_confidence(confidence)

    def statistics(self) -> dict[str, int | float]:
        """Counters of both parts: bursts, decisions, understood, refused, and the last SNR."""
        return self.sink.statistics() | self.decider.statistics()
