# SPDX-License-Identifier: GPL-3.0-or-later
"""Our link without GNU Radio: speech, decisions, losses, concealment, speech.

One frame a packet, copies some packets later in the sequential layout. The controller knows the
channel as it is: what a late or wrong report does is not measured here.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from .._core import ERASED_TOKEN, TOKEN_BITS, LossModel
from ..codec.codebooks import codebooks_of
from ..codec.speech_decoder import SpeechDecoder
from ..codec.speech_encoder import EncodedFrame, SpeechEncoder
from ..concealment.concealer import (
    LanguageModelConcealer,
    ReceivedFrame,
    RepeatConcealer,
    make_concealer,
)
from ..control.policies import Channel, Controller, Decision, Frame
from ..models.loader import load_codec, load_controller, load_language_model

FRAME_SAMPLES = 1920
FRAME_S = 0.08


@dataclass(frozen=True)
class OwnSystem:
    """One setting of our link.

    Attributes:
        name: for tables.
        policy: as for ``Controller``.
        tokens: sent and repeated, for the policy ``fixed``.
        concealer: ``lm``, ``repeat`` or ``silence``.
        lm, codec, controller: model sources.
        deadline_ms: how far copies may lie behind.
    """

    name: str
    policy: str = "table"
    tokens: tuple[int, int] = (8, 0)
    concealer: str = "lm"
    lm: str = "embedded"
    codec: str = "embedded"
    controller: str = "embedded"
    deadline_ms: int = 80


@dataclass(frozen=True)
class Outcome:
    """One transmission.

    Attributes:
        decoded: float32, aligned with the original and as long.
        payload_bps: 11 bit a token, copies included.
        decisions: of each frame.
        lost: bool ``[frames]``, of the packet that carries the frame first.
        received: tokens that arrived of each frame, 0 to 8.
    """

    decoded: np.ndarray
    payload_bps: float
    decisions: list[Decision]
    lost: np.ndarray
    received: np.ndarray


def draw_losses(count: int, p: float, mean_burst: float, seed: int) -> np.ndarray:
    """Which of ``count`` packets are lost, bool; a mean burst of 1 means independent losses."""
    if p == 0.0:
        return np.zeros(count, dtype=bool)
    model = "bernoulli" if mean_burst == 1.0 else "gilbert_elliott"
    return np.asarray(LossModel(model, p, mean_burst, seed=seed).draw(count), dtype=bool)


@cache
def decoder_of(codec: str) -> SpeechDecoder:
    """One decoder a process and codec."""
    return SpeechDecoder(load_codec(codec))


@cache
def stream_of(
    lm: str, codec: str, samples: int = 8, temperature: float = 0.7, top_k: int = 50
) -> object:
    """One language model a process and setting, for the tokens of ``codec``."""
    from ..concealment.lm_stream import LanguageModelStream

    books = codebooks_of(load_codec(codec).model)
    model = load_language_model(lm).model
    return LanguageModelStream(model, temperature, top_k, samples=samples, codebooks=books)


def encode(codec: str, speech: np.ndarray) -> list[EncodedFrame]:
    """All frames of ``speech``, and as many more as the decoder's delay asks for."""
    encoder = encoder_of(codec)
    encoder.reset()
    frames = -(-(len(speech) + encoder.codec.delay_samples) // FRAME_SAMPLES)
    padded = np.zeros(frames * FRAME_SAMPLES, dtype=np.float32)
    padded[: len(speech)] = speech
    return encoder.push(padded)


@cache
def encoder_of(codec: str) -> SpeechEncoder:
    """One encoder a process and codec."""
    return SpeechEncoder(load_codec(codec))


@cache
def controller_network(source: str) -> object:
    """One network a process."""
    return load_controller(source)


def decide(
    system: OwnSystem, frames: list[EncodedFrame], channels: list[Channel], budget_bps: float
) -> list[Decision]:
    """What the controller makes of each frame."""
    network = None
    if system.policy == "learned":
        network = controller_network(system.controller)
        network.reset()
    controller = Controller(
        system.policy,
        budget_bps,
        system.deadline_ms,
        tokens_sent=system.tokens[0],
        tokens_repeated=system.tokens[1],
        network=network,
    )
    known = [Frame(f.latent, f.level_dbfs, f.distortion) for f in frames]
    return [controller.decide(f, c) for f, c in zip(known, channels, strict=True)]


def payload_of(decisions: list[Decision]) -> float:
    """Bits a second of tokens and copies."""
    tokens = sum(d.tokens_sent + d.tokens_repeated for d in decisions)
    return tokens * TOKEN_BITS / (FRAME_S * max(1, len(decisions)))


def decide_at(
    system: OwnSystem, frames: list[EncodedFrame], channels: list[Channel], payload_bps: float
) -> list[Decision]:
    """Decisions whose mean payload comes as near to ``payload_bps`` as a budget can bring it."""
    low, high = 137.5, 2200.0
    best: list[Decision] = []
    for _ in range(9):
        budget = 0.5 * (low + high)
        found = decide(system, frames, channels, budget)
        error = payload_of(found) - payload_bps
        if not best or abs(error) < abs(payload_of(best) - payload_bps):
            best = found
        low, high = (low, budget) if error > 0 else (budget, high)
    return best


def arrived(decisions: list[Decision], lost: np.ndarray) -> np.ndarray:
    """Tokens of each frame that are there when it is played, int ``[frames]``."""
    count = np.array([0 if lost[n] else d.tokens_sent for n, d in enumerate(decisions)])
    for n, d in enumerate(decisions):
        carrier = n + d.copy_distance
        if lost[n] and d.tokens_repeated and carrier < len(lost) and not lost[carrier]:
            count[n] = d.tokens_repeated
    return count


def concealer_of(system: OwnSystem) -> RepeatConcealer:
    """The concealer of a system, with nothing behind it."""
    if system.concealer != "lm":
        return make_concealer(system.concealer)
    stream = stream_of(system.lm, system.codec)
    stream.reset()
    return LanguageModelConcealer(stream)


def transmit(
    system: OwnSystem,
    frames: list[EncodedFrame],
    decisions: list[Decision],
    lost: np.ndarray,
    samples: int,
) -> Outcome:
    """Sends ``frames`` through losses and decodes what arrives to ``samples`` of speech."""
    received = arrived(decisions, lost)
    concealer, decoder = concealer_of(system), decoder_of(system.codec)
    decoder.reset()
    out = []
    for n, frame in enumerate(frames):
        tokens = frame.tokens.copy()
        tokens[received[n] :] = ERASED_TOKEN
        done = concealer.step(ReceivedFrame(n, tokens))
        out.append(decoder.decode(done.tokens, done.gain))
    delay = decoder.codec.delay_samples
    decoded = np.concatenate(out)[delay : delay + samples]
    return Outcome(decoded, payload_of(decisions), decisions, lost, received)


def known_channel(p: float, mean_burst: float, count: int) -> list[Channel]:
    """The same channel for all frames."""
    return [Channel(p, mean_burst)] * count
