# SPDX-License-Identifier: GPL-3.0-or-later
"""Missing tokens from what stands around them: the frame before, the one behind, a model's guess.

While a frame waits for its copy, the packet behind it comes in: a gap is then filled from both
sides, and nothing waits longer for it. Estimates are linear, by least squares, one matrix for each
case of what is known. Networks were no better.
"""

from dataclasses import dataclass

import numpy as np

from .._core import ERASED_TOKEN

# Received prefixes of more tokens are nearer to the original as they are (development speech).
MOST_PREFIX_TOKENS = 4


@dataclass(frozen=True)
class Surroundings:
    """What is known when a frame is to be completed.

    Attributes:
        count: tokens of the frame itself that are there, 0 to 7.
        prefix: what these add to the latent, ``[dimension]``.
        before: latent of the frame before, as it was played.
        made_up: that frame was lost as well.
        following: latent of the tokens that are there of the frame behind, None: nothing is.
        guess: latent that the language model expects, for a frame of which nothing is there.
    """

    count: int
    prefix: np.ndarray
    before: np.ndarray
    made_up: bool
    following: np.ndarray | None = None
    guess: np.ndarray | None = None

    def case(self) -> str:
        """Returns the name of the matrix that fits what is known."""
        parts = [f"count{self.count}"]
        if self.count == 0 and self.made_up:
            parts.append("made_up")
        if self.following is not None:
            parts.append("following")
        if self.count == 0 and self.guess is not None:
            parts.append("guess")
        return "_".join(parts)

    def inputs(self, mean: np.ndarray) -> np.ndarray:
        """Row for the matrix of :meth:`case`, latents less their ``mean``."""
        found = [self.prefix] if self.count else []
        found.append(self.before - mean)
        if self.following is not None:
            found.append(self.following - mean)
        if self.count == 0 and self.guess is not None:
            found.append(self.guess - mean)
        return np.concatenate([*found, np.ones(1)]).astype(np.float32)


class LatentEstimator:
    """Expected latent of a frame.

    Args:
        matrices: for each case ``[inputs, dimension]``, and ``mean`` ``[dimension]``.

    Raises:
        ValueError: there is no mean, or a matrix has another dimension.
    """

    def __init__(self, matrices: dict[str, np.ndarray]) -> None:
        if "mean" not in matrices:
            raise ValueError(
                "the estimator has no mean: train it with `largesc train interpolation`"
            )
        self.mean = np.asarray(matrices["mean"], dtype=np.float32)
        self.matrices = {k: np.asarray(v, np.float32) for k, v in matrices.items() if k != "mean"}
        for case, matrix in self.matrices.items():
            if matrix.ndim != 2 or matrix.shape[1] != len(self.mean):
                raise ValueError(
                    f"matrix {case!r} of the estimator has the shape {matrix.shape}: expected "
                    f"[inputs, {len(self.mean)}]"
                )

    def estimate(self, known: Surroundings) -> np.ndarray | None:
        """Latent ``[dimension]``; None for a case that was not trained."""
        matrix = self.matrices.get(known.case())
        return None if matrix is None else known.inputs(self.mean) @ matrix + self.mean


class FrameCompleter:
    """Completes frames one after the other in playout order.

    Args:
        estimator: of the codec's latents.
        codebooks: float ``[8, entries, dimension]``, of the same codec.

    Raises:
        ValueError: estimator and codebooks have different dimensions.
    """

    def __init__(self, estimator: LatentEstimator, codebooks: np.ndarray) -> None:
        if codebooks.shape[2] != len(estimator.mean):
            raise ValueError(
                f"the estimator is for latents of {len(estimator.mean)} numbers, the codec has "
                f"{codebooks.shape[2]}: take both from one model folder, or conceal with 'lm'"
            )
        self.estimator, self.codebooks = estimator, codebooks
        self.reset()

    def reset(self) -> None:
        """Forgets the frame before, to begin a new stream."""
        self._before, self._made_up = self.estimator.mean, True

    def latent(self, tokens: np.ndarray) -> np.ndarray:
        """What the tokens before the first missing one add up to, ``[dimension]``."""
        total = np.zeros(self.codebooks.shape[2], dtype=np.float32)
        for book, token in zip(self.codebooks, tokens, strict=True):
            if token == ERASED_TOKEN:
                break
            total += book[int(token)]
        return total

    def surroundings(
        self, tokens: np.ndarray, following: np.ndarray | None, guess: np.ndarray | None
    ) -> Surroundings:
        """What is known of a frame; all three are tokens, uint16 ``[8]``, 0xFFFF where missing."""
        count = int(np.argmax(np.append(tokens, ERASED_TOKEN) == ERASED_TOKEN))
        behind = following is not None and following[0] != ERASED_TOKEN
        return Surroundings(
            count,
            self.latent(tokens),
            self._before,
            self._made_up,
            self.latent(following) if behind else None,
            None if guess is None else self.latent(guess),
        )

    def complete(
        self,
        tokens: np.ndarray,
        following: np.ndarray | None = None,
        guess: np.ndarray | None = None,
    ) -> np.ndarray:
        """All tokens of a frame, uint16 ``[8]``; those that are there stay.

        A prefix of more than :data:`MOST_PREFIX_TOKENS` is returned as it is.

        Args:
            tokens: what was received, 0xFFFF where a token is missing.
            following: the same of the frame behind it, as far as it is there.
            guess: what a language model put in for a lost frame.
        """
        known = self.surroundings(tokens, following, guess)
        rest = self.rest(known)
        if rest is not None:
            tokens = nearest_tokens(tokens, rest, self.codebooks)
        elif known.count <= MOST_PREFIX_TOKENS and guess is not None:
            tokens = guess
        return self.played(tokens, known)

    def rest(self, known: Surroundings) -> np.ndarray | None:
        """What missing tokens are expected to add, ``[dimension]``; None: they stay missing."""
        if known.count > MOST_PREFIX_TOKENS:
            return None
        estimate = self.estimator.estimate(known)
        return None if estimate is None else estimate - known.prefix

    def played(self, tokens: np.ndarray, known: Surroundings) -> np.ndarray:
        """Takes note of what is played of a frame, and returns it."""
        self._before, self._made_up = self.latent(tokens), known.count == 0
        return np.asarray(tokens, dtype=np.uint16)


def nearest_tokens(tokens: np.ndarray, rest: np.ndarray, codebooks: np.ndarray) -> np.ndarray:
    """Fills in the tokens whose entries add up to about ``rest``.

    Args:
        tokens: ``[count]`` with 0xFFFF where one is missing.
        rest: what the missing ones add to the latent, float ``[dimension]``.
        codebooks: float ``[count, entries, dimension]``.
    """
    out, left = tokens.copy(), rest
    for k in np.flatnonzero(tokens == ERASED_TOKEN):
        out[k] = np.square(codebooks[k] - left).sum(axis=1).argmin()
        left = left - codebooks[k][out[k]]
    return out
