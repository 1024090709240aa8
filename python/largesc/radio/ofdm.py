# SPDX-License-Identifier: GPL-3.0-or-later
"""Payload of an OFDM burst: packet to bytes for the modulator, equalised carriers to packet."""

import numpy as np

from .codes import PacketCode
from .profiles import (
    CRC_BYTES,
    LEAST_BYTES,
    MOST_BYTES,
    OFDM_CRC_BYTES,
    OFDM_LENGTH,
    RadioProfile,
    coded_bits,
)
from .pulses import whitening

# Of the in-tree constellations: QPSK has four times the power of BPSK, sync words and header.
AMPLITUDES = {1: 1.0, 2: 2.0}
# Radians an OFDM symbol that the sync may be wrong, and OFDM symbols from it to the payload.
TURNS = np.linspace(-0.6, 0.6, 61)
ROWS_FROM_SYNC = 2


def make_payload(packet: bytes, code: PacketCode) -> np.ndarray:
    """Packet with its CRC to coded and whitened bytes; a modulator sends the low bit first."""
    bits = code.encode(np.unpackbits(np.frombuffer(packet, dtype=np.uint8)))
    return np.packbits(bits ^ whitening(len(bits)), bitorder="little")


class OfdmReader:
    """Reads payloads of one profile.

    Args:
        profile: of OFDM.
        carriers: the modulator's data carriers in their order, -32 to 31.
    """

    def __init__(self, profile: RadioProfile, carriers: list[int]) -> None:
        self.profile = profile
        self.code = PacketCode(profile.code)
        self._bins = np.array(carriers) + 32
        sizes = range(LEAST_BYTES, MOST_BYTES + 1)
        self._packet_bytes = {self.payload_bytes(n): n for n in sizes}

    def payload_bytes(self, packet_bytes: int) -> int:
        """Bytes that the modulator is given, its own CRC not counted."""
        return -(-coded_bits(self.profile.code, 8 * (packet_bytes + CRC_BYTES)) // 8)

    def read(self, symbols: np.ndarray, channel: np.ndarray | None) -> tuple[bytes, float] | None:
        """Packet with its CRC, unchecked, and Es/N0 in dB; None where no packet is as long.

        Args:
            symbols: complex ``[n]``, equalised, carrier after carrier.
            channel: complex ``[64]``, gain of each carrier, DC in the middle; None if unknown.
        """
        rails = self.profile.bits_per_symbol
        payload = len(symbols) * rails // 8 - OFDM_CRC_BYTES
        packet_bytes = self._packet_bytes.get(payload, 0)
        if not packet_bytes:
            return None
        carriers = len(self._bins)
        rows = -(-len(symbols) // carriers)
        grid = np.zeros(rows * carriers, dtype=complex)
        grid[: len(symbols)] = np.nan_to_num(symbols) / AMPLITUDES[rails]
        weights = np.ones(carriers)
        if channel is not None and len(channel) == OFDM_LENGTH:
            weights = np.abs(np.nan_to_num(channel[self._bins])) ** 2
            weights = np.clip(weights / max(float(np.mean(weights)), 1e-20), 1e-3, 1e3)
        llr, es_n0 = equalise(grid.reshape(rows, carriers), weights, rails)
        bits = 8 * (packet_bytes + CRC_BYTES)
        llr = llr[: coded_bits(self.profile.code, bits)]
        llr = llr * (1.0 - 2.0 * whitening(len(llr)))
        decoded = self.code.decode(llr, bits)
        return np.packbits(decoded).tobytes(), 10 * float(np.log10(max(es_n0, 1e-6)))


def equalise(grid: np.ndarray, weights: np.ndarray, rails: int) -> tuple[np.ndarray, float]:
    """Turns a burst upright and weighs its carriers.

    The channel is known from one sync word, the carrier offset from its halves: both are coarse.
    Of all turns per OFDM symbol the likeliest is taken; then each row's phase and each carrier's
    gain are found again from soft decisions.

    Args:
        grid: complex ``[rows, carriers]``, divided by the estimated channel; 0 where none was sent.
        weights: power of each carrier, of mean 1.
        rails: 1 or 2 bits a symbol.

    Returns:
        Log likelihood ratios, carrier after carrier, and Es/N0.
    """
    sent = (grid != 0).astype(float)
    power = np.sum(weights * sent * np.abs(grid) ** 2) / np.sum(weights * sent)
    # What is beyond amplitude 1 is noise; the channel's own noise counts as well.
    gain = weights / max(float(power) - 1.0, 1e-3)
    rows = np.arange(len(grid))
    turns = np.exp(-1j * TURNS[:, None] * (rows + ROWS_FROM_SYNC))
    likelihoods = [_likelihood(grid * turn[:, None], gain, rails) for turn in turns]
    straight = grid * turns[int(np.argmax(likelihoods))][:, None]
    carriers = np.ones(grid.shape[1], dtype=complex)
    for _ in range(2):
        ideal = _decide(straight * carriers.conj(), gain, rails) * sent
        z = np.sum(straight * carriers.conj() * ideal.conj() * gain, axis=1)
        straight = straight * np.exp(-1j * np.angle(z))[:, None]
        known = 1.0 + np.sum(np.abs(ideal) ** 2, axis=0)
        carriers = (1.0 + np.sum(straight * ideal.conj(), axis=0)) / known
    upright = straight * carriers.conj()
    error = np.sum(weights * np.abs(straight - carriers * ideal) ** 2 * sent) / np.sum(sent)
    noise = max(float(error), 1e-6)
    if rails == 1:
        llr = 4 * upright.real * weights / noise
    else:
        llr = np.stack([upright.real, upright.imag], axis=-1) / np.sqrt(2)
        llr = 4 * llr * weights[:, None] / noise
    return llr.reshape(-1), 1.0 / noise


def _decide(grid: np.ndarray, gain: np.ndarray, rails: int) -> np.ndarray:
    """Expected symbols; ``gain`` is Es/N0 of each carrier."""
    if rails == 1:
        return np.tanh(2 * gain * grid.real)
    scale = np.sqrt(2) * gain
    return (np.tanh(scale * grid.real) + 1j * np.tanh(scale * grid.imag)) / np.sqrt(2)


def _likelihood(grid: np.ndarray, gain: np.ndarray, rails: int) -> float:
    """Log likelihood of upright symbols, to a constant."""
    if rails == 1:
        told = np.logaddexp(2 * gain * grid.real, -2 * gain * grid.real)
    else:
        scale = np.sqrt(2) * gain
        told = np.logaddexp(scale * grid.real, -scale * grid.real)
        told = told + np.logaddexp(scale * grid.imag, -scale * grid.imag)
    return float(np.sum(told))
