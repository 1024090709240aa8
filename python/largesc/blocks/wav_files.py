# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks within Speech Source and Speech Sink: files that each run begins anew, and channels."""

import logging
from collections.abc import Iterator

import numpy as np
import soundfile
from gnuradio import gr

from .._blocks import at_stop
from ..speech.conditioning import Mixer
from ..speech.files import encoded_path, to_pcm16
from ..speech.format import SAMPLE_RATE_HZ
from ..speech.reader import SpeechReader

log = logging.getLogger(__name__)


def holder(block: object) -> at_stop:
    """Passes floats on, and keeps a Python block that is connected to it.

    A flowgraph keeps a hierarchical block, but not what Python knows of it, and a Python block that
    nobody refers to is gone.
    """
    return at_stop(gr.sizeof_float, lambda: block)


class wav_source(gr.sync_block):  # noqa: N801
    """Speech of a file, from its begin in each run.

    Output: float stream, 24 kHz. In-tree wavfile_source goes on where the run before it ended.

    Args:
        path: any audio file, of any rate and number of channels.
        repeat: begin again at the end.

    Raises:
        ValueError: the file cannot be read.
    """

    def __init__(self, *, path: str, repeat: bool) -> None:
        gr.sync_block.__init__(self, "wav_source", None, [np.float32])
        self._path, self._repeat = path, repeat
        SpeechReader(path)
        self.start()

    def start(self) -> bool:
        self._pieces, self._piece = self._all(), np.zeros(0, dtype=np.float32)
        return True

    def _all(self) -> Iterator[np.ndarray]:
        """Pieces of a run, none of them empty."""
        begin = True
        while begin or self._repeat:
            # What is wrong with it is said the first time.
            speech = SpeechReader(self._path, quiet=not begin)
            yield from (piece for piece in speech if len(piece))
            if not speech.samples:
                return
            begin = False

    def work(self, input_items: list, output_items: list) -> int:
        out = output_items[0]
        if len(self._piece) == 0:
            try:
                self._piece = next(self._pieces, self._piece)
            except (OSError, RuntimeError, ValueError) as error:
                log.warning("%s cannot be read any further: %s", self._path, error)
            if len(self._piece) == 0:
                return -1
        count = min(len(out), len(self._piece))
        out[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


class wav_sink(gr.sync_block):  # noqa: N801
    """Speech to a WAV file, 16 bit, which holds the last run.

    Input: float stream, 24 kHz. In-tree wavfile_sink writes nothing in a second run.

    Args:
        path: of the file.

    Raises:
        RuntimeError: it cannot be written.
    """

    def __init__(self, *, path: str) -> None:
        gr.sync_block.__init__(self, "wav_sink", [np.float32], None)
        self._path = path
        self._open()

    def _open(self) -> None:
        try:
            self._file = soundfile.SoundFile(
                encoded_path(self._path), "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="WAV"
            )
        except soundfile.LibsndfileError as error:
            raise RuntimeError(f"{self._path} cannot be written: {error.error_string}") from error

    def start(self) -> bool:
        if self._file is None:
            self._attempt(self._open)
        return True

    def work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        if self._file is not None:
            pcm = to_pcm16(np.nan_to_num(samples, posinf=1.0, neginf=-1.0))
            self._attempt(self._file.write, pcm)
        return len(samples)

    def stop(self) -> bool:
        if self._file is not None:
            self._attempt(self._file.close)
        self._file = None
        return True

    def _attempt(self, step: object, *arguments: np.ndarray) -> None:
        """A full disk ends the file and not the flowgraph, whose clock this may be."""
        try:
            step(*arguments)
        except (OSError, RuntimeError) as error:
            log.warning("%s is not written any further: %s", self._path, error)
            self._file = None


class channel_mixer(gr.sync_block):  # noqa: N801
    """Mixes channels to one; of channels in opposite phase, which cancel out, it takes the louder.

    Input: float streams. Output: float stream.

    Args:
        channels: how many.
        rate_hz: of all of them.
    """

    def __init__(self, *, channels: int, rate_hz: int) -> None:
        gr.sync_block.__init__(self, "channel_mixer", [np.float32] * channels, [np.float32])
        self._rate_hz = rate_hz
        self.start()

    def start(self) -> bool:
        self._mixer = Mixer(self._rate_hz)
        return True

    def work(self, input_items: list, output_items: list) -> int:
        output_items[0][:] = self._mixer.push(np.stack(input_items, axis=1))
        return len(output_items[0])
