# SPDX-License-Identifier: GPL-3.0-or-later
"""Radios: blocks of gr-soapy and gr-uhd, set up and checked."""

from dataclasses import dataclass, field

# Clocks are made by dividers: what a radio runs at is seldom exact to the last digit.
RATE_TOLERANCE = 1e-5


@dataclass
class Radio:
    """How to reach a radio, and how to set it.

    Attributes:
        library: ``soapy`` or ``uhd``.
        device: device string of that library, such as ``driver=rtlsdr`` or ``type=b200``.
        sample_rate: in samples a second.
        frequency: in Hz.
        gains: in dB by the name of the stage; the name is empty for the sum of all. Empty: the
            radio's own, or its automatic one.
        antenna: name of the socket, empty for the default one.
    """

    library: str
    device: str
    sample_rate: float
    frequency: float
    gains: dict[str, float] = field(default_factory=dict)
    antenna: str = ""

    def source(self) -> object:
        """Block of complex samples from the radio.

        Raises:
            ValueError: it is not there or refuses a setting.
        """
        return self._opened("source", "")

    def sink(self, length_tag: str = "") -> object:
        """Block of complex samples to the radio.

        Args:
            length_tag: at the beginning of each burst; empty for a steady stream.

        Raises:
            ValueError: it is not there or refuses a setting.
        """
        return self._opened("sink", length_tag)

    def _opened(self, end: str, length_tag: str) -> object:
        soapy = self.library == "soapy"
        try:
            block = (make_soapy if soapy else make_uhd)(end, self.device, length_tag)
        except (ImportError, RuntimeError, ValueError, LookupError) as error:
            lister = "SoapySDRUtil --find" if soapy else "uhd_find_devices"
            raise ValueError(
                f"no radio answers to {self.device!r} ({self.library}: {one_line(error)}). Is it "
                f"plugged in, is it free, is its driver installed? {lister!r} lists what there is"
            ) from error
        try:
            rate = self._set_soapy(block) if soapy else self._set_uhd(block)
        except (RuntimeError, ValueError, LookupError) as error:
            raise ValueError(
                f"the radio {self.device!r} refuses a setting: {one_line(error)}"
            ) from error
        if abs(rate - self.sample_rate) > RATE_TOLERANCE * self.sample_rate:
            raise ValueError(
                f"the radio {self.device!r} runs at {rate:.10g} samples a second instead of "
                f"{self.sample_rate:g}: give it a rate that it has"
            )
        return block

    def _set_soapy(self, block: object) -> float:
        block.set_sample_rate(0, self.sample_rate)
        block.set_frequency(0, self.frequency)
        if self.antenna:
            block.set_antenna(0, self.antenna)
        if block.has_gain_mode(0):
            block.set_gain_mode(0, not self.gains)
        for name, gain in self.gains.items():
            block.set_gain(0, *([name] if name else []), gain)
        return block.get_sample_rate(0)

    def _set_uhd(self, block: object) -> float:
        block.set_samp_rate(self.sample_rate)
        block.set_center_freq(self.frequency, 0)
        if self.antenna:
            block.set_antenna(self.antenna, 0)
        for name, gain in self.gains.items():
            block.set_gain(gain, *([name] if name else []), 0)
        return block.get_samp_rate()


def one_line(error: Exception) -> str:
    """Text of an error; UHD's has several lines."""
    return " ".join(str(error).split())


def make_soapy(end: str, device: str, length_tag: str) -> object:
    """A source or sink of gr-soapy."""
    from gnuradio import soapy

    block = getattr(soapy, end)(device, "fc32", 1, "", "", [""], [""])
    if length_tag:
        block.set_length_tag_name(length_tag)
    return block


def make_uhd(end: str, device: str, length_tag: str) -> object:
    """A source or sink of gr-uhd."""
    from gnuradio import uhd

    stream = uhd.stream_args(cpu_format="fc32", channels=[0])
    if end == "source":
        return uhd.usrp_source(device, stream)
    return uhd.usrp_sink(device, stream, length_tag)
