# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches of views of commands, each time as another voice, room and microphone would have them."""

import numpy as np
import torch
from torch.nn import functional as F

from ..features.student import BANDS_HZ, RANGE_DECADES
from .command_views import Views
from .teacher_logits import TeacherLogits

# Of one unit of a log-mel spectrum.
DECADES = RANGE_DECADES / 2.0
# Other voices: formants and pitch by that factor, and as much faster or slower.
FORMANTS, TEMPO, STEPS = (0.88, 1.14), (0.8, 1.25), 27
BANDS_MASKED, STEPS_MASKED, STEPS_SHIFTED = 7, 16, 8


def formant_maps(bands: int) -> torch.Tensor:
    """Matrices ``[STEPS, bands, bands]`` that move a mel spectrum by a factor of frequency.

    As vocal tract lengths differ (Jaitly and Hinton, 2013), by interpolation between bands.
    """
    low, high = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in BANDS_HZ)
    centres = np.linspace(low, high, bands + 2)[1:-1]
    hz = 700.0 * (10.0 ** (centres / 2595.0) - 1.0)
    found = np.zeros((STEPS, bands, bands), dtype=np.float32)
    for number, factor in enumerate(np.linspace(*FORMANTS, STEPS)):
        mel = 2595.0 * np.log10(1.0 + hz * factor / 700.0)
        at = np.interp(mel, centres, np.arange(bands))
        below = np.minimum(at.astype(int), bands - 2)
        found[number, np.arange(bands), below] = 1.0 - (at - below)
        found[number, np.arange(bands), below + 1] = at - below
    return torch.from_numpy(found)


class Roughened:
    """Every second spectrum through another microphone, and in more noise.

    Args:
        noise: spectra of noise alone, ``[n, bands, 160]``; may be none.
        rng: of the choice.
    """

    def __init__(self, noise: np.ndarray, rng: np.random.Generator) -> None:
        self._noise, self.rng = noise, rng

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        """Changes float32 ``[n, bands, 160]`` in place, and returns it."""
        chosen = np.flatnonzero(self.rng.random(len(mel)) < 0.5)
        if not len(chosen) or not len(self._noise):
            return mel
        count, bands = len(chosen), mel.shape[1]
        knots = self.rng.uniform(-0.4, 0.4, (count, 5))
        at = np.linspace(0, 4, bands)
        tilt = np.stack([np.interp(at, np.arange(5), row) for row in knots])[:, :, None]
        noise = self._noise[self.rng.integers(0, len(self._noise), count)].astype(np.float32)
        below = self.rng.uniform(0.3, 3.0, (count, 1, 1))
        # In decades below the loudest, as LogMel has it.
        power = 10.0 ** (DECADES * (mel[chosen] - 1.0) + tilt)
        power += 10.0 ** (DECADES * (noise - 1.0) - below)
        decades = np.log10(power)
        decades -= decades.max(axis=(1, 2), keepdims=True)
        mel[chosen] = np.maximum(1.0 + decades / DECADES, -1.0)
        return mel


class Batches:
    """Draws batches of views, changed; a label of which there are more comes oftener, by the root.

    Args:
        views: of the recordings.
        rows: to draw from.
        logits: of the teacher; None: what the labels say.
        k: of the stored probabilities that are used.
        seed: of the choice.
    """

    def __init__(
        self, views: Views, rows: np.ndarray, logits: TeacherLogits | None, k: int, seed: int
    ) -> None:
        self.views, self.rows, self.logits, self.k = views, rows, logits, k
        self.rng = np.random.default_rng(seed)
        count = np.bincount(views.label[rows], minlength=len(views.labels))
        noise = rows[views.label[rows] == len(views.labels) - 1]
        self._noisy = Roughened(views.mel[noise], self.rng)
        share = 1.0 / np.sqrt(np.maximum(count, 1))[views.label[rows]]
        self.share = share / share.sum()
        self.formants = formant_maps(views.mel.shape[1])

    def draw(
        self, size: int, voices: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Spectra, labels, and the teacher's probabilities.

        Args:
            size: of the batch.
            voices: whether voices are changed as well.
        """
        rows = np.sort(self.rng.choice(self.rows, size, p=self.share))
        mel = torch.from_numpy(self.views.mel[rows].astype(np.float32))
        mel = self._masked(self._noisy((self._voiced(mel) if voices else mel).numpy()))
        label = torch.from_numpy(self.views.label[rows])
        taught = None if self.logits is None else self._taught(rows, label)
        return torch.from_numpy(mel), label, taught

    def _taught(self, rows: np.ndarray, label: torch.Tensor) -> torch.Tensor:
        """What the teacher says where it is right, elsewhere the label."""
        found = self.logits.probabilities(rows, self.k)
        wrong = found.argmax(1) != label
        return torch.where(wrong[:, None], F.one_hot(label, found.shape[1]).float(), found)

    def _voiced(self, mel: torch.Tensor) -> torch.Tensor:
        """Every one with other formants, and at another tempo."""
        mel = self.formants[self.rng.integers(0, STEPS, len(mel))] @ mel
        steps = mel.shape[2]
        tempo = self.rng.uniform(*TEMPO, (len(mel), 1))
        at = torch.from_numpy((np.arange(steps) * tempo).astype(np.float32))
        below = at.long().clamp(max=steps - 2)
        share = (at - below)[:, None]
        index = below[:, None].expand(-1, mel.shape[1], -1)
        found = mel.gather(2, index) * (1.0 - share) + mel.gather(2, index + 1) * share
        return torch.where(at[:, None] <= steps - 1, found, -1.0)

    def _masked(self, mel: np.ndarray) -> np.ndarray:
        """Later or earlier by up to 80 ms, with a band and a stretch left out (SpecAugment)."""
        for one in mel:
            one[:] = np.roll(one, self.rng.integers(-STEPS_SHIFTED, STEPS_SHIFTED + 1), axis=1)
            band, width = self.rng.integers(0, mel.shape[1]), self.rng.integers(0, BANDS_MASKED)
            one[band : band + width] = -1.0
            at, length = self.rng.integers(0, mel.shape[2]), self.rng.integers(0, STEPS_MASKED)
            one[:, at : at + length] = -1.0
        return mel
