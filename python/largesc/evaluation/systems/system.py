# SPDX-License-Identifier: GPL-3.0-or-later
"""What every system does: speech to packets, packets that arrived to speech."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..._core import CRC_BYTES
from ...channel.loss_timeline import LossChannel
from ...speech.files import resampled
from ...speech.format import SAMPLE_RATE_HZ

# IPv4 and UDP.
UDP_BYTES = 28
# What a coder without packets of its own needs on a bare radio frame, beside a CRC-16.
SEQUENCE_BYTES = 1


@dataclass(frozen=True)
class Packets:
    """What a system sends for one utterance.

    Attributes:
        leave_ms: when each packet leaves, from the start of the speech, rising.
        radio_bytes: of each on a bare radio frame: header, payload and CRC, without preamble.
        payload_bits: of the coder, copies or parity included, headers left out.
        data: the packets themselves, as the system's ``decode`` wants them.
        facts: what else belongs in the table.
    """

    leave_ms: np.ndarray
    radio_bytes: np.ndarray
    payload_bits: float
    data: list
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Decoded:
    """Speech at the other end, float32 at 24 kHz, aligned with the original and as long."""

    speech: np.ndarray
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Latency:
    """Delay by design in ms: ``framing`` until a packet leaves, with look-ahead; ``waiting`` for
    copies, parity or later packets."""

    framing_ms: float
    waiting_ms: float = 0.0


class System(Protocol):
    """A coder with its packets, protection and concealment.

    Attributes:
        name: unique, for tables.
        latency: by design; computing is measured.
    """

    name: str
    latency: Latency

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        """Packets of ``speech`` (float32, 24 kHz) for a channel whose state is known."""

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        """Speech of ``samples`` from the packets that are not ``lost`` (bool, one a packet)."""

    def missing(self) -> str:
        """What has to be installed before it runs; empty where it does."""


def speech_of(pcm: np.ndarray, rate_hz: int, delay: int, samples: int) -> np.ndarray:
    """``pcm`` at ``rate_hz`` less its first ``delay`` samples, at 24 kHz, float32 ``[samples]``."""
    found = resampled(pcm[delay:].astype(np.float32), rate_hz)
    out = np.zeros(samples, dtype=np.float32)
    out[: min(samples, len(found))] = found[:samples]
    return out


def heard_at(speech: np.ndarray, rate_hz: int) -> np.ndarray:
    """24 kHz speech at ``rate_hz``, float32."""
    return resampled(speech, SAMPLE_RATE_HZ, rate_hz).astype(np.float32)


def framed(samples: np.ndarray, size: int, more: int = 0) -> np.ndarray:
    """``samples`` and ``more`` zeros cut into frames ``[n, size]``, the last filled with zeros."""
    frames = -(-(len(samples) + more) // size)
    out = np.zeros(frames * size, dtype=np.float32)
    out[: len(samples)] = samples
    return out.reshape(frames, size)


def bare_packets(payloads: list[bytes], every_ms: float, facts: dict | None = None) -> Packets:
    """Packets of a coder that has no format of its own, one every ``every_ms``."""
    sizes = np.array([len(p) + SEQUENCE_BYTES + CRC_BYTES for p in payloads])
    leave = every_ms * (1 + np.arange(len(payloads)))
    bits = 8.0 * sum(len(p) for p in payloads)
    return Packets(leave, sizes, bits, payloads, facts or {})
