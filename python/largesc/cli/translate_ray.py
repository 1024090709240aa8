# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding of an edge of the translation link in several processes of Ray, on one machine or more.

Each holds the model, and gets a part of what is asked at a step. One that dies is replaced;
messages of that step are counted as unusable, and the next burst of each call is decoded with all
before it.
"""

import os
from contextlib import suppress

from ..features.load import large_model
from ..features.model import Hypothesis, Question
from ..ray_cluster import actor_of, ray_of_processes
from .say import say

# Less than what waits for an edge may be old.
LOAD_S, ANSWER_S = 600.0, 3.0


class Decoder:
    """A process with the model; Ray makes an actor of it.

    Args:
        source: of the model, as its machine finds it.
    """

    def __init__(self, source: str) -> None:
        self._model = large_model(source)

    def begun(self) -> bool:
        """Whether the model is loaded: it is, or the actor would not be there."""
        return True

    def process(self) -> int:
        """Returns the number of its process, by which it may be looked for."""
        return os.getpid()

    def decode_all(self, questions: list[Question]) -> list[Hypothesis]:
        """Answers of the questions, as its model gives them at once."""
        return self._model.decode_all(questions)


class RayDecoders:
    """Answers questions by several processes at once.

    Args:
        source: of the model.
        count: of processes.

    Raises:
        ValueError: Ray is not installed, its cluster does not let us in or has too few processors,
            or a process cannot load the model.

    Attributes:
        replaced: processes that died or did not answer.
    """

    def __init__(self, source: str, count: int) -> None:
        self._ray = ray = ray_of_processes(count)
        self._kind = actor_of(ray, Decoder)
        self._source, self.replaced = source, 0
        self._decoders = [self._kind.remote(source) for _ in range(count)]
        # Answers that a process has begun, while its model is loaded.
        self._begun = {n: decoder.begun.remote() for n, decoder in enumerate(self._decoders)}
        try:
            ray.get([*self._begun.values()], timeout=LOAD_S)
        except ray.exceptions.RayError as error:
            ray.shutdown()
            raise ValueError(f"a process of Ray cannot load the model: {error}") from error

    def __call__(self, questions: list[Question]) -> list[Hypothesis]:
        """Answers of questions, in their order.

        Raises:
            RuntimeError: a process did not answer, or none is there yet.
        """
        ready = self._ready()[: len(questions)]
        asked = [
            self._decoders[number].decode_all.remote(questions[place :: len(ready)])
            for place, number in enumerate(ready)
        ]
        found: list[Hypothesis | None] = [None] * len(questions)
        lost = "" if ready else "all of them load the model"
        for place, number in enumerate(ready):
            try:
                found[place :: len(ready)] = self._ray.get(asked[place], timeout=ANSWER_S)
            except self._ray.exceptions.RayTaskError as error:
                # A fault of one question; the process goes on.
                lost = str(error.cause)
            except self._ray.exceptions.RayError as error:
                lost = type(error).__name__
                self._replace(number, lost)
        if lost:
            raise RuntimeError(f"no answer of a process of Ray ({lost})")
        return found

    def _ready(self) -> list[int]:
        """Numbers of the processes whose model is loaded."""
        loaded, _ = self._ray.wait([*self._begun.values()], num_returns=len(self._begun), timeout=0)
        return [number for number, begun in self._begun.items() if begun in loaded]

    def close(self) -> None:
        """Ends all processes, and Ray where it was started here."""
        self._ray.shutdown()

    def _replace(self, number: int, why: str) -> None:
        say(f"process {number} of Ray is replaced: {why}")
        with suppress(Exception):
            self._ray.kill(self._decoders[number])
        self._decoders[number] = self._kind.remote(self._source)
        self._begun[number] = self._decoders[number].begun.remote()
        self.replaced += 1
