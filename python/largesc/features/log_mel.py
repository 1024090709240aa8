# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device sends to its edge: Whisper's log-mel frames, as they come, in 8 bit.

Two steps of Whisper's own front are left to the edge, since they look at a whole window: all below
8 decades under its loudest band is cut, and the rest is scaled.
"""

import numpy as np

from ..speech.format import SAMPLE_RATE_HZ

# A frame of 25 ms each 10 ms.
FRAMES_PER_S, WINDOWS_PER_S = 100, 40
RATES_HZ = (16000, SAMPLE_RATE_HZ)
BANDS, BINS = 80, 201
WHISPER_HZ = 16000
# Log10 of power that 8 bit cover, in steps of 0.6 dB.
LEAST, MOST = -10.0, 6.0
SCALE = 255 / (MOST - LEAST)
RANGE_DECADES = 8.0
UPLINK_BPS = 8 * BANDS * FRAMES_PER_S


def mel_filters(bands: int = BANDS) -> np.ndarray:
    """Returns Whisper's mel filters, float32 ``[201, bands]``."""
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(
        num_frequency_bins=BINS,
        num_mel_filters=bands,
        min_frequency=0.0,
        max_frequency=8000.0,
        sampling_rate=WHISPER_HZ,
        norm="slaney",
        mel_scale="slaney",
    ).astype(np.float32)


class LogMel:
    """Log10 of the power in mel bands, frame by frame.

    Windows of 25 ms have bins of 40 Hz at any rate, so that those below 8 kHz are the same and
    nothing is resampled.

    Args:
        rate_hz: of the speech, 16000 or 24000.
        bands: of the model, 80, or 128 for Whisper large-v3.

    Raises:
        ValueError: another rate.
    """

    def __init__(self, rate_hz: int, bands: int = BANDS) -> None:
        if rate_hz not in RATES_HZ:
            raise ValueError(
                f"rate_hz {rate_hz} is none that can be used: use {' or '.join(map(str, RATES_HZ))}"
            )
        self.hop = rate_hz // FRAMES_PER_S
        self._size = rate_hz // WINDOWS_PER_S
        # Longer windows sum up more.
        self._scale = (WHISPER_HZ / rate_hz) ** 2
        self._window = np.hanning(self._size + 1)[:-1].astype(np.float32)
        self._filters = mel_filters(bands)
        self.reset()

    def reset(self) -> None:
        """Begins anew, with silence before."""
        self._rest = np.zeros(self._size // 2, dtype=np.float32)

    def push(self, speech: np.ndarray) -> np.ndarray:
        """Frames that can be made with these samples behind those of before, ``[n, bands]``.

        What is no number counts as 0.
        """
        clean = np.clip(np.nan_to_num(speech), -1.0, 1.0).astype(np.float32)
        self._rest = np.concatenate([self._rest, clean])
        count = max(0, (len(self._rest) - self._size) // self.hop + 1)
        if not count:
            return np.zeros((0, self._filters.shape[1]), dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._rest, self._size)
        power = self._power(windows[: count * self.hop : self.hop]) * self._scale
        self._rest = self._rest[count * self.hop :]
        return np.log10(np.maximum(power @ self._filters, 10.0**LEAST))

    def _power(self, windows: np.ndarray) -> np.ndarray:
        """Of each bin that the filters take, ``[n, bins]``."""
        spectrum = np.fft.rfft(windows * self._window)[:, :BINS]
        return np.square(np.abs(spectrum)).astype(np.float32)


def as_bytes(frames: np.ndarray) -> np.ndarray:
    """Frames of :class:`LogMel` in 8 bit, ``[n, bands]``: 64 kbit/s."""
    return np.round((np.clip(frames, LEAST, MOST) - LEAST) * SCALE).astype(np.uint8)


def from_bytes(data: np.ndarray) -> np.ndarray:
    """The way back of :func:`as_bytes`, to half of a step."""
    return data.astype(np.float32) / np.float32(SCALE) + np.float32(LEAST)


def as_whisper(frames: np.ndarray) -> np.ndarray:
    """A window of frames ``[n, bands]`` as Whisper's encoder takes it, ``[bands, n]``."""
    if not len(frames):
        return frames.T
    return ((np.maximum(frames, frames.max() - RANGE_DECADES) + 4.0) / 4.0).T
