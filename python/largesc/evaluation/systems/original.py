# SPDX-License-Identifier: GPL-3.0-or-later
"""The original speech, for measures whose best value is not known beforehand."""

import numpy as np

from ...channel.loss_timeline import LossChannel
from ...speech.format import SAMPLE_RATE_HZ
from .system import Decoded, Latency, Packets


class Original:
    """Speech as it is, in one packet that weighs nothing and is never lost."""

    name = "original"
    latency = Latency(0.0)

    def missing(self) -> str:
        return ""

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        leave_ms = np.array([1000.0 * len(speech) / SAMPLE_RATE_HZ])
        return Packets(leave_ms, np.zeros(1), 0.0, [speech])

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        return Decoded(packets.data[0][:samples].astype(np.float32))
