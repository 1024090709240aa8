# SPDX-License-Identifier: GPL-3.0-or-later
"""Analogue speech from sender to receiver over simulated air, in one process."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from ..options import AnalogueOptions
from ..radio.air import NOISE_BANDWIDTH_HZ, SILENCE_SYMBOLS, SimulatedAir
from ..radio.speech_burst import OVER_SYMBOLS
from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from .analogue_speech import AnalogueReceiver, AnalogueSender


class AnalogueLoopback:
    """A sender, air and a receiver.

    Args:
        options: of both ends.
        snr_db: power while sending over the noise in 3 kHz; None: no noise.
        doppler_hz: of Rayleigh fading; None: none.
        seed: of the air.
        offset_hz: of the carrier.

    Raises:
        ModelError, ValueError: as :class:`AnalogueSender`.
    """

    def __init__(
        self,
        options: AnalogueOptions,
        snr_db: float | None,
        doppler_hz: float | None,
        seed: int,
        offset_hz: float = 50.0,
    ) -> None:
        self.sender, self.receiver = AnalogueSender(options), AnalogueReceiver(options)
        self._rate, self._length = self.sender.profile.symbol_rate, self.sender.length
        symbol_snr_db = None
        if snr_db is not None:
            symbol_snr_db = snr_db + 10.0 * np.log10(NOISE_BANDWIDTH_HZ / self._rate)
        rng = np.random.default_rng(seed)
        profile = self.sender.profile
        self._air = SimulatedAir(profile, symbol_snr_db, doppler_hz, offset_hz, rng)

    def run(self, speech: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """24 kHz speech in pieces of any length to what is heard, on the clock of what was said."""
        late, left = round(self.receiver.delay_s * SAMPLE_RATE_HZ), 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal left
            for samples in speech:
                left += len(samples)
                yield samples

        for samples in self._samples(counted()):
            heard = self.receiver.push(samples)
            skipped = min(len(heard), late)
            late -= skipped
            heard = heard[skipped:][:left]
            left -= len(heard)
            yield heard

    def figures(self) -> dict[str, float | None]:
        """What was sent and received: counters of both ends, and means over the bursts read.

        Returns:
            ``bursts_sent``, ``pauses`` and the receiver's counters; ``symbol_snr_db`` as measured,
            ``unsure``, None where no burst was read; ``bandwidth_hz``, ``symbols_per_s``,
            ``delay_s``.
        """
        sent, profile = self.sender.counters, self.sender.profile
        read, means = self.receiver.counters["bursts"], self.receiver.means()
        return self.receiver.counters | {
            "bursts_sent": sent["bursts"],
            "pauses": sent["pauses"],
            "symbol_snr_db": round(means["snr_db"], 2) if read else None,
            "unsure": round(means["unsure"], 4) if read else None,
            "bandwidth_hz": profile.bandwidth_hz,
            "symbols_per_s": profile.symbol_rate,
            "delay_s": round(self.receiver.delay_s, 3),
        }

    def _samples(self, speech: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Samples of the air, a burst or a pause at a time."""
        edge = np.zeros(SILENCE_SYMBOLS, dtype=np.complex64)
        # While the first burst is said there is silence.
        now, at_s = np.concatenate([edge, np.zeros(self._length, np.complex64)]), 0.0
        behind = np.zeros(OVER_SYMBOLS + 2 * self._length, dtype=np.complex64)
        for symbols in chain(slots_of(self.sender, speech), [behind, edge]):
            wide = np.concatenate([now, symbols[:SILENCE_SYMBOLS]])
            yield self._air.piece(wide, at_s)
            at_s += (len(wide) - 2 * SILENCE_SYMBOLS) / self._rate
            now = np.concatenate([now[-SILENCE_SYMBOLS:], symbols])


def slots_of(sender: AnalogueSender, speech: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Symbols of each 0.64 s of 24 kHz speech: a burst, or zeros in a pause."""
    pauses = sender.counters["pauses"]
    for samples in speech:
        for first in range(0, len(samples), FRAME_SAMPLES):
            found = sender.push(samples[first : first + FRAME_SAMPLES])
            if sender.counters["pauses"] > pauses:
                pauses += 1
                found = [np.zeros(sender.length, dtype=np.complex64)]
            yield from found
    yield from sender.flush()
