# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech in chunks of any size to token frames."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..codec.load import Codec
from ..models.recorded_step import record
from ..models.stream_batch import StreamBatch
from ..speech.conditioning import InputConditioner
from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from .codebooks import codebooks_of

SILENCE_DBFS = -120.0


@dataclass(frozen=True)
class EncodedFrame:
    """One frame of 80 ms.

    Attributes:
        index: number of the frame.
        tokens: uint16 ``[8]``.
        latent: float32 ``[dimension]``, before quantisation.
        level_dbfs: RMS level, -120 for silence.
        distortion: float32 ``[9]``, squared error of the latent when the first k tokens are
            decoded; for none of them, when the frame before is repeated.
        capture_time_ns: time of the first sample since the start.
    """

    index: int
    tokens: np.ndarray
    latent: np.ndarray
    level_dbfs: float
    distortion: np.ndarray
    capture_time_ns: int


class FrameMaker:
    """Numbers the frames of one stream, and measures them.

    Args:
        codebooks: float32 ``[8, entries, dimension]``.
    """

    def __init__(self, codebooks: np.ndarray) -> None:
        self._codebooks = codebooks
        self._count = 0
        self._latent_before = np.zeros(codebooks.shape[2], dtype=np.float32)

    def made(self, samples: np.ndarray, latent: np.ndarray, tokens: np.ndarray) -> EncodedFrame:
        """Numbers, times and measures the next frame, and returns it."""
        distortion = self._distortion(latent, tokens)
        self._latent_before = latent
        rms = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
        index = self._count
        self._count += 1
        return EncodedFrame(
            index,
            tokens,
            latent,
            max(SILENCE_DBFS, 20.0 * np.log10(rms + 1e-12)),
            distortion,
            index * FRAME_SAMPLES * 1_000_000_000 // SAMPLE_RATE_HZ,
        )

    def _distortion(self, latent: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Squared error of the latent by tokens decoded, ``[9]``."""
        decoded = np.cumsum(self._codebooks[np.arange(len(tokens)), tokens], axis=0)
        known = np.vstack([self._latent_before, decoded])
        return np.square(latent - known).sum(axis=1, dtype=np.float32)


class SpeechEncoder:
    """Streaming encoder over one codec; the codec's model must not be shared with a decoder.

    Args:
        codec: from ``codec.load.load_codec``.
        conditioner: of the input; None: it is taken as it is.
    """

    def __init__(self, codec: Codec, conditioner: InputConditioner | None = None) -> None:
        self.codec, self.conditioner = codec, conditioner
        self.invalid_samples = 0
        self._codebooks = codebooks_of(codec.model, codec.num_codebooks)
        codec.model.streaming_forever(1)
        self._step = record(codec.model, analysis_of(codec.model), torch.zeros(1, 1, FRAME_SAMPLES))
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next sample is the first."""
        self._pending = np.zeros(0, dtype=np.float32)
        self._maker = FrameMaker(self._codebooks)
        self.codec.model.reset_streaming()

    def push(self, samples: np.ndarray) -> list[EncodedFrame]:
        """Takes 24 kHz samples, float32 ``[any]``; returns the frames that are now complete."""
        samples = np.asarray(samples, dtype=np.float32)
        valid = np.isfinite(samples)
        if not valid.all():
            self.invalid_samples += int(np.count_nonzero(~valid))
            samples = np.where(valid, samples, np.float32(0.0))
        self._pending = np.concatenate([self._pending, samples])
        frames = []
        while len(self._pending) >= FRAME_SAMPLES:
            frame = self._pending[:FRAME_SAMPLES]
            if self.conditioner is not None:
                frame = self.conditioner.push(frame)
            frames.append(self._encode(np.clip(frame, -1.0, 1.0)))
            self._pending = self._pending[FRAME_SAMPLES:]
        return frames

    def flush(self) -> list[EncodedFrame]:
        """Fills the last frame with zeros, if there is one, and encodes it."""
        missing = -len(self._pending) % FRAME_SAMPLES
        return self.push(np.zeros(missing, dtype=np.float32))

    @torch.inference_mode()
    def _encode(self, samples: np.ndarray) -> EncodedFrame:
        found, codes = self._step(torch.from_numpy(samples)[None, None])
        latent = found[0, :, 0].float().numpy().copy()
        tokens = codes[0, : self.codec.num_codebooks, 0].numpy().astype(np.uint16)
        return self._maker.made(samples, latent, tokens)


class SpeechEncoders:
    """Encodes a frame of each of many streams at once.

    Args:
        codec: as for :class:`SpeechEncoder`.
        most: streams that are encoded in one step; more take several.

    Attributes:
        invalid_samples: that were no numbers, and counted as 0.
    """

    def __init__(self, codec: Codec, most: int = 64) -> None:
        self.codec, self.invalid_samples = codec, 0
        self._codebooks = codebooks_of(codec.model, codec.num_codebooks)
        samples = torch.zeros(1, 1, FRAME_SAMPLES)
        self._batch = StreamBatch(codec.model, analysis_of(codec.model), [samples], most)
        self._makers: dict[int, FrameMaker] = {}

    def open(self) -> int:
        """Begins a stream; returns its number."""
        stream = self._batch.open()
        self._makers[stream] = FrameMaker(self._codebooks)
        return stream

    def close(self, stream: int) -> None:
        """Ends a stream; another one may then get its number."""
        del self._makers[stream]
        self._batch.close(stream)

    def encode(self, frames: dict[int, np.ndarray]) -> dict[int, EncodedFrame]:
        """Frames by stream, from 24 kHz samples, float32 ``[1920]``."""
        if not frames:
            return {}
        samples = np.stack(list(frames.values())).astype(np.float32)
        valid = np.isfinite(samples)
        self.invalid_samples += int(np.count_nonzero(~valid))
        samples = np.clip(np.where(valid, samples, np.float32(0.0)), -1.0, 1.0)
        found, codes = self._batch.step(list(frames), torch.from_numpy(samples)[:, None])
        latents = found[:, :, 0].float().numpy()
        tokens = codes[:, : self.codec.num_codebooks, 0].numpy().astype(np.uint16)
        return {
            stream: self._makers[stream].made(samples[n], latents[n].copy(), tokens[n].copy())
            for n, stream in enumerate(frames)
        }


def analysis_of(model: object) -> Callable:
    """``MimiModel.encode``, and the latent before the quantiser."""

    def analysed(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        latent = model._encode_to_unquantized_latent(samples)
        return latent, model.quantizer.encode(latent)

    return analysed
