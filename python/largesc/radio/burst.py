# SPDX-License-Identifier: GPL-3.0-or-later
"""One single-carrier burst: made from a packet, and read once the receiver knows where it is."""

from dataclasses import dataclass

import numpy as np

from .codes import PacketCode
from .header import all_words, encode_header, read_word
from .profiles import CRC_BYTES, GUARD_SYMBOLS, SYNC_SYMBOLS, RadioProfile
from .pulses import sync_symbols, to_symbols, whitening
from .tracking import track

# Left-over carrier offset that the header tries, radians a symbol; the sync leaves 0.01 or so.
HEADER_OFFSETS = np.linspace(-0.03, 0.03, 9)


def make_burst(packet: bytes, profile: RadioProfile, code: PacketCode) -> np.ndarray:
    """Symbols of a packet that ends with its CRC: sync, header, payload, guard.

    Returns:
        complex64 ``[profile.burst_symbols(len(packet) - 2)]``, of energy 1 but for the guard.
    """
    bits = np.unpackbits(np.frombuffer(packet, dtype=np.uint8))
    coded = code.encode(bits)
    coded = coded ^ whitening(len(coded))
    # An odd bit at the end of QPSK.
    coded = np.pad(coded, (0, -len(coded) % profile.bits_per_symbol))
    header = encode_header(len(packet) - CRC_BYTES, code.name)
    return np.concatenate(
        [
            sync_symbols(),
            to_symbols(header, profile.bits_per_symbol),
            to_symbols(coded, profile.bits_per_symbol),
            np.zeros(GUARD_SYMBOLS, dtype=np.complex64),
        ]
    )


@dataclass(frozen=True)
class Header:
    """A header that was read.

    Attributes:
        packet_bytes: length, without the CRC.
        known: complex ``[n]``, the symbols of sync and header.
        quality: share of the energy that fits, 0 to 1.
    """

    packet_bytes: int
    known: np.ndarray
    quality: float


class BurstReader:
    """Reads bursts of one profile from symbols at the right times.

    Args:
        profile: of single carrier.
        code: the decoder.
    """

    def __init__(self, profile: RadioProfile, code: PacketCode) -> None:
        self.profile = profile
        self.code = code
        self._sync = sync_symbols()
        self._headers = to_symbols(all_words(), profile.bits_per_symbol)
        # [offset, symbol]
        count = SYNC_SYMBOLS + profile.header_symbols
        self._turns = np.exp(-1j * np.outer(HEADER_OFFSETS, np.arange(count)))

    def read_header(self, symbols: np.ndarray) -> Header | None:
        """Header behind a sync, ``[32 + header_symbols]`` with little carrier offset left.

        Of all words and offsets the one is taken that together with the sync fits best. None when
        that is a word that this link does not send.
        """
        turned = self._turns * symbols
        sync = turned[:, :SYNC_SYMBOLS] @ self._sync.conj()
        fit = np.abs(sync + self._headers.conj() @ turned[:, SYNC_SYMBOLS:].T)
        word = int(np.argmax(fit.max(axis=1)))
        length = read_word(word, self.code.name)
        if not length:
            return None
        energy = len(symbols) * float(np.sum(np.abs(symbols) ** 2))
        quality = float(fit[word].max()) ** 2 / max(energy, 1e-30)
        return Header(length, np.concatenate([self._sync, self._headers[word]]), quality)

    def read_payload(self, symbols: np.ndarray, header: Header) -> tuple[bytes, float]:
        """Packet with its CRC, unchecked, and Es/N0 in dB.

        Args:
            symbols: complex ``[n]``, sync to the end of the payload.
        """
        llr, es_n0 = track(symbols, header.known, self.profile.bits_per_symbol)
        bits = 8 * (header.packet_bytes + CRC_BYTES)
        llr = llr[: self.profile.coded_bits(header.packet_bytes)]
        llr = llr * (1.0 - 2.0 * whitening(len(llr)))
        decoded = self.code.decode(llr, bits)
        return np.packbits(decoded).tobytes(), float(10 * np.log10(max(es_n0, 1e-6)))
