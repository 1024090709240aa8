# SPDX-License-Identifier: GPL-3.0-or-later
"""Radios: blocks of gr-soapy, gr-uhd and gr-audio, set up and checked."""

import math
from dataclasses import dataclass, field

from gnuradio import audio, blocks, filter, gr

# Clocks are made by dividers: what a radio runs at is seldom exact to the last digit.
RATE_TOLERANCE = 1e-5
# Audio frequency that is the centre of the signal: of an SSB filter from 300 to 2700 Hz.
AUDIO_CENTRE_HZ = 1500.0
# The signal and some offset are let through, its mirror image is not.
PASS_HZ, TRANSITION_HZ = 1600.0, 500.0
LISTERS = {
    "soapy": "SoapySDRUtil --find",
    "uhd": "uhd_find_devices",
    "audio": "arecord -L",
}


@dataclass
class Radio:
    """How to reach a radio, and how to set it.

    Attributes:
        library: ``soapy``, ``uhd`` or ``audio``, the sound card of an SSB transceiver.
        device: as that library names it: ``driver=rtlsdr``, ``type=b200``, ``plughw:1,0``.
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
        make = {"soapy": make_soapy, "uhd": make_uhd, "audio": self._audio}[self.library]
        try:
            block = make(end, self.device, length_tag)
        except (ImportError, RuntimeError, ValueError, LookupError) as error:
            raise ValueError(
                f"no radio answers to {self.device!r} ({self.library}: {one_line(error)}). Is it "
                f"plugged in, is it free, is its driver installed? {LISTERS[self.library]!r} lists "
                "what there is"
            ) from error
        if self.library == "audio":
            return block
        try:
            rate = self._set_soapy(block) if self.library == "soapy" else self._set_uhd(block)
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

    def _audio(self, end: str, device: str, length_tag: str) -> object:
        make = from_sound_card if end == "source" else to_sound_card
        rate = round(self.sample_rate)
        return make(rate, getattr(audio, end)(rate, device, True))

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


class from_sound_card(gr.hier_block2):  # noqa: N801
    """Audio of an SSB receiver to complex samples, the audio's centre at 0 Hz.

    Output: complex stream. Of two real sidebands one is left: amplitude 1 becomes 1.

    Args:
        rate_hz: of both streams.
        card: block that gives the audio.
    """

    def __init__(self, rate_hz: int, card: object) -> None:
        gr.hier_block2.__init__(
            self,
            "from_sound_card",
            gr.io_signature(0, 0, 0),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        taps = filter.firdes.low_pass(2.0, rate_hz, PASS_HZ, TRANSITION_HZ)
        down = filter.freq_xlating_fir_filter_fcf(1, taps, AUDIO_CENTRE_HZ, rate_hz)
        self.connect(card, down, self)


class to_sound_card(gr.hier_block2):  # noqa: N801
    """Complex samples to the audio of an SSB transmitter, 0 Hz at the audio's centre.

    Input: complex stream.

    Args:
        rate_hz: of both streams.
        card: block that takes the audio.
    """

    def __init__(self, rate_hz: int, card: object) -> None:
        gr.hier_block2.__init__(
            self,
            "to_sound_card",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(0, 0, 0),
        )
        up = blocks.rotator_cc(2 * math.pi * AUDIO_CENTRE_HZ / rate_hz)
        self.connect(self, up, blocks.complex_to_real(1), card)
