# SPDX-License-Identifier: GPL-3.0-or-later
"""Spoken commands over few symbols: what the sender sends, and what the receiver decides."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..channel_codec.snr_adaptive import SNR_DB
from ..features.student import padded
from ..options import TaskOptions, check_range
from ..packets.posterior import packet_of, read_posterior
from ..speech.activity import ActivityDetector, Spoken
from .model import TaskModel

# What a burst may be louder or quieter than the one of mean power 1 that the decider expects.
# That is noise at the least SNR that can be set, -100 dB, and 20 dB more.
POWER_LIMIT = 1e12
GAIN_LIMIT = 1e6
# A burst that is louder than told by half is no command, but stronger noise or another sender. Of
# few symbols a good one may be: beyond 4 standard deviations of noise alone is 1 in 2000 of them.
LOUDER, DEVIATIONS = 1.5, 4.0


@dataclass(frozen=True)
class Command:
    """What is sent for one utterance.

    Attributes:
        index: of the utterance, from 0.
        logits: of the labels, float32 ``[labels]``.
        start: of its first sample in the stream.
        samples: float32 ``[n]``.
    """

    index: int
    logits: np.ndarray
    start: int
    samples: np.ndarray


@dataclass(frozen=True)
class Decision:
    """What a receiver makes of a burst.

    Attributes:
        label: the likeliest one.
        probability: of it, 0 to 1.
        understood: whether it is a command, likely enough, and no louder than h and the SNR have
            it; else nothing is to be done.
        snr_db: of a symbol, as it was told or measured.
        index: of the burst.
        probabilities: of all labels, ``[labels]``.
    """

    label: str
    probability: float
    understood: bool
    snr_db: float
    index: int
    probabilities: np.ndarray


def checked_snr_db(snr_db: float) -> float:
    """A setting in dB, as far as the model knows it.

    Raises:
        ValueError: it is no number between -100 and 100.
    """
    check_range("snr_db", float(snr_db), -100.0, 100.0)
    return known_snr_db(snr_db)


def known_snr_db(snr_db: float) -> float:
    """An SNR that was reported or measured, as far as the model knows it.

    Raises:
        ValueError: it is no finite number.
    """
    if not math.isfinite(snr_db):
        raise ValueError(f"snr_db {snr_db} is no finite number: give one in dB")
    return min(max(float(snr_db), SNR_DB[0]), SNR_DB[1])


def checked_symbols(model: TaskModel, symbols: int) -> int:
    """A number of symbols that the model has a codebook for.

    Raises:
        ValueError: it has none.
    """
    known = model.config.codec.symbols
    if symbols not in known:
        raise ValueError(
            f"symbols {symbols} is unknown to the model: use one of {', '.join(map(str, known))}"
        )
    return symbols


class CommandEncoder:
    """Speech in, commands out; and the burst of a command at an SNR.

    Args:
        model: of both ends.
        margin_db: of the voice activity over the noise.
    """

    def __init__(self, model: TaskModel, margin_db: float = 10.0) -> None:
        self.model, self.margin_db = model, margin_db
        self._encode = recorded(model)
        self.reset()

    def reset(self) -> None:
        """Begins a new stream, whose first command is number 0."""
        self.detector = ActivityDetector(self.margin_db)
        self._index = 0

    def push(self, samples: np.ndarray) -> list[Command]:
        """Takes 24 kHz speech, float ``[n]``; gives the commands that have ended with it."""
        return [self._command(spoken) for spoken in self.detector.push(samples)]

    def flush(self) -> list[Command]:
        """The command that the end of the stream has cut, if there is one."""
        return [self._command(spoken) for spoken in self.detector.flush()]

    def _command(self, spoken: Spoken) -> Command:
        found = Command(self._index, self.logits(spoken.samples), spoken.start, spoken.samples)
        self._index += 1
        return found

    @torch.no_grad()
    def logits(self, samples: np.ndarray) -> np.ndarray:
        """Of the labels, float32 ``[labels]``, for one utterance ``[n]``."""
        speech = torch.from_numpy(padded(np.asarray(samples).clip(-1e3, 1e3)))[None]
        return self._encode(speech)[0].numpy()

    @torch.no_grad()
    def burst(self, command: Command, snr_db: float, symbols: int) -> np.ndarray:
        """Complex64 ``[symbols]`` of mean power 1."""
        checked_symbols(self.model, symbols)
        logits = torch.from_numpy(command.logits)[None]
        snr = torch.tensor([known_snr_db(snr_db)])
        return self.model.codec(logits, snr, symbols)[0].numpy().astype(np.complex64)

    def packet(self, command: Command) -> bytes:
        """The same for a link that carries bits."""
        return packet_of(command.logits, command.index, self.model.config.labels)


class CommandDecider:
    """Bursts or packets in, decisions out.

    Args:
        model: of both ends.
        confidence: least probability of a command that is understood, 0 to 1.

    Raises:
        ValueError: ``confidence`` is out of range.
    """

    def __init__(self, model: TaskModel, confidence: float = TaskOptions.confidence) -> None:
        self.model = model
        self.labels = model.config.labels
        self.set_confidence(confidence)

    def set_confidence(self, confidence: float) -> None:
        """Changes the least probability.

        Raises:
            ValueError: it is out of range.
        """
        if not 0.0 <= confidence <= 1.0:
            raise ValueError(f"confidence {confidence} is out of range: use 0 to 1")
        self.confidence = float(confidence)

    @torch.no_grad()
    def decide(
        self, burst: np.ndarray, snr_db: float, h: complex = 1.0, index: int = 0
    ) -> Decision:
        """What a burst says.

        Args:
            burst: complex ``[symbols]``, h times a burst of mean power 1, and noise.
            snr_db: of symbols of power 1 over the noise, where |h| is 1.
            h: of the channel, as estimated.
            index: of the burst.

        Raises:
            ValueError: it has no length that the model knows, is no numbers, or ``snr_db`` and
                ``h`` are none, or it or ``h`` is far too loud.
        """
        burst = np.asarray(burst)
        if burst.ndim != 1 or len(burst) not in self.model.config.codec.symbols:
            raise ValueError(
                f"a burst of shape {burst.shape}: use one of "
                f"{', '.join(map(str, self.model.config.codec.symbols))} symbols"
            )
        snr_db, power = known_snr_db(snr_db), float(np.mean(np.abs(burst.astype(complex)) ** 2))
        # Not so where one is no number.
        if not (power < POWER_LIMIT and abs(h) < GAIN_LIMIT):
            raise ValueError("a burst with what is no number, or far too loud")
        y = torch.from_numpy(burst.astype(np.complex64))[None]
        gain = torch.tensor([[complex(h)]], dtype=torch.complex64)
        logits = self.model.codec.receive(y, gain, torch.tensor([snr_db]), len(burst))
        expected = abs(h) ** 2 + 10.0 ** (-snr_db / 10.0)
        louder = power > max(LOUDER, 1.0 + DEVIATIONS / math.sqrt(len(burst))) * expected
        return self._decision(logits[0], snr_db, index, louder)

    def decide_packet(self, packet: bytes, snr_db: float = SNR_DB[1]) -> Decision:
        """What a packet says.

        Raises:
            ValueError: it is none, or of another model.
        """
        logits, index = read_posterior(packet, self.labels)
        return self._decision(torch.from_numpy(logits), known_snr_db(snr_db), index)

    def _decision(
        self, logits: torch.Tensor, snr_db: float, index: int, louder: bool = False
    ) -> Decision:
        likely = torch.softmax(logits, dim=0).numpy()
        best = int(likely.argmax())
        sure = bool(likely[best] >= self.confidence) and best < len(self.labels) - 2
        sure = sure and not louder
        return Decision(self.labels[best], float(likely[best]), sure, snr_db, index, likely)


def recorded(model: TaskModel) -> torch.nn.Module:
    """The encoder of a model, recorded once: most of its time would go into Python."""

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mel, self.student = model.mel, model.student

        def forward(self, speech: torch.Tensor) -> torch.Tensor:
            return self.student(self.mel(speech))

    one = torch.from_numpy(padded(np.zeros(1)))[None]
    with torch.no_grad():
        step = torch.jit.trace(Encoder().eval(), one, check_trace=False)
        step = torch.jit.freeze(step)
        for _ in range(3):
            step(one)
    return step
