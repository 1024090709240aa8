# SPDX-License-Identifier: GPL-3.0-or-later
"""Station identification: the call sign in Morse code, on the carrier between bursts.

Code and spacing: ITU-R M.1677-1. A dash is 3 dots long, the gap within a character 1, between
characters 3, between words 7; PARIS and the gap behind it are 50, so that a dot takes 1.2 s / wpm.
"""

import numpy as np

from ..packets.call_sign import checked_call_sign

CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/"
SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- "
    "-..- -.-- --.. ----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----. -..-."
)
MORSE = dict(zip(CHARACTERS, SIGNS.split(), strict=True))
WORDS_PER_MINUTE = 20
# So long the carrier rises and falls: it does not click.
EDGE_S = 0.005
# An over has ended when nothing was sent for so long.
GAP_S = 0.3
MOST_MINUTES = 60.0


def keyed(text: str) -> np.ndarray:
    """uint8 ``[dots]``: 1 while the key is down, a word's gap in front and behind."""
    words = []
    for word in text.split():
        letters = [
            "0".join({".": "1", "-": "111"}[sign] for sign in MORSE[letter]) for letter in word
        ]
        words.append("000".join(letters))
    return np.array([int(c) for c in "0" * 7 + ("0" * 7).join(words) + "0" * 7], dtype=np.uint8)


def morse_symbols(text: str, symbol_rate: float) -> np.ndarray:
    """complex64 ``[n]``: a carrier of amplitude 1 that is keyed, in symbols of a modulator."""
    dot = round(1.2 / WORDS_PER_MINUTE * symbol_rate)
    edge = np.hanning(round(2 * EDGE_S * symbol_rate) + 2)
    key = np.repeat(keyed(text).astype(float), dot)
    return np.convolve(key, edge / edge.sum(), mode="same").astype(np.complex64)


class StationIdent:
    """Tells when the call sign is due, by the symbols that were sent.

    At the end of the first over, then of each over that ends ``every_minutes`` or more behind the
    last call, at once when an over goes on for longer than that, and at the end of the stream.

    Args:
        call_sign: of the station.
        every_minutes: 0 for behind each over; at most 60.
        symbol_rate: of the modulator.

    Raises:
        ValueError: it is no call sign, or the minutes are out of range.
    """

    def __init__(self, call_sign: str, every_minutes: float, symbol_rate: float) -> None:
        if not 0 <= every_minutes <= MOST_MINUTES:
            raise ValueError(f"ident_minutes {every_minutes} is out of range: use 0 to 60")
        self.symbols = morse_symbols(f"DE {checked_call_sign(call_sign)}", symbol_rate)
        self._every, self._rate = 60.0 * every_minutes * symbol_rate, symbol_rate
        self.begin()

    def begin(self) -> None:
        """Forgets what was sent, since a stream begins."""
        # Symbols since the last call, and since the last packet.
        self._since = self._gap = 0
        self._called = self.owed = False

    def packet_sent(self, symbols: int) -> None:
        """A packet of so many symbols went out."""
        self._since = self._since + symbols if self.owed or self._called else 0
        self._gap, self.owed = 0, True

    def silence_sent(self, symbols: int) -> None:
        """Notes that nothing went out for the time of so many symbols."""
        self._since += symbols
        self._gap += symbols

    def called(self) -> None:
        """Notes that the call sign went out, so that none is owed."""
        self._since, self._called, self.owed = 0, True, False

    def is_due(self) -> bool:
        """Whether the call sign is to go out now, whatever waits."""
        if not self.owed:
            return False
        late = self._since >= self._every
        if self._gap >= GAP_S * self._rate:
            return late or not self._called
        return late and self._every > 0
