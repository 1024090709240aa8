#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech over the air: sender and receiver with a radio, or with a file or ZMQ in its place.

python examples/radio.py tx in.wav --simulate --to over.sigmf-data
python examples/radio.py rx out.wav --from over.sigmf-data
python examples/radio.py rx out.wav --device driver=rtlsdr --frequency 433.5e6 --sample-rate 250e3
python examples/radio.py tx in.wav --audio plughw:1,0 --rig 127.0.0.1:4532 --frequency 14.236e6
"""

import argparse
import contextlib
import json
import math
import sys
import threading
import time
from pathlib import Path

from gnuradio import blocks, gr, largesc, zeromq
from gnuradio.largesc.blocks.radio.packet_radio_tx import buffer_for
from gnuradio.largesc.radio.profiles import PROFILES
from gnuradio.largesc.radio.search import most_search_hz
from gnuradio.largesc.speech.format import FRAME_MS, SAMPLE_RATE_HZ
from radio_console import SHOWN, short, spectrum_line
from radio_options import DEFAULT_PROFILE, MOST_PPM, parser, radio_of
from sigmf_files import Marked, Recording, append_silence, describe, open_recording, recording_sink
from transceiver import SAMPLES_S, keyed_rig, stopped_by_signals, tuned_rig

# As many as the table of docs/over-the-air.md fits into a burst.
FRAMES_PER_PACKET = 2
# Copies one packet later.
DEADLINE_MS = FRAME_MS * FRAMES_PER_PACKET
# Peaks stay below a full scale of 1.
AMPLITUDES = {"single_carrier": 0.5, "ofdm": 0.15}
DOPPLER_HZ = 1.0
# Behind a recording, for receivers that end with their input.
SILENCE_SECONDS = 0.3
# What lies in buffers behind the modem.
AIR_S = 0.6
ADDRESSES = ("tcp://", "ipc://")


def shift(cycles_per_sample: float) -> list:
    """In-tree rotator, in a list; nothing where nothing is to be shifted."""
    return [blocks.rotator_cc(2 * math.pi * cycles_per_sample)] if cycles_per_sample else []


class Sender(gr.top_block):
    """Speech in real time, speech_tx, packet_radio_tx, and a radio or what takes its place."""

    def __init__(self, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "LargeSC radio sender")
        radio, name = radio_of(args), args.profile or DEFAULT_PROFILE
        profile = PROFILES[name]
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
        amplitude = AMPLITUDES[profile.waveform]
        self.silence = 0 if single else round(SILENCE_SECONDS * rate)
        kind = "file" if args.wav else "sound_card"
        # In real time from a file as well: the modem drops packets that come faster than they go.
        speech = largesc.speech_source(kind=kind, wav_file=args.wav or "", repeat=False)
        self.speech = largesc.speech_tx(
            budget_bps=args.budget,
            loss_probability=args.expected_loss,
            deadline_ms=DEADLINE_MS,
            frames_per_packet=FRAMES_PER_PACKET,
            # The modem has its own.
            crc=False,
        )
        self.modem = largesc.packet_radio_tx(
            profile=name,
            key_up_ms=args.key_up_ms,
            amplitude=amplitude,
            sample_rate=args.sample_rate,
            continuous=single,
            call_sign=args.call_sign,
            ident_minutes=args.ident_minutes,
        )
        chain = [self.modem, *shift(args.tune_below / rate)]
        if args.simulate is not None:
            chain.append(
                largesc.radio_channel(
                    sample_rate=rate,
                    snr_db=args.simulate,
                    snr_bandwidth_hz=profile.noise_bandwidth_hz,
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
        self.connect(speech, self.speech)
        self.text = largesc.text_tx(call_sign=args.call_sign, text=args.text, crc=False)
        self.msg_connect(self.speech, "packets", self.text, "packets")
        self.msg_connect(self.text, "packets", self.modem, "packets")
        self.connect(*chain, sink)

    def _samples_sink(self, args: argparse.Namespace, rate: float) -> object:
        if self._file is None:
            return zmq_end(zeromq.push_sink, args.samples)
        frequency = args.frequency - args.tune_below if args.frequency else 0.0
        self._offset_hz = args.tune_below + args.carrier_offset
        about, profile = "speech as tokens of gr-largesc", self.modem.profile.name
        return recording_sink(self._file, rate, frequency, about, profile)

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
            describe(self._file, profile.name, [over])
        return 0


class Receiver(gr.top_block):
    """A radio or what takes its place, packet_radio_rx, speech_rx, and a WAV file or sound card."""

    def __init__(self, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "LargeSC radio receiver")
        radio, name = radio_of(args), args.profile or DEFAULT_PROFILE
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
            name = named_profile(args, recording)
            frequency = frequency or recording.frequency + args.tune_below
        # Nothing else keeps a Python block alive.
        self._source = source
        profile = PROFILES[name]
        rate = rate or profile.sample_rate
        self.modem = largesc.packet_radio_rx(
            profile=name, sample_rate=rate, search_hz=search_hz(args.afc, profile, frequency, rate)
        )
        # From a recording everything comes out, as fast as it goes.
        self.speech = largesc.speech_rx(
            mode="live" if live else "offline",
            deadline_ms=DEADLINE_MS,
            frames_per_packet=FRAMES_PER_PACKET,
            crc=False,
        )
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
        self.text = largesc.text_rx(crc=False)
        for part in (self.speech, self.text):
            self.msg_connect(self.modem, "packets", part, "packets")
        self.connect(self.speech, out)
        if args.keep_speech:
            self.connect(self.speech, speech_file(args.keep_speech))
        self._record = Path(args.record) if args.record else None
        if self._record:
            about, centre = "heard by gr-largesc", frequency - args.tune_below if frequency else 0.0
            self._tune_below = args.tune_below
            self.connect(source, recording_sink(self._record, rate, centre, about))

    def sign_off(self) -> None:
        """A receiver has nothing to send."""

    def statistics(self) -> dict:
        """Counters of the parts."""
        parts = {"modem": self.modem, "speech": self.speech, "text": self.text}
        return {name: part.statistics() for name, part in parts.items()}

    def _bursts(self) -> list[Marked]:
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
        if self.modem.statistics()["accepted"]:
            if self._record:
                describe(self._record, self.modem.profile.name, self._bursts())
            return 0
        heard = self.modem.diagnosis() or self.modem.hearing()
        if heard == "noise alone":
            heard = "nothing but noise is heard: is the sender running?"
        print(f"radio rx: no packet was understood: {heard}", file=sys.stderr)
        return 1


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
    """Profile of a recording, and what else it says, a line each."""
    notes = list(recording.notes)
    if args.profile and recording.profile not in ("", args.profile):
        notes.append(
            f"{args.samples} is a recording of profile {recording.profile}: "
            f"it is read so, and not as {args.profile}"
        )
    for note in notes:
        print(f"radio rx: {note}", file=sys.stderr)
    return recording.profile or args.profile or DEFAULT_PROFILE


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


FLOWGRAPHS = {"tx": Sender, "rx": Receiver}


def run(tb: Sender | Receiver, args: argparse.Namespace) -> None:
    """Runs a flowgraph to its end, the seconds that were given, or a signal."""
    end = math.inf if args.seconds is None else time.monotonic() + args.seconds
    tb.start()
    over = threading.Event()
    threading.Thread(target=lambda: (tb.wait(), over.set()), daemon=True).start()
    read = ""
    try:
        if args.command == "rx" and args.window:
            from receiver_window import run_window

            run_window(tb, end - time.monotonic(), over.is_set, args.picture)
            end = 0.0
        while not over.wait(min(2.0, max(0.0, end - time.monotonic()))):
            print(short(tb.statistics(), SHOWN), file=sys.stderr)
            if args.command == "rx":
                read = tell_text(tb.text.line(), read)
                if line := spectrum_line(tb.modem):
                    print(line, file=sys.stderr)
            if time.monotonic() >= end:
                break
    except KeyboardInterrupt:
        pass
    try:
        tb.sign_off()
    finally:
        tb.stop()
        over.wait()
    if args.command == "rx":
        tell_text(tb.text.line(), read)


def tell_text(line: str, before: str) -> str:
    """Says what was read, where that is new; returns it."""
    if line != before:
        print(f"text: {line}", file=sys.stderr)
    return line


def main(arguments: list[str] | None = None) -> int:
    """Runs the sender or the receiver; returns the exit status."""
    args = parser().parse_args(arguments)
    stopped_by_signals()
    try:
        with contextlib.ExitStack() as stack:
            tb = FLOWGRAPHS[args.command](args)
            if args.command == "tx" and (rig := keyed_rig(args)) is not None:
                # Whatever comes, and when the sound card is empty.
                stack.callback(rig.close)
                rig.key(True)
                rig.wait()
                stack.callback(time.sleep, SAMPLES_S)
            elif (rig := tuned_rig(args)) is not None:
                rig.close()
            run(tb, args)
    except (ImportError, ValueError, RuntimeError, OSError) as error:
        print(f"radio {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(tb.statistics()))
    return tb.close()


if __name__ == "__main__":
    sys.exit(main())
