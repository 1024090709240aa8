# SPDX-License-Identifier: GPL-3.0-or-later
"""How likely each label is, in the few bytes of a packet, for links that carry bits.

0       kind, 0xC7
1, 2    sum over the labels, so that two ends of different lists do not understand each other
3, 4    number of the command, big-endian
5 ...   4 bits a label, the first one high: -log p in steps of 0.5 nats
last 2  CRC-16
"""

import hashlib

import numpy as np

from .._core import CRC_BYTES, append_crc, has_right_crc

KIND = 0xC7
HEAD_BYTES = 5
STEP_NATS, MOST_STEPS = 0.5, 15


def labels_sum(labels: tuple[str, ...]) -> bytes:
    """Two bytes that tell lists of labels apart."""
    return hashlib.sha256("\n".join(labels).encode()).digest()[:2]


def packet_of(logits: np.ndarray, index: int, labels: tuple[str, ...]) -> bytes:
    """The packet of one command.

    Args:
        logits: of the labels, ``[labels]``.
        index: of the command, modulo 65536.
        labels: at both ends.
    """
    nats = logits.max() + np.log(np.exp(logits - logits.max()).sum()) - logits
    steps = np.clip(np.round(nats / STEP_NATS), 0, MOST_STEPS).astype(np.uint8)
    steps = np.append(steps, np.zeros(len(steps) % 2, dtype=np.uint8))
    body = bytes(steps[::2] << 4 | steps[1::2])
    head = bytes([KIND]) + labels_sum(labels) + (index % 65536).to_bytes(2)
    return append_crc(head + body)


def read_posterior(packet: bytes, labels: tuple[str, ...]) -> tuple[np.ndarray, int]:
    """Logits ``[labels]`` and the index of a packet.

    Raises:
        ValueError: it is none, damaged, or of other labels.
    """
    expected = HEAD_BYTES + (len(labels) + 1) // 2 + CRC_BYTES
    if len(packet) < HEAD_BYTES + CRC_BYTES or packet[0] != KIND:
        raise ValueError(f"a packet of {len(packet)} bytes is no command")
    if not has_right_crc(packet):
        raise ValueError("a command with a wrong CRC")
    if packet[1:3] != labels_sum(labels) or len(packet) != expected:
        raise ValueError("a command of another list of labels: use one model at both ends")
    body = np.frombuffer(packet[HEAD_BYTES:-CRC_BYTES], dtype=np.uint8)
    steps = np.stack([body >> 4, body & 15], axis=1).ravel()[: len(labels)]
    return -STEP_NATS * steps.astype(np.float32), int.from_bytes(packet[3:5])
