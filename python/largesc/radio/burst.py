# SPDX-License-Identifier: GPL-3.0-or-later
"""One single-carrier burst: made from a packet, and read once the receiver knows where it is."""

from dataclasses import dataclass

import numpy as np

from .codes import PacketCode
from .header import all_words, encode_header, read_word
from .profiles import (
    BITS_PER_SYMBOL,
    CODES,
    CRC_BYTES,
    GUARD_SYMBOLS,
    SYNC_SYMBOLS,
    RadioProfile,
)
from .pulses import sync_symbols, to_symbols, whitening
from .tracking import track

# Left-over carrier offset that the header tries, radians a symbol; the sync leaves 0.01 or so.
HEADER_OFFSETS = np.linspace(-0.03, 0.03, 9)
# Share of the energy at which a header of another link is believed.
OTHER_HEADER = 0.5


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
        self._other_headers = {
            name: to_symbols(all_words(), bits) for name, bits in BITS_PER_SYMBOL.items()
        }
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

    def sync_quality(self, symbols: np.ndarray) -> float:
        """Share of the energy of 32 symbols that the sync explains, 0 to 1."""
        sync = symbols[:SYNC_SYMBOLS]
        energy = SYNC_SYMBOLS * float(np.sum(np.abs(sync) ** 2))
        turned = self._turns[:, :SYNC_SYMBOLS] * sync
        return float(np.max(np.abs(turned @ self._sync.conj()))) ** 2 / max(energy, 1e-30)

    def other_header(self, symbols: np.ndarray) -> tuple[str, str] | None:
        """Modulation and code of a sender that is set otherwise; None where that is not told.

        Args:
            symbols: complex ``[64]``, the sync first.
        """
        found = {}
        for modulation, words in self._other_headers.items():
            part = symbols[: SYNC_SYMBOLS + words.shape[1]]
            turned = np.exp(-1j * np.outer(HEADER_OFFSETS, np.arange(len(part)))) * part
            sync = turned[:, :SYNC_SYMBOLS] @ self._sync.conj()
            fit = np.abs(sync + words.conj() @ turned[:, SYNC_SYMBOLS:].T).max(axis=1)
            word = int(np.argmax(fit))
            energy = len(part) * float(np.sum(np.abs(part) ** 2))
            quality = float(fit[word]) ** 2 / max(energy, 1e-30)
            codes = [code for code in CODES if read_word(word, code)]
            if quality >= OTHER_HEADER and codes:
                found[quality] = modulation, codes[0]
        return found[max(found)] if found else None

    def read_payload(self, symbols: np.ndarray, header: Header) -> tuple[bytes, float, np.ndarray]:
        """Packet with its CRC, unchecked, Es/N0 in dB, and the payload's symbols, upright.

        Args:
            symbols: complex ``[n]``, sync to the end of the payload.
        """
        llr, es_n0, upright = track(symbols, header.known, self.profile.bits_per_symbol)
        bits = 8 * (header.packet_bytes + CRC_BYTES)
        llr = llr[: self.profile.coded_bits(header.packet_bytes)]
        llr = llr * (1.0 - 2.0 * whitening(len(llr)))
        decoded = self.code.decode(llr, bits)
        es_n0_db = float(10 * np.log10(max(es_n0, 1e-6)))
        return np.packbits(decoded).tobytes(), es_n0_db, upright
