# SPDX-License-Identifier: GPL-3.0-or-later
"""Token frames to speech, with comfort noise where nothing is left to decode."""

import numpy as np
import torch

from .._core import ERASED_TOKEN
from ..codec.load import Codec
from ..models.recorded_step import record
from ..speech.format import FRAME_SAMPLES

# Comfort noise stays below this whatever the speech was like.
MAX_NOISE_RMS = 0.005


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
        latent = codec.model.decode_latent(torch.zeros(1, codec.num_codebooks, 1, dtype=torch.long))
        self._step = record(codec.model, self._synthesised, latent)
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next frame is the first."""
        self.codec.model.reset_streaming()
        self._rng = np.random.default_rng(self._seed)
        self._gain = 1.0
        self._noise_rms = 0.0003
        self._last = np.zeros(self.codec.num_codebooks, dtype=np.int64)

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
        tokens = np.asarray(tokens, dtype=np.int64)
        erased = np.flatnonzero(tokens == ERASED_TOKEN)
        prefix = tokens[: erased[0]] if len(erased) else tokens
        prefix = np.clip(prefix, 0, self.codec.model.cardinality - 1)
        if len(prefix) == 0 and latent is None:
            gain, prefix = 0.0, self._last
        self._last = prefix if len(prefix) else self._last
        speech = self._run(prefix) if latent is None else self._run_latent(latent)
        if not np.all(np.isfinite(speech)):
            self.broken_frames += 1
            self.codec.model.reset_streaming()
            speech, gain = np.zeros(FRAME_SAMPLES, dtype=np.float32), 0.0
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

    def _synthesised(self, latent: torch.Tensor) -> torch.Tensor:
        # MimiModel.decode from the latent on: one recorded step for prefixes of any length.
        model = self.codec.model
        latent = model._to_encoder_framerate(latent)
        if model.decoder_transformer is not None:
            (latent,) = model.decoder_transformer(latent)
        return model.decoder(latent)

    @torch.inference_mode()
    def _run(self, prefix: np.ndarray) -> np.ndarray:
        latent = self.codec.model.decode_latent(torch.from_numpy(prefix)[None, :, None])
        return self._step(latent)[0, 0].float().numpy()

    @torch.inference_mode()
    def _run_latent(self, latent: np.ndarray) -> np.ndarray:
        found = torch.from_numpy(np.asarray(latent, dtype=np.float32))
        return self._step(found[None, :, None])[0, 0].float().numpy()

    def _follow_noise_floor(self, speech: np.ndarray) -> None:
        # The quietest 10 ms follow at once downwards, and slowly upwards.
        rms = float(np.sqrt(np.square(speech.reshape(-1, 240)).mean(axis=1).min()))
        rising = self._noise_rms * 1.02 + 1e-6
        self._noise_rms = min(max(rms, 1e-5), rising, MAX_NOISE_RMS)
