# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech from files and pipes, piece by piece: an hour takes no memory, a microphone can go on."""

import errno
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import soundfile

from .conditioning import Mixer
from .files import AudioError, Resampler, encoded_path, from_pcm16, resampling_steps
from .format import SAMPLE_RATE_HZ

# A piece of a file with a header: 40 ms.
PIECES_PER_SECOND = 25
PIPE_BYTES = 4096
HEAD_BYTES = 4096
SAMPLE_BYTES = 2
# Forms that libsndfile reads without going back; of the others a pipe goes to a file first.
STREAMED = (b"RIFF", b".snd")
UNKNOWN_SIZE = b"\xff\xff\xff\xff"


class SpeechReader:
    """Iterates over speech: float32 pieces, mono, 24 kHz.

    A file that was never finished, or comes from a pipe, is read to its end whatever its header
    counts.

    Args:
        source: path of a file, or a descriptor.
        raw_rate_hz: rate of raw 16-bit mono PCM; None for a file with a header.
        quiet: do not say what is done to the channels, of a file that is read again.

    Raises:
        AudioError: missing, unreadable, empty, or of a rate that no speech has.

    Attributes:
        name: for messages.
        rate_hz, channels: of the source.
        samples: float32 samples at 24 kHz that have been given out.
    """

    def __init__(
        self, source: str | int, raw_rate_hz: int | None = None, quiet: bool = False
    ) -> None:
        self.name = "stdin" if isinstance(source, int) else source
        self.samples, self._quiet = 0, quiet
        try:
            if raw_rate_hz is not None:
                self.rate_hz, self.channels = raw_rate_hz, 1
                resampling_steps(raw_rate_hz, SAMPLE_RATE_HZ)
                descriptor = os.open(source, os.O_RDONLY) if isinstance(source, str) else source
                self._pieces = _raw_pieces(descriptor)
            else:
                file = _opened(source)
                self.rate_hz, self.channels = file.samplerate, file.channels
                resampling_steps(self.rate_hz, SAMPLE_RATE_HZ)
                self._pieces = _decoded_pieces(file)
            # A live source: the first sound must be there anyway.
            self._first = next(self._pieces, None)
        except FileNotFoundError as error:
            raise AudioError(f"{self.name} does not exist") from error
        except soundfile.LibsndfileError as error:
            reason = error.error_string
            raise AudioError(f"{self.name} is no audio file that can be read: {reason}") from error
        except OSError as error:
            raise AudioError(f"{self.name} cannot be read: {error.strerror}") from error
        except TypeError as error:
            # soundfile goes by the ending .raw.
            raise AudioError(f"{self.name} has no header: give its rate, --raw HZ") from error
        except ValueError as error:
            raise AudioError(f"{self.name}: {error}") from error
        if self._first is None:
            raise AudioError(f"{self.name} is empty: there is no speech to send")

    def __iter__(self) -> Iterator[np.ndarray]:
        pieces = self._all()
        if self.rate_hz != SAMPLE_RATE_HZ:
            pieces = _resampled(pieces, Resampler(self.rate_hz))
        for piece in pieces:
            self.samples += len(piece)
            yield piece.astype(np.float32, copy=False)

    def _all(self) -> Iterator[np.ndarray]:
        mixer = Mixer(self.rate_hz, self._quiet)
        if self._first is not None:
            yield mixer.push(self._first)
        self._first = None
        for piece in self._pieces:
            yield mixer.push(piece)

    def read(self) -> np.ndarray:
        """All of it, float32 ``[samples]``."""
        return np.concatenate(list(self))


def _resampled(pieces: Iterator[np.ndarray], resampler: Resampler) -> Iterator[np.ndarray]:
    for piece in pieces:
        yield resampler.push(piece)
    yield resampler.flush()


def _raw_pieces(descriptor: int) -> Iterator[np.ndarray]:
    """16-bit samples as they come; half of a sample waits for the other."""
    data = b""
    while piece := os.read(descriptor, PIPE_BYTES):
        data += piece
        whole = len(data) // SAMPLE_BYTES * SAMPLE_BYTES
        if whole:
            yield from_pcm16(np.frombuffer(data[:whole], dtype="<i2"))[:, None]
        data = data[whole:]


def _decoded_pieces(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    frames = max(1, file.samplerate // PIECES_PER_SECOND)
    with file:
        while len(piece := file.read(frames, dtype="float32", always_2d=True)):
            yield piece


def _opened(source: str | int) -> soundfile.SoundFile:
    """A file with a header, opened where it can be read to its end."""
    descriptor = os.open(source, os.O_RDONLY) if isinstance(source, str) else source
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    if stat.S_ISREG(mode):
        head = os.pread(descriptor, HEAD_BYTES, os.lseek(descriptor, 0, os.SEEK_CUR))
        if _counted(head) == head:
            if isinstance(source, str):
                os.close(descriptor)
                return soundfile.SoundFile(encoded_path(source))
            return soundfile.SoundFile(os.dup(descriptor), closefd=True)
    head = _head(descriptor)
    if head[:4] in STREAMED:
        return soundfile.SoundFile(_pumped(_counted(head), descriptor), closefd=True)
    whole = tempfile.TemporaryFile()  # noqa: SIM115
    for piece in [head, *iter(lambda: os.read(descriptor, PIPE_BYTES), b"")]:
        whole.write(piece)
    whole.seek(0)
    return soundfile.SoundFile(whole)


def _head(descriptor: int) -> bytes:
    """The first bytes, as far as they tell where the samples begin."""
    head = b""
    while len(head) < HEAD_BYTES and _data_at(head) is None:
        if not (piece := os.read(descriptor, HEAD_BYTES - len(head))):
            break
        head += piece
    return head


def _data_at(head: bytes) -> int | None:
    """Where a WAV file has the size of its samples; None where it does not say, or is none."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        # Nothing is to be found in any other form.
        return 0 if len(head) >= 12 else None
    at = 12
    while len(head) >= at + 8:
        name, size = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name == b"data":
            return at + 4
        at += 8 + size + size % 2
    return None


def _counted(head: bytes) -> bytes:
    """The head of a WAV file, which counts no samples where they were not counted."""
    at = _data_at(head)
    if not at or head[at : at + 4] != bytes(4):
        return head
    return head[:at] + UNKNOWN_SIZE + head[at + 4 :]


def _pumped(head: bytes, descriptor: int) -> int:
    """A pipe that gives ``head``, and then what comes on the descriptor."""
    read_end, write_end = os.pipe()

    def pump() -> None:
        with suppress(OSError), open(write_end, "wb", buffering=0) as out:
            out.write(head)
            while piece := os.read(descriptor, PIPE_BYTES):
                out.write(piece)

    threading.Thread(target=pump, daemon=True).start()
    return read_end
