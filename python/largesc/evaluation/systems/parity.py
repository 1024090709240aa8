# SPDX-License-Identifier: GPL-3.0-or-later
"""Our tokens with Reed-Solomon parity across packets in place of copies."""

from importlib.util import find_spec

import numpy as np

from ..._core import TOKEN_BITS
from ...channel.loss_timeline import LossChannel
from ...control.policies import Decision
from ...speech.format import FRAME_MS
from .own import OwnSystem, arrived, encoded, look_ahead_ms, packed
from .system import CRC_BYTES, SEQUENCE_BYTES, Decoded, Latency, Packets


class Parity:
    """Each block of packets is followed by parity packets; with one of these it is an XOR.

    Args:
        tokens: sent of each frame, 1 to 8.
        block: packets (frames) in a block.
        parity: packets behind each block; as many may be lost of both together.
        own: codec, language model and concealer, as our link has them.
    """

    def __init__(self, tokens: int, block: int, parity: int, own: OwnSystem) -> None:
        self.tokens, self.block, self.parity, self.own = tokens, block, parity, own
        kind = "XOR" if parity == 1 else "Reed-Solomon"
        self.name = f"{kind} {block}+{parity}, {tokens} tokens"

    @property
    def latency(self) -> Latency:
        # The first frame of a block waits for the last one and the last parity.
        waiting_ms = FRAME_MS * (self.block + self.parity - 1.5)
        return Latency(FRAME_MS + look_ahead_ms(self.own.codec), waiting_ms)

    def missing(self) -> str:
        return "" if find_spec("reedsolo") else "reedsolo (requirements-evaluation.txt)"

    def encode(self, speech: np.ndarray, channel: LossChannel) -> Packets:
        from reedsolo import RSCodec

        frames, encode_ms = encoded(self.own.codec, speech.tobytes())
        data = packed(frames, [Decision(self.tokens, 0, 0)] * len(frames), "sequential")
        code, leave, sizes, sent = RSCodec(self.parity), [], [], []
        for first in range(0, len(data), self.block):
            block = data[first : first + self.block]
            sent += block
            leave += [1.0 * FRAME_MS * (first + n + 1) for n in range(len(block))]
            sizes += [len(p) + CRC_BYTES for p in block]
            # One code word for each place in the packets.
            words = [code.encode(bytes(column)) for column in zip(*block, strict=True)]
            for number in range(self.parity):
                sent.append(bytes(word[len(block) + number] for word in words))
                # Between the packets of the next block.
                leave.append(leave[len(sent) - 2 - number] + FRAME_MS * (number + 0.5))
                sizes.append(len(words) + SEQUENCE_BYTES + CRC_BYTES)
        bits = float(TOKEN_BITS * self.tokens * len(frames) * (1 + self.parity / self.block))
        order = np.argsort(leave, kind="stable")
        facts = {"frames": frames, "encode_ms": encode_ms, "sent": sent, "order": order}
        return Packets(np.array(leave)[order], np.array(sizes)[order], bits, sent, facts)

    def decode(self, packets: Packets, lost: np.ndarray, samples: int) -> Decoded:
        frames, sent = packets.facts["frames"], packets.facts["sent"]
        gone = np.zeros(len(sent), dtype=bool)
        gone[packets.facts["order"]] = lost
        data, missing = [], []
        stride = self.block + self.parity
        for first in range(0, len(sent), stride):
            block, holes = sent[first : first + stride], gone[first : first + stride]
            count = len(block) - self.parity
            if holes.any() and holes.sum() <= self.parity:
                data += self._repaired(block, holes)[:count]
                missing += [False] * count
            else:
                data += block[:count]
                missing += holes[:count].tolist()
        received = arrived(data, np.array(missing), "sequential", len(frames), True)
        return self.own.play(packets, received, samples)

    def _repaired(self, block: list[bytes], holes: np.ndarray) -> list[bytes]:
        from reedsolo import RSCodec

        code = RSCodec(self.parity)
        places = np.flatnonzero(holes).tolist()
        words = []
        for column in zip(*block, strict=True):
            word = bytearray(column)
            for place in places:
                word[place] = 0
            words.append(code.decode(word, erase_pos=places)[0])
        return [bytes(packet) for packet in zip(*words, strict=True)]
