# SPDX-License-Identifier: GPL-3.0-or-later
"""Sender and receiver of radio.py with --analogue: speech as analogue symbols, without packets."""

import argparse

from gnuradio import largesc
from gnuradio.largesc.radio.air import NOISE_BANDWIDTH_HZ
from gnuradio.largesc.radio.profiles import RadioProfile
from radio_flowgraphs import Receiver, Sender
from sigmf_files import ANALOGUE, Marked

# Peaks are 2.4 times as high, below a full scale of 1.
AMPLITUDE = 0.35


class AnalogueSender(Sender):
    """Speech in real time, analogue_speech_tx, and a radio or what takes its place."""

    about, prefix = "speech as analogue symbols of gr-largesc", ANALOGUE

    def levels(self, profile: RadioProfile) -> tuple[float, float]:
        """Amplitude of a burst, and the band in which noise is counted."""
        return AMPLITUDE, NOISE_BANDWIDTH_HZ

    def make_modem(self, args: argparse.Namespace, profile: RadioProfile, amplitude: float) -> None:
        """Makes the block from speech to samples."""
        self.modem = largesc.analogue_speech_tx(
            profile=profile.name,
            amplitude=amplitude,
            sample_rate=args.sample_rate,
            continuous=True,
            call_sign=args.call_sign,
            ident_minutes=args.ident_minutes,
        )

    def connect_speech(self, speech: object, args: argparse.Namespace) -> None:
        """Connects a source of speech with the modem."""
        self.connect(speech, self.modem)

    def statistics(self) -> dict:
        """Counters of the modem."""
        return {"modem": self.modem.statistics()}


class AnalogueReceiver(Receiver):
    """A radio or what takes its place, analogue_speech_rx, and a WAV file or sound card."""

    prefix = ANALOGUE

    def make_modem(
        self,
        args: argparse.Namespace,
        profile: RadioProfile,
        rate: float,
        frequency: float,
        live: bool,
    ) -> None:
        """Makes the block from samples to speech."""
        self.modem = largesc.analogue_speech_rx(profile=profile.name, sample_rate=rate)

    def connect_speech(self, sinks: list) -> None:
        """Connects the modem with what plays or keeps speech."""
        for sink in sinks:
            self.connect(self.modem, sink)

    def text_line(self) -> str:
        """There is no text with analogue speech."""
        return ""

    def spectrum_line(self) -> str:
        """The modem does not look at the band."""
        return ""

    def statistics(self) -> dict:
        """Counters of the modem."""
        return {"modem": self.modem.statistics()}

    def bursts(self) -> list[Marked]:
        """No burst is marked in a recording."""
        return []

    def understood(self) -> bool:
        """Whether anything was."""
        return self.modem.statistics()["bursts"] > 0

    def hearing(self) -> str:
        """What was heard where nothing was understood."""
        found = self.modem.statistics()["preambles"]
        return f"no speech was understood, {found} preambles were found: is the sender running?"
