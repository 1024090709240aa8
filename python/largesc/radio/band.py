# SPDX-License-Identifier: GPL-3.0-or-later
"""Where in the band signals are: a spectrum in short steps, over the noise around them.

The band is cut into channels, so near to each other that the search of one reaches the next. A
channel's level is the power within a symbol rate around its middle.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np

# Symbols of a spectrum, half of which the next one shares; bins of 1 / 24 of the symbol rate.
FRAME_SYMBOLS = 24
# Bins from one channel to the next: 0.208 of the symbol rate.
CHANNEL_BINS = 5
SPACING = CHANNEL_BINS / FRAME_SYMBOLS
# Channels to each side that a signal of one symbol rate fills.
SIDE = 2
# Share of the sample rate to each side that filters before the receiver leave as it is.
USABLE = 0.4
# Of the noise: what a level must reach to be a signal. White noise does so in one of 6000.
SIGNAL = 1.7
# The noise is found from the lower quarter of all levels of some seconds; white noise has this
# share of its mean there.
QUARTER, QUARTER_OF_NOISE = 0.25, 0.744
HISTORY_SECONDS = 2.0
# Signals that are followed at a time, and how far apart they are, in channels.
MOST_SIGNALS, APART = 2, 6


@dataclass(frozen=True)
class Signal:
    """What stood out of the noise in the last seconds.

    Attributes:
        offset: of its middle, in cycles a symbol.
        width: in cycles a symbol, coarse.
        level_db: over the noise in the same band.
        share: of the time that something stood out, 0 to 1.
        everywhere: it fills all of the band that is looked at, and may be wider.
    """

    offset: float
    width: float
    level_db: float
    share: float
    everywhere: bool


class Band:
    """Levels of the channels around the centre, over the last seconds.

    Args:
        samples_per_symbol: of the stream.
        symbol_rate: symbols a second.
        channels: to each side of the centre.
    """

    def __init__(self, samples_per_symbol: int, symbol_rate: float, channels: int) -> None:
        self._frame = FRAME_SYMBOLS * samples_per_symbol
        self._hop = self._frame // 2
        window = np.hanning(self._frame + 1)[:-1]
        self._window = (window / np.sqrt(np.sum(window**2))).astype(np.float32)
        # Blocks as wide as the channels lie apart, with those at the sides of the outermost.
        most = int(USABLE * self._frame / CHANNEL_BINS - 0.5)
        blocks = min(channels + SIDE, most)
        self.channels = blocks - SIDE
        self._first_bin = self._frame // 2 - blocks * CHANNEL_BINS - CHANNEL_BINS // 2
        self._blocks = 2 * blocks + 1
        self._samples = np.zeros(0, dtype=np.complex64)
        self._frames = 0
        self._last = np.zeros((0, self._blocks))
        count = round(HISTORY_SECONDS * symbol_rate * 2 / FRAME_SYMBOLS)
        self._levels: deque[np.ndarray] = deque(maxlen=count)
        self._noise, self._noise_at = 0.0, 0
        self._every = max(1, count // 8)

    def push(self, samples: np.ndarray) -> None:
        """Takes complex64 samples, all in their order."""
        samples = np.concatenate([self._samples, samples])
        count = (len(samples) - self._frame) // self._hop + 1
        if count <= 0:
            self._samples = samples
            return
        frames = np.lib.stride_tricks.sliding_window_view(samples, self._frame)[:: self._hop]
        spectrum = np.fft.fftshift(np.fft.fft(frames[:count] * self._window, axis=1), axes=1)
        used = spectrum[:, self._first_bin : self._first_bin + CHANNEL_BINS * self._blocks]
        power = (used.real**2 + used.imag**2).reshape(count, self._blocks, CHANNEL_BINS).mean(2)
        # Levels are means over three frames, of which two lie within a burst's sync and header.
        power = np.concatenate([self._last, power])
        self._last = power[-2:]
        for n in range(len(power) - 2):
            self._levels.append(power[n : n + 3].mean(axis=0))
        self._frames += max(0, len(power) - 2)
        self._samples = samples[count * self._hop :].copy()
        if self._frames >= self._noise_at:
            self._noise_at = self._frames + self._every
            self._noise = self._find_noise()

    def _find_noise(self) -> float:
        levels = np.array(self._levels)
        # Digital silence tells nothing of the noise between bursts.
        levels = levels[levels.max(axis=1) > 0] if len(levels) else levels
        if not len(levels):
            return 0.0
        noise = float(np.quantile(levels, QUARTER)) / QUARTER_OF_NOISE
        return max(noise, 1e-9 * float(levels.max()))

    def _channel_levels(self, levels: np.ndarray) -> np.ndarray:
        """Blocks ``[n, blocks]`` to channels ``[n, 2 * channels + 1]``, over the noise."""
        windows = np.lib.stride_tricks.sliding_window_view(levels, 2 * SIDE + 1, axis=1)
        return windows.mean(axis=2) / max(self._noise, 1e-30)

    def signals(self, first: int, last: int) -> list[int]:
        """Channels, 0 the centre, that had a signal between two samples; the strongest first."""
        # Frame n of the history begins at sample n * hop, and is three of them long.
        oldest = self._frames - len(self._levels)
        begin = max(0, first // self._hop - 1 - oldest)
        end = max(0, -(-last // self._hop) - oldest)
        levels = [self._levels[n] for n in range(begin, min(end, len(self._levels)))]
        if not levels or not self._noise:
            return []
        best = self._channel_levels(np.array(levels)).max(axis=0)
        found = []
        while len(found) < MOST_SIGNALS and best.max() > SIGNAL:
            place = int(np.argmax(best))
            found.append(place - self.channels)
            best[max(0, place - APART) : place + APART + 1] = 0.0
        return found

    def seen(self) -> Signal | None:
        """The strongest signal of the last seconds; None where nothing stands out."""
        if not len(self._levels) or not self._noise:
            return None
        blocks = np.array(self._levels)
        levels = self._channel_levels(blocks)
        loud = levels.max(axis=1) > SIGNAL
        if not loud.any():
            return None
        mean = np.maximum(blocks[loud].mean(axis=0) / self._noise - 1, 0)
        place = int(np.argmax(levels[loud].sum(axis=0))) + SIDE
        level = float(mean[place - SIDE : place + SIDE + 1].mean())
        # Its neighbours, as far as they have a quarter of the strongest one's power.
        strong = mean > 0.25 * mean.max()
        low = high = place
        while low > 0 and strong[low - 1]:
            low -= 1
        while high < len(strong) - 1 and strong[high + 1]:
            high += 1
        weights = mean[low : high + 1]
        middle = float(np.sum(weights * np.arange(low, high + 1)) / max(weights.sum(), 1e-30))
        return Signal(
            offset=(middle - len(strong) // 2) * SPACING,
            width=(high - low + 1) * SPACING,
            level_db=float(10 * np.log10(max(level, 1e-3))),
            share=float(loud.mean()),
            everywhere=low == 0 and high == len(strong) - 1,
        )

    def spectrum_db(self) -> tuple[np.ndarray, np.ndarray]:
        """Offsets in cycles a symbol, and the greatest power there in the last seconds in dB.

        The power is over the noise; both are empty until there is any.
        """
        if not len(self._levels) or not self._noise:
            return np.zeros(0), np.zeros(0)
        power = np.array(self._levels).max(axis=0) / self._noise
        places = np.arange(self._blocks) - self._blocks // 2
        return places * SPACING, 10 * np.log10(np.maximum(power, 1e-3))
