# SPDX-License-Identifier: GPL-3.0-or-later
"""Concealers of many streams, a frame of each at once.

Those that interpolate look for their tokens together, which is where their time goes, and language
models compute together; others take their steps one after the other.
"""

import numpy as np
import torch

from .._core import ERASED_TOKEN
from .concealer import (
    ConcealedFrame,
    InterpolatingConcealer,
    LanguageModelConcealer,
    ReceivedFrame,
    RepeatConcealer,
    is_lost,
)

# Entries whose distance is compared exactly: the fast one has rounding errors.
CANDIDATES = 4


class Codebooks:
    """Codebooks of a codec, with what a search of many frames at once needs.

    Args:
        entries: float32 ``[8, entries, dimension]``.
    """

    def __init__(self, entries: np.ndarray) -> None:
        self.entries = np.asarray(entries, dtype=np.float32)
        self._columns = torch.from_numpy(self.entries).transpose(1, 2)
        self._powers = self._columns.square().sum(dim=1)

    @torch.inference_mode()
    def nearest(self, tokens: np.ndarray, rests: np.ndarray) -> np.ndarray:
        """As ``interpolation.nearest_tokens`` of many frames.

        Args:
            tokens: uint16 ``[n, 8]``, 0xFFFF where one is missing.
            rests: what the missing ones add, float ``[n, dimension]``.
        """
        out, left = tokens.copy(), rests.astype(np.float32)
        for book, entries in enumerate(self.entries):
            rows = np.flatnonzero(tokens[:, book] == ERASED_TOKEN)
            if not len(rows):
                continue
            # By torch: numpy's product wakes threads of its own, which take more than they give.
            wanted = torch.from_numpy(left[rows])
            distance = self._powers[book].addmm(wanted, self._columns[book], alpha=-2.0)
            few = distance.topk(CANDIDATES, largest=False).indices.sort(dim=1).values.numpy()
            exact = np.square(entries[few] - left[rows][:, None]).sum(axis=2)
            found = few[np.arange(len(rows)), exact.argmin(axis=1)]
            out[rows, book] = found
            left[rows] -= entries[found]
        return out


class ConcealerGroup:
    """Steps concealers of many streams.

    Args:
        books: of the codec; None where nobody interpolates. Language models are those of one batch.
    """

    def __init__(self, books: Codebooks | None) -> None:
        self._books = books

    def step(
        self, turns: dict[int, tuple[RepeatConcealer, ReceivedFrame]]
    ) -> dict[int, ConcealedFrame]:
        """Completed frames by stream. A concealer that holds its frame back is left out."""
        found: dict[int, ConcealedFrame] = {}
        waiting, models = [], {}
        for stream, (concealer, frame) in turns.items():
            if isinstance(concealer, LanguageModelConcealer) and concealer.stream.batch is not None:
                models[stream] = concealer
                continue
            work = self._work(concealer, frame)
            if work is None:
                done = concealer.step(frame)
                if done is not None:
                    found[stream] = done
            else:
                waiting.append((stream, concealer, frame, *work))
        if models:
            batch = next(iter(models.values())).stream.batch
            done = batch.run({n: c.stepping(turns[n][1]) for n, c in models.items()})
            found |= {stream: frame for stream, frame in done.items() if frame is not None}
        if waiting:
            tokens = np.stack([frame.tokens for _, _, frame, _, _ in waiting])
            rests = np.stack([rest for *_, rest in waiting])
            complete = self._books.nearest(tokens, rests)
            for (stream, concealer, frame, known, _), mine in zip(waiting, complete, strict=True):
                played = concealer.completer.played(mine, known)
                found[stream] = concealer.release(frame, played)
        return found

    def _work(self, concealer: RepeatConcealer, frame: ReceivedFrame) -> tuple | None:
        """What is known of the frame, and what is looked for; None: it takes its own step."""
        if not isinstance(concealer, InterpolatingConcealer) or self._books is None:
            return None
        if (frame.silence and is_lost(frame)) or not np.any(frame.tokens == ERASED_TOKEN):
            return None
        try:
            known = concealer.completer.surroundings(frame.tokens, frame.following, None)
            rest = concealer.completer.rest(known)
        except Exception:
            # Its own step fails as well, and says so.
            return None
        return None if rest is None or not np.all(np.isfinite(rest)) else (known, rest)
