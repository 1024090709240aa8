# SPDX-License-Identifier: GPL-3.0-or-later
"""Flowgraphs of radio.py, and blocks that they share with push_to_talk.py."""

import argparse
import math
import sys
import time
from pathlib import Path

from gnuradio import blocks, gr, largesc, zeromq
from gnuradio.largesc.blocks.radio.packet_radio_tx import buffer_for
from gnuradio.largesc.options import LinkOptions
from gnuradio.largesc.radio.profiles import RadioProfile
from gnuradio.largesc.radio.search import most_search_hz
from gnuradio.largesc.speech.format import SAMPLE_RATE_HZ
from radio_console import spectrum_line
from radio_options import DEFAULT_PROFILE, MOST_PPM, profile_of, radio_of
from sigmf_files import (
    ANALOGUE,
    Marked,
    Recording,
    append_silence,
    describe,
    open_recording,
    recording_sink,
)

# As many as the table of docs/over-the-air.md fits into a burst.
FRAMES_PER_PACKET = 2
# Peaks stay below a full scale of 1.
AMPLITUDES = {"single_carrier": 0.5, "ofdm": 0.15}
DOPPLER_HZ = 1.0
# Behind a recording, for receivers that end with their input.
SILENCE_SECONDS = 0.3
# What lies in buffers behind the modem.
AIR_S = 0.6
ADDRESSES = ("tcp://", "ipc://")


def wait_ms(layout: str) -> int:
    """What a receiver waits for copies, or for parity, in ms."""
    return LinkOptions(layout=layout, frames_per_packet=FRAMES_PER_PACKET).wait_ms


def shift(cycles_per_sample: float) -> list:
    """In-tree rotator, in a list; nothing where nothing is to be shifted."""
    return [blocks.rotator_cc(2 * math.pi * cycles_per_sample)] if cycles_per_sample else []


class Sender(gr.top_block):
    """Speech in real time, speech_tx, packet_radio_tx, and a radio or what takes its place."""

    about, prefix = "speech as tokens of gr-largesc", ""

    def __init__(self, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "LargeSC radio sender")
        radio, profile = radio_of(args), profile_of(args)
        if args.simulate is not None and radio:
            raise ValueError("--simulate takes the place of a radio: use it with --to")
        if args.simulate is None and (args.carrier_offset or args.fading != "none"):
            raise ValueError("--carrier-offset and --fading are those of --simulate")
        rate = args.sample_rate or profile.sample_rate
        single = profile.waveform == "single_carrier"
        if radio:
            # Bursts where nothing else will do; resampled, they have no lengths.
            bursts = not single and rate == profile.sample_rate
            sink = radio.sink("packet_len" if bursts else "")
        amplitude, noise_hz = self.levels(profile)
        self.silence = 0 if single else round(SILENCE_SECONDS * rate)
        kind = "file" if args.wav else "sound_card"
        # In real time from a file as well: the modem drops packets that come faster than they go.
        speech = largesc.speech_source(kind=kind, wav_file=args.wav or "", repeat=False)
        self.make_modem(args, profile, amplitude)
        chain = [self.modem, *shift(args.tune_below / rate)]
        if args.simulate is not None:
            chain.append(
                largesc.radio_channel(
                    sample_rate=rate,
                    snr_db=args.simulate,
                    snr_bandwidth_hz=noise_hz,
                    amplitude=amplitude,
                    carrier_offset_hz=args.carrier_offset,
                    fading=args.fading,
                    doppler_hz=DOPPLER_HZ,
                    seed=args.seed,
                )
            )
        if single and not radio:
            chain.append(paced(rate))
        for block in chain[1:]:
            # Silence fills buffers, and speech would wait behind it.
            block.set_max_output_buffer(buffer_for(rate))
        self._file = None if radio or args.samples.startswith(ADDRESSES) else Path(args.samples)
        if not radio:
            # Last: it writes over what is there.
            sink = self._samples_sink(args, rate)
        self.connect_speech(speech, args)
        self.connect(*chain, sink)

    def levels(self, profile: RadioProfile) -> tuple[float, float]:
        """Amplitude of a burst, and the band in which noise is counted."""
        return AMPLITUDES[profile.waveform], profile.noise_bandwidth_hz

    def make_modem(self, args: argparse.Namespace, profile: RadioProfile, amplitude: float) -> None:
        """Makes the blocks from speech to samples."""
        self.speech = largesc.speech_tx(
            budget_bps=args.budget,
            loss_probability=args.expected_loss,
            deadline_ms=wait_ms(args.layout),
            frames_per_packet=FRAMES_PER_PACKET,
            layout=args.layout,
            # The modem has its own.
            crc=False,
        )
        self.modem = largesc.packet_radio_tx(
            profile=profile.name,
            key_up_ms=args.key_up_ms,
            amplitude=amplitude,
            sample_rate=args.sample_rate,
            continuous=profile.waveform == "single_carrier",
            call_sign=args.call_sign,
            ident_minutes=args.ident_minutes,
        )

    def connect_speech(self, speech: object, args: argparse.Namespace) -> None:
        """Connects a source of speech with the modem."""
        self.connect(speech, self.speech)
        self.text = largesc.text_tx(call_sign=args.call_sign, text=args.text, crc=False)
        self.msg_connect(self.speech, "packets", self.text, "packets")
        self.msg_connect(self.text, "packets", self.modem, "packets")

    def _samples_sink(self, args: argparse.Namespace, rate: float) -> object:
        if self._file is None:
            return zmq_end(zeromq.push_sink, args.samples)
        frequency = args.frequency - args.tune_below if args.frequency else 0.0
        self._offset_hz = args.tune_below + args.carrier_offset
        profile = self.prefix + self.modem.profile.name
        return recording_sink(self._file, rate, frequency, self.about, profile)

    def sign_off(self) -> None:
        """Sends the call sign where it is owed."""
        if self.modem.source.owes_ident():
            self.modem.sign_off()
            time.sleep(AIR_S)

    def statistics(self) -> dict:
        """Counters of the parts."""
        return {"speech": self.speech.statistics(), "modem": self.modem.statistics()}

    def close(self) -> int:
        """Ends a recording with silence where its receiver needs some, and says what is in it.

        Returns the exit status.
        """
        if self._file and self.silence:
            append_silence(self._file, self.silence)
        if self._file:
            profile = self.modem.profile
            over = Marked(0.0, math.inf, self._offset_hz, profile.bandwidth_hz, "over")
            describe(self._file, self.prefix + profile.name, [over])
        return 0


class Receiver(gr.top_block):
    """A radio or what takes its place, packet_radio_rx, speech_rx, and a WAV file or sound card."""

    prefix = ""

    def __init__(self, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "LargeSC radio receiver")
        radio, profile = radio_of(args), profile_of(args)
        if args.record and args.record == args.samples:
            raise ValueError("--record would write over what --from plays: use another name")
        if not 0 <= args.afc <= MOST_PPM:
            raise ValueError(f"--afc {args.afc:g} is out of range: use 0 to {MOST_PPM:g} ppm")
        rate, frequency, live = args.sample_rate, args.frequency, True
        if radio:
            source = radio.source()
        elif args.samples.startswith(ADDRESSES):
            source = zmq_end(zeromq.pull_source, args.samples)
        else:
            recording = open_recording(Path(args.samples), rate)
            source, rate, live = recording.source, recording.sample_rate, False
            args.profile = named_profile(args, recording)
            profile = profile_of(args)
            frequency = frequency or recording.frequency + args.tune_below
        # Nothing else keeps a Python block alive.
        self._source = source
        rate = rate or profile.sample_rate
        self.make_modem(args, profile, rate, frequency, live)
        if live or not args.wav:
            kind = "file" if args.wav else "sound_card"
            out = largesc.speech_sink(kind=kind, wav_file=args.wav or "")
        else:
            out = speech_file(args.wav)
        heard = [source, *shift(-args.tune_below / rate)]
        self.views = None
        if args.window:
            # Here, since without a window nothing needs Qt.
            from receiver_window import Views

            if not live:
                # To be looked at.
                heard.append(paced(rate))
            self.views = Views(self, heard[-1], self.modem, rate)
        self.connect(*heard, self.modem)
        self.connect_speech([out, *([speech_file(args.keep_speech)] if args.keep_speech else [])])
        self._record = Path(args.record) if args.record else None
        if self._record:
            about, centre = "heard by gr-largesc", frequency - args.tune_below if frequency else 0.0
            self._tune_below = args.tune_below
            self.connect(source, recording_sink(self._record, rate, centre, about))

    def make_modem(
        self,
        args: argparse.Namespace,
        profile: RadioProfile,
        rate: float,
        frequency: float,
        live: bool,
    ) -> None:
        """Makes the blocks from samples to speech."""
        reach = search_hz(args.afc, profile, frequency, rate)
        self.modem = largesc.packet_radio_rx(
            profile=profile.name, sample_rate=rate, search_hz=reach
        )
        # From a recording everything comes out, as fast as it goes.
        self.speech = largesc.speech_rx(
            mode="live" if live else "offline",
            deadline_ms=wait_ms(args.layout),
            frames_per_packet=FRAMES_PER_PACKET,
            layout=args.layout,
            crc=False,
        )

    def connect_speech(self, sinks: list) -> None:
        """Connects the modem with what plays or keeps speech."""
        self.text = largesc.text_rx(crc=False)
        for part in (self.speech, self.text):
            self.msg_connect(self.modem, "packets", part, "packets")
        for sink in sinks:
            self.connect(self.speech, sink)

    def text_line(self) -> str:
        """The text that came with the speech; empty for none."""
        return self.text.line()

    def spectrum_line(self) -> str:
        """The band in characters; empty where it is not known."""
        return spectrum_line(self.modem)

    def sign_off(self) -> None:
        """A receiver has nothing to send."""

    def statistics(self) -> dict:
        """Counters of the parts."""
        parts = {"modem": self.modem, "speech": self.speech, "text": self.text}
        return {name: part.statistics() for name, part in parts.items()}

    def bursts(self) -> list[Marked]:
        """The bursts of accepted packets, as the recording holds them."""
        width = self.modem.profile.bandwidth_hz
        return [
            Marked(
                burst.start_s,
                burst.length_s,
                self._tune_below + burst.carrier_offset_hz,
                width,
                "packet",
                f"Es/N0 {burst.es_n0_db:.1f} dB",
            )
            for burst in self.modem.bursts()
        ]

    def close(self) -> int:
        """Says what was heard where nothing was understood; returns the exit status."""
        if self.understood():
            if self._record:
                describe(self._record, self.prefix + self.modem.profile.name, self.bursts())
            return 0
        print(f"radio rx: {self.hearing()}", file=sys.stderr)
        return 1

    def understood(self) -> bool:
        """Whether anything was."""
        return self.modem.statistics()["accepted"] > 0

    def hearing(self) -> str:
        """What was heard where nothing was understood."""
        heard = self.modem.diagnosis() or self.modem.hearing()
        if heard == "noise alone":
            heard = "nothing but noise is heard: is the sender running?"
        return f"no packet was understood: {heard}"


def speech_file(path: str) -> object:
    """In-tree block that writes decoded speech.

    Raises:
        ValueError: the file cannot be written.
    """
    form = (blocks.FORMAT_WAV, blocks.FORMAT_PCM_16, False)
    try:
        return blocks.wavfile_sink(path, 1, SAMPLE_RATE_HZ, *form)
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be written: {error}") from error


def named_profile(args: argparse.Namespace, recording: Recording) -> str:
    """Profile of a recording, and what else it says, a line each.

    Raises:
        ValueError: it is one of packets, and --analogue was given; or the other way round.
    """
    notes, named = list(recording.notes), recording.profile.removeprefix(ANALOGUE)
    analogue = recording.profile.startswith(ANALOGUE)
    if named and analogue != args.analogue:
        what, remedy = ("analogue speech", "give") if analogue else ("packets", "leave out")
        raise ValueError(f"{args.samples} is a recording of {what}: {remedy} --analogue")
    if args.profile and named not in ("", args.profile):
        notes.append(
            f"{args.samples} is a recording of profile {named}: "
            f"it is read so, and not as {args.profile}"
        )
    for note in notes:
        print(f"radio rx: {note}", file=sys.stderr)
    return named or args.profile or DEFAULT_PROFILE


def search_hz(afc_ppm: float, profile: object, frequency: float, rate: float) -> float:
    """How far to each side the receiver looks: as far as both radios' crystals may be off.

    Never less than what costs nothing, and no more than the samples hold.
    """
    if profile.waveform != "single_carrier":
        return 0.0
    wanted = 1e-6 * afc_ppm * frequency
    free = most_search_hz(profile, profile.sample_rate)
    return 0.0 if wanted <= free else min(wanted, most_search_hz(profile, rate))


def paced(rate: float) -> object:
    """The clock that a radio would be: 20 ms of samples at a time."""
    pace = blocks.throttle(gr.sizeof_gr_complex, rate)
    pace.set_max_noutput_items(round(rate / 50))
    return pace


def zmq_end(make: object, address: str) -> object:
    """In-tree ZMQ source or sink.

    Raises:
        ValueError: there is no such address, or it is in use.
    """
    try:
        return make(gr.sizeof_gr_complex, 1, address)
    except RuntimeError as error:
        raise ValueError(f"{address} cannot be used: {error}") from error
