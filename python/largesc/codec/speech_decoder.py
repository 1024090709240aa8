# SPDX-License-Identifier: GPL-3.0-or-later
"""Token frames to speech, with comfort noise where nothing is left to decode."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .._core import ERASED_TOKEN
from ..codec.load import Codec
from ..models.recorded_step import record
from ..models.stream_batch import StreamBatch
from ..speech.format import FRAME_SAMPLES
from .codebooks import codebooks_of

# Comfort noise stays below this whatever the speech was like.
MAX_NOISE_RMS = 0.005


class FrameShaper:
    """What one stream does with its frames before and behind the codec: fades and comfort noise.

    Args:
        count: tokens a frame.
        cardinality: values of a token.
        seed: of the comfort noise.
    """

    def __init__(self, count: int, cardinality: int, seed: int) -> None:
        self._most = cardinality - 1
        self._rng = np.random.default_rng(seed)
        self._gain = 1.0
        self._noise_rms = 0.0003
        self._last = np.zeros(count, dtype=np.int64)

    def prefix(
        self, tokens: np.ndarray, gain: float, latent: np.ndarray | None
    ) -> tuple[np.ndarray, float]:
        """Tokens to decode, int64 ``[1 to 8]``, and the gain that goes with them."""
        tokens = np.asarray(tokens, dtype=np.int64)
        erased = np.flatnonzero(tokens == ERASED_TOKEN)
        prefix = tokens[: erased[0]] if len(erased) else tokens
        prefix = np.clip(prefix, 0, self._most)
        if len(prefix) == 0 and latent is None:
            gain, prefix = 0.0, self._last
        self._last = prefix if len(prefix) else self._last
        return prefix, gain

    def shaped(self, speech: np.ndarray, gain: float) -> np.ndarray:
        """A decoded frame, float32 ``[1920]``, as it is played."""
        if gain >= 1.0:
            self._follow_noise_floor(speech)
        gain = min(max(float(gain), 0.0), 1.0)
        fade = np.linspace(self._gain, gain, FRAME_SAMPLES, dtype=np.float32)
        self._gain = gain
        out = fade * speech
        if fade.min() < 1.0:
            noise = self._rng.standard_normal(FRAME_SAMPLES).astype(np.float32)
            out += (1.0 - fade) * np.float32(self._noise_rms) * noise
        return np.clip(out, -1.0, 1.0)

    def comfort_noise(self, count: int) -> np.ndarray:
        """Noise at the speech's own floor, float32 ``[count]``; the next frame fades in."""
        self._gain = 0.0
        noise = self._rng.standard_normal(count).astype(np.float32)
        return np.float32(self._noise_rms) * noise

    def _follow_noise_floor(self, speech: np.ndarray) -> None:
        # The quietest 10 ms follow at once downwards, and slowly upwards.
        rms = float(np.sqrt(np.square(speech.reshape(-1, 240)).mean(axis=1).min()))
        rising = self._noise_rms * 1.02 + 1e-6
        self._noise_rms = min(max(rms, 1e-5), rising, MAX_NOISE_RMS)


class SpeechDecoder:
    """Streaming decoder over one codec; the codec's model must not be shared with an encoder.

    Args:
        codec: from ``codec.load.load_codec``.
        seed: of the comfort noise.
    """

    @torch.no_grad()
    def __init__(self, codec: Codec, seed: int = 1) -> None:
        self.codec = codec
        self.broken_frames = 0
        self._seed = seed
        codec.model.streaming_forever(1)
        self._books = codebooks_of(codec.model, codec.num_codebooks)
        latent = torch.zeros(1, codec.dimension, 1)
        self._step = record(codec.model, synthesis_of(codec.model), latent)
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next frame is the first."""
        self.codec.model.reset_streaming()
        self._shaper = shaper_of(self.codec, self._seed)

    def decode(
        self, tokens: np.ndarray, gain: float = 1.0, latent: np.ndarray | None = None
    ) -> np.ndarray:
        """Decodes one frame.

        Args:
            tokens: uint16 ``[8]``; those from the first erased one (0xFFFF) on are left out.
            gain: 1 for the decoded frame, 0 for comfort noise only, between them a mixture; a
                change fades over the frame.
            latent: float ``[dimension]``, decoded in place of the tokens.

        Returns:
            float32 ``[1920]`` within -1 to 1.
        """
        prefix, gain = self._shaper.prefix(tokens, gain, latent)
        speech = self._run(latent_of(self._books, prefix) if latent is None else latent)
        if not np.all(np.isfinite(speech)):
            self.broken_frames += 1
            self.codec.model.reset_streaming()
            speech, gain = np.zeros(FRAME_SAMPLES, dtype=np.float32), 0.0
        return self._shaper.shaped(speech, gain)

    def comfort_noise(self, count: int) -> np.ndarray:
        """Noise at the speech's own floor, float32 ``[count]``; the next frame fades in."""
        return self._shaper.comfort_noise(count)

    @torch.inference_mode()
    def _run(self, latent: np.ndarray) -> np.ndarray:
        found = torch.from_numpy(np.asarray(latent, dtype=np.float32))
        return self._step(found[None, :, None])[0, 0].float().numpy()


@dataclass(frozen=True)
class FrameToDecode:
    """As the arguments of :meth:`SpeechDecoder.decode`."""

    tokens: np.ndarray
    gain: float = 1.0
    latent: np.ndarray | None = None


class SpeechDecoders:
    """Decodes a frame of each of many streams at once.

    Args:
        codec: as for :class:`SpeechDecoder`.
        most: streams that are decoded in one step; more take several.

    Attributes:
        broken_frames: for which the codec gave no numbers.
    """

    def __init__(self, codec: Codec, most: int = 64) -> None:
        self.codec, self.broken_frames = codec, 0
        self._books = codebooks_of(codec.model, codec.num_codebooks)
        latent = torch.zeros(1, codec.dimension, 1)
        self._batch = StreamBatch(codec.model, synthesis_of(codec.model), [latent], most)
        self._shapers: dict[int, FrameShaper] = {}

    def open(self, seed: int = 1) -> int:
        """Begins a stream; returns its number. ``seed`` is that of its comfort noise."""
        stream = self._batch.open()
        self._shapers[stream] = shaper_of(self.codec, seed)
        return stream

    def close(self, stream: int) -> None:
        """Ends a stream; another one may then get its number."""
        del self._shapers[stream]
        self._batch.close(stream)

    def decode(self, frames: dict[int, FrameToDecode]) -> dict[int, np.ndarray]:
        """Speech by stream, float32 ``[1920]`` within -1 to 1."""
        if not frames:
            return {}
        latents, gains = [], []
        for stream, frame in frames.items():
            prefix, gain = self._shapers[stream].prefix(frame.tokens, frame.gain, frame.latent)
            latent = latent_of(self._books, prefix) if frame.latent is None else frame.latent
            latents.append(latent)
            gains.append(gain)
        stacked = torch.from_numpy(np.stack(latents).astype(np.float32))
        (found,) = self._batch.step(list(frames), stacked[:, :, None])
        speech, out = found[:, 0].float().numpy(), {}
        for stream, samples, gain in zip(frames, speech, gains, strict=True):
            if not np.all(np.isfinite(samples)):
                self.broken_frames += 1
                self._batch.reset(stream)
                samples, gain = np.zeros(FRAME_SAMPLES, dtype=np.float32), 0.0
            out[stream] = self._shapers[stream].shaped(samples, gain)
        return out


def latent_of(books: np.ndarray, prefix: np.ndarray) -> np.ndarray:
    """Latent ``[dimension]`` of a frame's first tokens, from ``codebooks_of``."""
    return books[np.arange(len(prefix)), prefix].sum(axis=0)


def shaper_of(codec: Codec, seed: int) -> FrameShaper:
    """Returns a shaper for one stream of this codec."""
    return FrameShaper(codec.num_codebooks, codec.model.cardinality, seed)


def synthesis_of(model: object) -> Callable:
    """``MimiModel.decode`` from the latent on: one recorded step for prefixes of any length."""

    def synthesised(latent: torch.Tensor) -> torch.Tensor:
        latent = model._to_encoder_framerate(latent)
        if model.decoder_transformer is not None:
            (latent,) = model.decoder_transformer(latent)
        return model.decoder(latent)

    return synthesised
