# SPDX-License-Identifier: GPL-3.0-or-later
"""What a device sends to an edge with SeamlessM4T: Kaldi's filter bank, as transformers has it.

Frames are kept as log10 of the power of samples of up to 1, and so in the 8 bit of
:func:`.log_mel.as_bytes`. That a band has a mean of 0 and a variance of 1 is left to the edge,
since it looks at a whole window.
"""

import numpy as np

from .log_mel import BANDS, LEAST, WHISPER_HZ, LogMel

# At 16 kHz; bins of the same width at any rate.
FFT, LOWEST_HZ, PREEMPHASIS = 512, 20.0, 0.97
BINS = FFT // 2 + 1
# Samples of either side between which a step is read.
REACH = 8
# Kaldi has samples of 16 bit, and a natural logarithm.
KALDI_LOG10 = 2.0 * np.log10(2.0**15)


def emphasis(size: int, step: float) -> np.ndarray:
    """Matrix ``[size, size]`` from a frame to Kaldi's x(t) - 0.97 x(t - step) of it.

    A step of a part of a sample is read between the samples, by a sinc.
    """
    places = np.arange(size)[:, None] - (np.arange(size)[None, :] - step)
    near = np.cos(np.pi * places / (2 * REACH)) ** 2 * (np.abs(places) < REACH)
    found = np.eye(size) - PREEMPHASIS * np.sinc(places) * near
    # Before the first sample lies what is like it.
    found[0, 0] = 1.0 - PREEMPHASIS
    return found


class FilterBank(LogMel):
    """Log10 of the power in Kaldi's mel bands, frame by frame.

    Args:
        rate_hz: of the speech, 16000 or 24000.

    Raises:
        ValueError: another rate.
    """

    def __init__(self, rate_hz: int) -> None:
        super().__init__(rate_hz)
        from transformers.audio_utils import mel_filter_bank

        size, self._fft = self._size, FFT * rate_hz // WHISPER_HZ
        # Without its mean, with its high frequencies lifted, behind Povey's window.
        shape = (np.eye(size) - 1.0 / size) @ emphasis(size, rate_hz / WHISPER_HZ)
        self._shape = (shape * np.hanning(size) ** 0.85).astype(np.float32)
        self._filters = mel_filter_bank(
            num_frequency_bins=BINS,
            num_mel_filters=BANDS,
            min_frequency=LOWEST_HZ,
            max_frequency=WHISPER_HZ / 2,
            sampling_rate=WHISPER_HZ,
            norm=None,
            mel_scale="kaldi",
            triangularize_in_mel_space=True,
        ).astype(np.float32)

    def _power(self, windows: np.ndarray) -> np.ndarray:
        spectrum = np.fft.rfft(windows @ self._shape, self._fft)[:, :BINS]
        return np.square(np.abs(spectrum)).astype(np.float32)


def as_kaldi(frames: np.ndarray) -> np.ndarray:
    """Frames ``[n, 80]`` as the natural logarithm of Kaldi, in which Seamless was trained."""
    return (frames + np.float32(KALDI_LOG10)) * np.float32(np.log(10.0))


def as_seamless(frames: np.ndarray) -> np.ndarray:
    """A window of frames ``[n, 80]``, n even, as Seamless takes it, ``[n / 2, 160]``.

    Each band gets a mean of 0 and a variance of 1 over what sounds. Frames of digital silence,
    with which a window ends, become as quiet as the band has been.
    """
    sounding = frames.max(axis=1) > LEAST
    if sounding.sum() < 2:
        return np.zeros((len(frames) // 2, 2 * frames.shape[1]), dtype=np.float32)
    speech = as_kaldi(frames[sounding])
    wanted = np.maximum(as_kaldi(frames), speech.min(axis=0))
    normed = (wanted - speech.mean(axis=0)) / np.sqrt(speech.var(axis=0, ddof=1) + 1e-7)
    return normed.reshape(len(frames) // 2, -1).astype(np.float32)
