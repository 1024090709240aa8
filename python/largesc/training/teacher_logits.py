# SPDX-License-Identifier: GPL-3.0-or-later
"""What a teacher says, stored once: the top K probabilities of each example and their indices.

Fast pretraining distillation (TinyViT, arXiv 2207.10666, section 3): of each row the K greatest
probabilities are kept, and the other classes share (1 - sum) / (C - K) each. One memory-mapped
file of rows ``[K x float16, K x uint16]`` beside a JSON that says of what.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..files import replacing


@dataclass(frozen=True)
class LogitsOf:
    """Of what the logits are; another teacher, list of classes or set of examples is refused.

    Attributes:
        teacher: its name and the sum of its weights.
        classes: names of the classes, or one number as text where they have none.
        examples: sum over the examples.
        k: probabilities kept of each row.
        temperature: that the logits were divided by.
    """

    teacher: str
    classes: tuple[str, ...]
    examples: str
    k: int
    temperature: float


class TeacherLogits:
    """Rows of top-K probabilities on disk.

    Args:
        path: of the file; ``.json`` beside it.
        expected: what they must be of; None: anything.

    Raises:
        ValueError: there are none, they are cut, or of something else (which is named).
    """

    def __init__(self, path: Path, expected: LogitsOf | None = None) -> None:
        try:
            facts = json.loads(path.with_suffix(".json").read_text())
            self.count, self.of = facts["count"], LogitsOf(**facts["of"])
            self.classes = facts["class_count"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} holds no logits of a teacher ({error}): store them"
            ) from error
        if expected is not None:
            for name, value in asdict(expected).items():
                found = asdict(self.of)[name]
                if (list(found) if name == "classes" else found) != (
                    list(value) if name == "classes" else value
                ):
                    raise ValueError(
                        f"{path} has logits of another {name} ({short(found)}, not "
                        f"{short(value)}): store them again"
                    )
        if not path.is_file() or path.stat().st_size != self.count * row_type(self.of.k).itemsize:
            raise ValueError(f"{path} is cut: store the logits again")
        self._rows = np.memmap(path, dtype=row_type(self.of.k), mode="r")

    def __len__(self) -> int:
        return self.count

    def probabilities(self, rows: np.ndarray, k: int = 0) -> torch.Tensor:
        """Of examples ``rows`` ``[...]``, float32 ``[..., classes]`` that add up to 1.

        Args:
            k: use so many of those that are stored; 0: all.

        Raises:
            ValueError: so many are not stored.
        """
        kept = k or self.of.k
        if not 1 <= kept <= self.of.k:
            raise ValueError(f"k {k} is out of range: {self.of.k} are stored, use 1 to that or 0")
        found = self._rows[rows]
        values = torch.from_numpy(found["value"][..., :kept].astype(np.float32))
        index = torch.from_numpy(found["index"][..., :kept].astype(np.int64))
        rest = (1.0 - values.sum(-1, keepdim=True)).clamp(min=0.0) / max(self.classes - kept, 1)
        full = rest.expand(*rest.shape[:-1], self.classes).clone()
        full.scatter_(-1, index, values)
        return full / full.sum(-1, keepdim=True)


def short(value: object) -> str:
    """Returns a value as text of 60 letters at most."""
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def row_type(k: int) -> np.dtype:
    """Returns the type of a stored row: k probabilities and their classes."""
    return np.dtype([("value", "<f2", (k,)), ("index", "<u2", (k,))])


def store(path: Path, of: LogitsOf, class_count: int, logits: Iterable[torch.Tensor]) -> int:
    """Writes pieces ``[n, classes]`` of logits as top-K probabilities; returns the bytes.

    Raises:
        ValueError: K is no number from 1 to the classes, or these do not fit in 16 bit.
    """
    if not 1 <= of.k <= class_count:
        raise ValueError(f"k {of.k} is out of range: use 1 to {class_count}, the number of classes")
    if class_count > 65536:
        raise ValueError(f"{class_count} classes do not fit in 16 bit: use at most 65536")
    count = 0
    with replacing(path) as partial, open(partial, "wb") as file:
        for piece in logits:
            top = F.softmax(piece.float() / of.temperature, dim=-1).topk(of.k, dim=-1)
            rows = np.zeros(len(piece), dtype=row_type(of.k))
            rows["value"], rows["index"] = top.values.numpy(), top.indices.numpy()
            file.write(rows.tobytes())
            count += len(piece)
    facts = {"count": count, "class_count": class_count, "of": asdict(of)}
    with replacing(path.with_suffix(".json")) as partial:
        partial.write_text(json.dumps(facts, indent=2) + "\n")
    return count * row_type(of.k).itemsize
