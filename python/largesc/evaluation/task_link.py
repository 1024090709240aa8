# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task link gets right: on recordings, over channels, beside sending a decided label."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..channel.symbols import SymbolChannel
from ..channel_codec.snr_adaptive import biorthogonal, in_complex
from ..features.student import padded
from ..speech.activity import ActivityDetector
from ..speech.files import read_audio
from ..tasks.commands import recorded
from ..tasks.model import SILENCE, UNKNOWN, TaskModel


@dataclass(frozen=True)
class Heard:
    """Recordings with what is said in them.

    Attributes:
        speech: float32 ``[n]`` each, at 24 kHz.
        label: number of each one's label, ``[clips]``.
    """

    speech: list[np.ndarray]
    label: np.ndarray


def heard_of(rows: list[dict], folder: Path, labels: tuple[str, ...]) -> Heard:
    """Reads the rows (path, label) of a table; words that are no label are unknown."""
    speech, label = [], []
    for row in rows:
        speech.append(read_audio(folder / row["path"]))
        name = row["label"]
        label.append(labels.index(name if name in (*labels[:-2], SILENCE) else UNKNOWN))
    return Heard(speech, np.array(label))


def as_detected(speech: list[np.ndarray]) -> list[np.ndarray]:
    """What voice activity cuts out of each recording: the loudest, or nothing of length 0.

    Half a second of the recording's quietest 50 ms is put to both sides: alone, it is too short
    to tell what is noise.
    """
    found = []
    for samples in speech:
        piece = len(samples) // 1200
        quiet = samples[: 1200 * piece].reshape(piece, 1200) if piece else samples[None]
        around = np.resize(quiet[np.square(quiet).sum(axis=1).argmin()], 12000)
        detector = ActivityDetector()
        parts = detector.push(np.concatenate([around, samples, around])) + detector.flush()
        cut = [p.samples for p in parts]
        loudness = [float(np.square(p).sum()) for p in cut]
        found.append(cut[int(np.argmax(loudness))] if cut else np.zeros(0, np.float32))
    return found


@torch.no_grad()
def logits_of(model: TaskModel, speech: list[np.ndarray]) -> torch.Tensor:
    """Of the encoder, ``[clips, labels]``."""
    encode = recorded(model)
    return torch.cat([encode(torch.from_numpy(padded(s))[None]) for s in speech])


@torch.no_grad()
def over_link(
    model: TaskModel,
    logits: torch.Tensor,
    channel: SymbolChannel,
    symbols: int,
    believed_db: float | None = None,
) -> torch.Tensor:
    """Logits behind the channel, ``[clips, labels]``.

    Args:
        believed_db: SNR that the sender knows; None: the channel's.
    """
    snr = torch.full((len(logits),), channel.snr_db)
    believed = snr if believed_db is None else torch.full((len(logits),), believed_db)
    y, h = channel(model.codec(logits, believed, symbols))
    return model.codec.receive(y, h, snr, symbols)


def sent_by_number(
    label: torch.Tensor, classes: int, channel: SymbolChannel, symbols: int
) -> np.ndarray:
    """Labels ``[clips]`` that a receiver finds of those that the sender has decided on.

    Recognise first, then send the number: a word of the biorthogonal code, found by maximum
    likelihood, which no other code of this length does better for so few bits.
    """
    words = in_complex(biorthogonal(classes, symbols))
    y, h = channel(words[label])
    return ((y * h.conj()) @ words.conj().T).real.argmax(dim=1).numpy()
