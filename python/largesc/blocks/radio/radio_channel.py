# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: the air between two radios, of gr-channels' models."""

import math
import weakref
from dataclasses import dataclass, replace

from gnuradio import channels, gr

from ..._blocks import at_stop
from ..block_base import setter

FADINGS = ("none", "rayleigh", "selective")
# Sinusoids that a fading path is made of.
SINUSOIDS = 8
# Taps of the selective model: how far paths may lie apart, and room for their shape.
MOST_DELAY_SAMPLES = 32.0
SELECTIVE_TAPS = 48
# Of the sample rate.
MOST_DOPPLER = 0.1
MOST_SNR_DB = 200.0


@dataclass(frozen=True)
class _Air:
    """Settings of the channel, as the block takes them.

    Raises:
        ValueError: one is out of range.
    """

    sample_rate: float
    snr_db: float
    snr_bandwidth_hz: float
    amplitude: float
    carrier_offset_hz: float
    clock_ppm: float
    fading: str
    doppler_hz: float
    delay_us: float
    seed: int

    def __post_init__(self) -> None:
        rate = self.sample_rate
        most_delay_us = 1e6 * MOST_DELAY_SAMPLES / rate if rate > 0 else math.inf
        for name, good, use in (
            ("sample_rate", 0 < rate < math.inf, "more than 0"),
            ("snr_db", abs(self.snr_db) <= MOST_SNR_DB, f"at most {MOST_SNR_DB:g}, for no noise"),
            ("snr_bandwidth_hz", 0 <= self.snr_bandwidth_hz < math.inf, "0 or more"),
            ("amplitude", 0 < self.amplitude <= 1, "more than 0, at most 1"),
            (
                "carrier_offset_hz",
                abs(self.carrier_offset_hz) <= rate / 2,
                f"at most half of the sample rate, {rate / 2:g}, to either side",
            ),
            ("clock_ppm", abs(self.clock_ppm) <= 1000, "-1000 to 1000"),
            ("fading", self.fading in FADINGS, f"one of {', '.join(FADINGS)}"),
            (
                "doppler_hz",
                0 < self.doppler_hz <= MOST_DOPPLER * rate,
                f"more than 0, at most a tenth of the sample rate, {MOST_DOPPLER * rate:g}",
            ),
            (
                "delay_us",
                0 <= self.delay_us <= most_delay_us * (1 + 1e-9),
                f"0 to {MOST_DELAY_SAMPLES:g} samples, {most_delay_us:g}",
            ),
            ("seed", self.seed >= 1, "1 or more"),
        ):
            if not good:
                raise ValueError(f"{name} {getattr(self, name)!r} is out of range: use {use}")

    @property
    def noise_voltage(self) -> float:
        """Deviation of the complex noise in a sample."""
        share = self.sample_rate / (self.snr_bandwidth_hz or self.sample_rate)
        return self.amplitude * math.sqrt(share) * 10 ** (-self.snr_db / 20)


class radio_channel(gr.hier_block2):  # noqa: N801
    """Fading, carrier offset, sample clock offset and noise, in this order, all seeded.

    Input and output: complex stream. What has a setter can be changed while the flowgraph runs; a
    value out of range is then refused, counted and said once, and the old one stays.

    Args:
        sample_rate: of the stream, in samples a second.
        snr_db: power of a burst over that of the noise in ``snr_bandwidth_hz``, -200 to 200.
        snr_bandwidth_hz: in which the noise is counted; 0 for all of the stream. With the symbol
            rate, ``snr_db`` is Es/N0.
        amplitude: RMS of a burst, as of packet_radio_tx; fading is around it.
        carrier_offset_hz: how much higher the signal comes than it was sent, up to half of the
            sample rate to either side.
        clock_ppm: how much slower the receiver samples than the sender, -1000 to 1000.
        fading: `none`, `rayleigh` (all frequencies alike) or `selective` (two Rayleigh paths of
            the same mean power).
        doppler_hz: greatest Doppler shift, up to a tenth of the sample rate.
        delay_us: of the second path, in microseconds, up to 32 samples.
        seed: of noise and fading, 1 or more.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        sample_rate: float = 7200.0,
        snr_db: float = MOST_SNR_DB,
        snr_bandwidth_hz: float = 0.0,
        amplitude: float = 0.5,
        carrier_offset_hz: float = 0.0,
        clock_ppm: float = 0.0,
        fading: str = "none",
        doppler_hz: float = 1.0,
        delay_us: float = 0.0,
        seed: int = 1,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "radio_channel",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        self.counters = {"refused_settings": 0}
        self._air = _Air(
            sample_rate, snr_db, snr_bandwidth_hz, amplitude, carrier_offset_hz, clock_ppm,
            fading, doppler_hz, delay_us, seed,
        )  # fmt: skip
        # Not by a circle of references: who keeps no channel keeps no flowgraph.
        this = weakref.ref(self)

        def renew() -> None:
            if (channel := this()) is not None:
                channel._renew()

        self._end = at_stop(gr.sizeof_gr_complex, renew)
        self._build()

    def _renew(self) -> None:
        """Puts new models in place of those that go on where a run ended."""
        # Their threads may not be over yet.
        self._before = self._fading, self.model
        self.disconnect_all()
        self._build()

    def _build(self) -> None:
        air, chain = self._air, [self]
        doppler, delay = air.doppler_hz / air.sample_rate, 1e-6 * air.delay_us * air.sample_rate
        self._fading = None
        if air.fading == "rayleigh":
            self._fading = channels.fading_model(SINUSOIDS, doppler, False, 0.0, air.seed)
        elif air.fading == "selective":
            self._fading = channels.selective_fading_model(
                SINUSOIDS,
                doppler,
                False,
                0.0,
                air.seed,
                [4.0, 4.0 + delay],
                [math.sqrt(0.5)] * 2,
                SELECTIVE_TAPS,
            )
        if self._fading is not None:
            chain.append(self._fading)
        # The air carries no tags.
        self.model = channels.channel_model(
            air.noise_voltage,
            air.carrier_offset_hz / air.sample_rate,
            1.0 + 1e-6 * air.clock_ppm,
            [1.0 + 0.0j],
            air.seed,
            True,
        )
        self.connect(*chain, self.model, self._end, self)

    def _change(self, **changed: float) -> _Air:
        self._air = replace(self._air, **changed)
        return self._air

    @setter
    def set_snr_db(self, snr_db: float) -> None:
        """Changes the noise while running."""
        self.model.set_noise_voltage(self._change(snr_db=snr_db).noise_voltage)

    @setter
    def set_amplitude(self, amplitude: float) -> None:
        """Changes the amplitude that the noise is measured by, and so the noise, while running."""
        self.model.set_noise_voltage(self._change(amplitude=amplitude).noise_voltage)

    @setter
    def set_carrier_offset_hz(self, carrier_offset_hz: float) -> None:
        """Changes the carrier offset while running."""
        air = self._change(carrier_offset_hz=carrier_offset_hz)
        self.model.set_frequency_offset(air.carrier_offset_hz / air.sample_rate)

    @setter
    def set_clock_ppm(self, clock_ppm: float) -> None:
        """Changes the offset of the sample clock while running."""
        self.model.set_timing_offset(1.0 + 1e-6 * self._change(clock_ppm=clock_ppm).clock_ppm)

    @setter
    def set_doppler_hz(self, doppler_hz: float) -> None:
        """Changes how fast the signal fades while running."""
        air = self._change(doppler_hz=doppler_hz)
        if self._fading is not None:
            self._fading.set_fDTs(air.doppler_hz / air.sample_rate)

    def statistics(self) -> dict[str, int]:
        """Returns the counter `refused_settings`: values that setters refused."""
        return dict(self.counters)
