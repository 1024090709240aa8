# SPDX-License-Identifier: GPL-3.0-or-later
"""What a link on the air looks like: bandwidth, rates, and the sum of symbols of a burst.

A single-carrier burst is, in symbols:

    sync 32 | header 32 bit | payload: 8 (bytes + 2) bit, coded | guard 12

An OFDM burst is, in OFDM symbols of 64 + 16 samples:

    guard 1 | sync 2 | header 1 | payload: 8 (bytes + 2) bit, coded, and 32 bit of the modulator's
    own CRC, on 48 carriers
"""

from dataclasses import dataclass, replace

from .._core import CRC_BYTES

SYNC_SYMBOLS = 32
HEADER_BITS = 32
# Silence in which the pulses of the last symbols, 8 symbols long to each side, die away.
GUARD_SYMBOLS = 12
ROLL_OFF = 0.25
# The longest packet of the packet format and its CRC fit; the end packet has 2 bytes.
LEAST_BYTES, MOST_BYTES = 1, 110

BITS_PER_SYMBOL = {"bpsk": 1, "qpsk": 2}
CODES = ("none", "convolutional", "ldpc")
# Tail of the convolutional code, and the blocks of the LDPC code.
TAIL_BITS = 6
LDPC_INFO_BITS, LDPC_PARITY_BITS = 152, 148

OFDM_LENGTH, OFDM_PREFIX = 64, 16
OFDM_DATA_CARRIERS, OFDM_CARRIERS = 48, 53
OFDM_OVERHEAD_SYMBOLS = 3
OFDM_CRC_BYTES = 4
OFDM_GUARD_SAMPLES = OFDM_LENGTH + OFDM_PREFIX


@dataclass(frozen=True)
class RadioProfile:
    """One way to put packets on the air.

    Attributes:
        name: as the blocks take it.
        waveform: ``single_carrier`` or ``ofdm``.
        modulation: ``bpsk`` or ``qpsk``; for OFDM, of the payload's carriers.
        symbol_rate: symbols a second; for OFDM, OFDM symbols a second.
        samples_per_symbol: of the complex stream.
        code: ``none``, ``convolutional`` (rate 1/2, constraint length 7) or ``ldpc`` (blocks of
            152 information bits and 148 of parity, shortened).
    """

    name: str
    waveform: str
    modulation: str
    symbol_rate: float
    samples_per_symbol: int
    code: str

    @property
    def sample_rate(self) -> float:
        """Samples a second of the complex stream."""
        return self.symbol_rate * self.samples_per_symbol

    @property
    def bandwidth_hz(self) -> float:
        """Occupied: symbol rate times 1.25 (roll-off), or the OFDM carriers in use."""
        if self.waveform == "ofdm":
            return self.sample_rate / OFDM_LENGTH * OFDM_CARRIERS
        return self.symbol_rate * (1 + ROLL_OFF)

    @property
    def noise_bandwidth_hz(self) -> float:
        """Band in which power over noise is Es/N0: the symbol rate, or all carriers in use."""
        if self.waveform == "ofdm":
            return self.sample_rate / OFDM_LENGTH * (OFDM_CARRIERS - 1)
        return self.symbol_rate

    @property
    def bits_per_symbol(self) -> int:
        """Bits on a symbol, or on a carrier of an OFDM symbol."""
        return BITS_PER_SYMBOL[self.modulation]

    @property
    def header_symbols(self) -> int:
        """Symbols of a single-carrier header."""
        return HEADER_BITS // self.bits_per_symbol

    def coded_bits(self, packet_bytes: int) -> int:
        """Bits on the air for a packet and its CRC."""
        if self.waveform == "ofdm":
            bits = coded_bits(self.code, 8 * (packet_bytes + CRC_BYTES))
            return 8 * (-(-bits // 8) + OFDM_CRC_BYTES)
        return coded_bits(self.code, 8 * (packet_bytes + CRC_BYTES))

    def payload_symbols(self, packet_bytes: int) -> int:
        """Symbols that carry a packet and its CRC."""
        carriers = OFDM_DATA_CARRIERS if self.waveform == "ofdm" else 1
        return -(-self.coded_bits(packet_bytes) // (self.bits_per_symbol * carriers))

    def burst_symbols(self, packet_bytes: int) -> int:
        """All symbols of a burst: the sum above, guard included."""
        if self.waveform == "ofdm":
            return OFDM_OVERHEAD_SYMBOLS + self.payload_symbols(packet_bytes) + 1
        known = SYNC_SYMBOLS + self.header_symbols + GUARD_SYMBOLS
        return known + self.payload_symbols(packet_bytes)

    def airtime(self, packet_bytes: int) -> float:
        """Seconds that a packet of 1 to 110 bytes takes.

        Raises:
            ValueError: no such packet.
        """
        if not LEAST_BYTES <= packet_bytes <= MOST_BYTES:
            raise ValueError(
                f"packet_bytes {packet_bytes} is out of range: use {LEAST_BYTES} to {MOST_BYTES}"
            )
        return self.burst_symbols(packet_bytes) / self.symbol_rate

    def largest_packet(self, seconds: float) -> int:
        """Bytes of the largest packet whose burst takes at most ``seconds``; 0 if none does."""
        fitting = (n for n in range(LEAST_BYTES, MOST_BYTES + 1) if self.airtime(n) <= seconds)
        return max(fitting, default=0)


def coded_bits(code: str, info_bits: int) -> int:
    """Bits that leave the encoder for ``info_bits`` that go in."""
    if code == "convolutional":
        return 2 * (info_bits + TAIL_BITS)
    if code == "ldpc":
        return info_bits + LDPC_PARITY_BITS * -(-info_bits // LDPC_INFO_BITS)
    return info_bits


PROFILES = {
    profile.name: profile
    for profile in (
        RadioProfile("ssb", "single_carrier", "qpsk", 1800.0, 4, "convolutional"),
        RadioProfile("ssb_bpsk", "single_carrier", "bpsk", 1800.0, 4, "none"),
        RadioProfile("narrow", "single_carrier", "qpsk", 7200.0, 4, "ldpc"),
        RadioProfile(
            "wide", "ofdm", "bpsk", 250e3 / (OFDM_LENGTH + OFDM_PREFIX), 80, "convolutional"
        ),
    )
}


def find_profile(name: str, modulation: str = "", code: str = "") -> RadioProfile:
    """The profile ``name``, with another modulation or code where one is given.

    Raises:
        ValueError: a name is unknown.
    """
    if name not in PROFILES:
        raise ValueError(f"profile {name!r} is unknown: use one of {', '.join(PROFILES)}")
    profile = PROFILES[name]
    if modulation and modulation not in BITS_PER_SYMBOL:
        known = ", ".join(BITS_PER_SYMBOL)
        raise ValueError(f"modulation {modulation!r} is unknown: use one of {known}")
    if code and code not in CODES:
        raise ValueError(f"code {code!r} is unknown: use one of {', '.join(CODES)}")
    return replace(profile, modulation=modulation or profile.modulation, code=code or profile.code)
