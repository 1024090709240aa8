# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: 24 kHz speech to token frames."""

import time

import numpy as np
import torch
from gnuradio import gr

from .. import _blocks
from .._core import keys
from ..codec.load import load_codec
from ..codec.speech_encoder import SpeechEncoder
from ..options import LinkOptions, SenderOptions
from ..speech.conditioning import InputConditioner
from ..speech.format import FRAME_SAMPLES
from .block_base import STATUS_FRAMES, TokenBlock
from .messages import end_of_stream, make_pdu, read_credit

# Frames that one message gives back at most: it may come from anywhere.
MOST_CREDIT = 64


class mimi_encoder(TokenBlock, gr.basic_block):  # noqa: N801
    """24 kHz speech to `tokens` PDUs, one for each 80 ms.

    An offset is taken out of the input, far too quiet speech is raised, and what goes beyond full
    scale is lowered; the log says so once. Speech that needs none of it stays as it is.

    Input: float stream; message port `credit` (dicts of frames that are done with). Output: message
    ports `tokens` (8 tokens, metadata: frame_index, capture_time_ns, latent,
    level_dbfs, distortion), `status`.

    Args:
        codec: model source, see ``models.store``.
        max_in_flight: from a file, frames under way at most; 0 for a live source.
        threads: of torch.
    """

    def __init__(
        self,
        *,
        codec: str = LinkOptions.codec,
        max_in_flight: int = SenderOptions.max_in_flight,
        threads: int = LinkOptions.threads,
    ) -> None:
        if max_in_flight < 0:
            raise ValueError(f"max_in_flight {max_in_flight} is negative: use 0 for no limit")
        gr.basic_block.__init__(self, "mimi_encoder", [np.float32], None)
        self.open_ports({"credit": self._on_credit}, ["tokens"], None)
        self.counters |= {"frames": 0, "invalid_samples": 0, "in_flight": 0}
        torch.set_num_threads(threads)
        self.max_in_flight = max_in_flight
        self._conditioner = InputConditioner()
        self._core = SpeechEncoder(load_codec(codec), self._conditioner)
        self._in_flight: set[int] = set()

    def begin(self) -> None:
        self._conditioner = self._core.conditioner = InputConditioner()
        self._core.reset()
        self._core.invalid_samples = 0
        self._in_flight = set()

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        return [1] * ninputs

    def general_work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        # One sample stays behind, so that the scheduler calls again after the input has ended.
        available = len(samples) - 1
        if self.max_in_flight:
            room = self.max_in_flight - len(self._in_flight)
            available = min(available, room * FRAME_SAMPLES)
        if available > 0:
            count = min(available, FRAME_SAMPLES)
            self.times.start()
            frames = self._core.push(samples[:count])
            self.times.stop(frame_done=len(frames) > 0)
            self._emit(frames)
            self.consume(0, count)
            return 0
        if len(samples) == 1 and _blocks.input_done(self.gateway.detail(), 0, 1):
            self._emit(self._core.push(samples) + self._core.flush())
            self.consume(0, 1)
            self.publish("tokens", end_of_stream(self.counters["frames"]))
            self.publish_status()
            return -1
        # Nothing to do until samples or credit come; credit is handled between two calls.
        time.sleep(0.001)
        return 0

    def _emit(self, frames: list) -> None:
        for frame in frames:
            self.counters["frames"] += 1
            if self.max_in_flight:
                self._in_flight.add(frame.index)
            meta = {
                keys.frame_index: frame.index,
                keys.capture_time_ns: frame.capture_time_ns,
                keys.level_dbfs: frame.level_dbfs,
                keys.latent: frame.latent,
                keys.distortion: frame.distortion,
            }
            self.publish("tokens", make_pdu(meta, frame.tokens))
            if self.counters["frames"] % STATUS_FRAMES == 0:
                self.publish_status()

    def _on_credit(self, message: object) -> None:
        try:
            first, count = read_credit(message)
        except ValueError as error:
            self.refuse(str(error))
            return
        self._in_flight.difference_update(range(first, first + min(count, MOST_CREDIT)))

    def statistics(self) -> dict[str, int]:
        """Counters: frames, invalid_samples (NaN or infinite), in_flight, refused.

        Of the frames: frames_offset_removed, frames_raised and frames_lowered.
        """
        self.counters["invalid_samples"] = self._core.invalid_samples
        self.counters["in_flight"] = len(self._in_flight)
        return self.counters | self._conditioner.counters
