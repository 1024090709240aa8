# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: speech to bursts of symbols, the speaker's half of the translation link."""

import queue
import time

import numpy as np
from gnuradio import gr

from ... import _blocks
from ...channel_codec.load import load_channel_code
from ...features.load import large_model
from ...options import TranslationOptions
from ...speech.format import SAMPLE_RATE_HZ
from ...tasks.translation import TranslationSender
from ..block_base import ThreadedBlock
from .bursts import burst_pdu, end_of_bursts

# Speech that waits for the model, in pieces of at most 0.1 s.
PIECE_SAMPLES, MOST_PIECES = SAMPLE_RATE_HZ // 10, 50
IDLE_S = 0.002


class translation_tx(ThreadedBlock, gr.basic_block):  # noqa: N801
    """24 kHz speech in another language to `symbols` PDUs, one a segment.

    Segments are cut, features of a large model found in a thread, and coded to complex symbols of
    mean power 1. Silence is not sent. Up to 5 s of speech wait for the model; then the stream does.

    Input: float stream. Output: message ports `symbols` (complex; metadata: burst_index, window,
    first_frame, last, gain_steps, spoken_sample, speech_end_sample, fading), `status`.

    Args:
        model: Whisper ``base``, a folder of Whisper or SeamlessM4T v2, or ``hf://owner/name``.
        channel_code: ``embedded``, ``linear``, or a folder, as the receiver's.
        symbols: complex symbols a feature frame, with Whisper 20 ms.
        segments: lengths, ``fixed``, ``printed`` or ``prose``.
        segment_s: length of a segment in seconds.
        policy: ``agreement`` or ``segment``.
    """

    def __init__(
        self,
        *,
        model: str = TranslationOptions.model,
        channel_code: str = TranslationOptions.channel_code,
        symbols: int = TranslationOptions.symbols,
        segments: str = TranslationOptions.segments,
        segment_s: float = TranslationOptions.segment_s,
        policy: str = TranslationOptions.policy,
    ) -> None:
        self._options = TranslationOptions(
            model=model,
            channel_code=channel_code,
            symbols=symbols,
            segments=segments,
            segment_s=segment_s,
            policy=policy,
        ).checked()
        gr.basic_block.__init__(self, "translation_tx", [np.float32], None)
        self.open_ports({}, ["symbols"], None)
        self.counters |= {"bursts": 0, "segments": 0, "symbols": 0}
        self._code = load_channel_code(channel_code, symbols)
        self.begin()

    def begin(self) -> None:
        self._sender = TranslationSender(
            self._options, large_model(self._options.model), self._code
        )
        self._pieces: queue.Queue = queue.Queue(MOST_PIECES)
        self._over = False

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        return [1] * ninputs

    def general_work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        # One sample stays behind, so that the scheduler calls again after the input has ended.
        count = min(len(samples) - 1, PIECE_SAMPLES)
        if self._ended:
            return -1
        if count > 0 and not self._pieces.full():
            self._pieces.put_nowait(samples[:count].copy())
            self.consume(0, count)
            return 0
        if len(samples) == 1 and _blocks.input_done(self.gateway.detail(), 0, 1):
            self._over = True
        time.sleep(IDLE_S)
        return 0

    def run(self) -> None:
        """Feeds the model, in its thread."""
        while not self.stopped.is_set():
            # Asked before the queue: the last piece is put there first.
            over = self._over
            try:
                piece = self._pieces.get(timeout=0.05)
            except queue.Empty:
                if over and not self._ended:
                    self._emit(self._sender.flush())
                    self.publish("symbols", end_of_bursts())
                    self.publish_status()
                    self._ended = True
                continue
            self._emit(self._sender.push(piece))

    def _emit(self, bursts: object) -> None:
        for burst in bursts:
            self.counters["bursts"] += 1
            self.counters["symbols"] += burst.symbols.size
            self.publish("symbols", burst_pdu(burst))
            self.publish_status()

    def statistics(self) -> dict[str, int]:
        """Counters: refused, bursts, segments, symbols."""
        self.counters["segments"] = self._sender.segments
        return dict(self.counters)
