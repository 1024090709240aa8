# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: the air between two radios, of gr-channels' models."""

import math

from gnuradio import channels, gr

from ..block_base import setter

FADINGS = ("none", "rayleigh", "selective")
# Sinusoids that a fading path is made of.
SINUSOIDS = 8
# Taps of the selective model: how far paths may lie apart, and room for their shape.
MOST_DELAY = 32.0
SELECTIVE_TAPS = 48


class radio_channel(gr.hier_block2):  # noqa: N801
    """Fading, carrier offset, sample clock offset and noise, in this order, all seeded.

    Input and output: complex stream.

    Args:
        noise_voltage: deviation of the complex noise; its power is the square.
        frequency_offset: of the carrier, in cycles a sample.
        clock_ppm: how much slower the receiver samples than the sender, -1000 to 1000.
        fading: `none`, `rayleigh` (all frequencies alike) or `selective` (two Rayleigh paths of
            the same mean power).
        doppler: greatest Doppler shift in cycles a sample, up to 0.1.
        delay: of the second path, in samples, up to 32.
        seed: of noise and fading, 1 or more.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        noise_voltage: float = 0.0,
        frequency_offset: float = 0.0,
        clock_ppm: float = 0.0,
        fading: str = "none",
        doppler: float = 1e-4,
        delay: float = 2.0,
        seed: int = 1,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "radio_channel",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        self.counters = {"refused_settings": 0}
        if fading not in FADINGS:
            raise ValueError(f"fading {fading!r} is unknown: use one of {', '.join(FADINGS)}")
        if not 0 < doppler <= 0.1:
            raise ValueError(f"doppler {doppler} is out of range: use more than 0, at most 0.1")
        if not 0 <= delay <= MOST_DELAY:
            raise ValueError(f"delay {delay} is out of range: use 0 to {MOST_DELAY:g} samples")
        if seed < 1:
            raise ValueError(f"seed {seed} is out of range: use 1 or more")
        chain = [self]
        if fading == "rayleigh":
            chain.append(channels.fading_model(SINUSOIDS, doppler, False, 0.0, seed))
        elif fading == "selective":
            chain.append(
                channels.selective_fading_model(
                    SINUSOIDS,
                    doppler,
                    False,
                    0.0,
                    seed,
                    [4.0, 4.0 + delay],
                    [math.sqrt(0.5)] * 2,
                    SELECTIVE_TAPS,
                )
            )
        # The air carries no tags.
        self.model = channels.channel_model(
            checked_noise(noise_voltage),
            checked_offset(frequency_offset),
            clock_ratio(clock_ppm),
            [1.0 + 0.0j],
            seed,
            True,
        )
        self.connect(*chain, self.model, self)

    @setter
    def set_noise_voltage(self, noise_voltage: float) -> None:
        """Changes the noise while running."""
        self.model.set_noise_voltage(checked_noise(noise_voltage))

    @setter
    def set_frequency_offset(self, frequency_offset: float) -> None:
        """Changes the carrier offset while running."""
        self.model.set_frequency_offset(checked_offset(frequency_offset))

    @setter
    def set_clock_ppm(self, clock_ppm: float) -> None:
        """Changes the sample clock while running."""
        self.model.set_timing_offset(clock_ratio(clock_ppm))

    def statistics(self) -> dict[str, int]:
        """Counter: refused_settings."""
        return dict(self.counters)


def checked_noise(noise_voltage: float) -> float:
    """Returns the deviation of the noise, or raises ValueError below 0."""
    if not 0 <= noise_voltage < math.inf:
        raise ValueError(f"noise_voltage {noise_voltage} is out of range: use 0 or more")
    return float(noise_voltage)


def checked_offset(frequency_offset: float) -> float:
    """Returns the carrier offset, or raises ValueError beyond half a cycle a sample."""
    if not abs(frequency_offset) <= 0.5:
        raise ValueError(
            f"frequency_offset {frequency_offset} is out of range: use -0.5 to 0.5, "
            "in cycles a sample"
        )
    return float(frequency_offset)


def clock_ratio(clock_ppm: float) -> float:
    """Samples of the sender for one of the receiver; raises ValueError beyond 1000 ppm."""
    if not abs(clock_ppm) <= 1000:
        raise ValueError(f"clock_ppm {clock_ppm} is out of range: use -1000 to 1000")
    return 1.0 + 1e-6 * clock_ppm
