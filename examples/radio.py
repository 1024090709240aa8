#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech over the air: sender and receiver with a radio, or with a file or ZMQ in its place.

python examples/radio.py tx in.wav --simulate --to over.sigmf-data
python examples/radio.py rx out.wav --from over.sigmf-data
python examples/radio.py rx out.wav --device driver=rtlsdr --frequency 433.5e6 --sample-rate 250e3
"""

import argparse
import json
import math
import sys
import threading
import time
from pathlib import Path

import numpy as np
from gnuradio import blocks, gr, largesc, zeromq
from gnuradio.largesc.blocks.radio.packet_radio_tx import buffer_for
from gnuradio.largesc.radio.profiles import PROFILES
from gnuradio.largesc.radio.search import most_search_hz
from gnuradio.largesc.speech.format import FRAME_MS, SAMPLE_RATE_HZ
from radio_devices import Radio
from sigmf_files import Recording, append_silence, name_profile, open_recording, recording_sink

# As many as the table of docs/over-the-air.md fits into a burst.
FRAMES_PER_PACKET = 2
# Copies one packet later.
DEADLINE_MS = FRAME_MS * FRAMES_PER_PACKET
# Peaks stay below a full scale of 1.
AMPLITUDES = {"single_carrier": 0.5, "ofdm": 0.15}
DOPPLER_HZ = 1.0
# Behind a recording, for receivers that end with their input.
SILENCE_SECONDS = 0.3
ADDRESSES = ("tcp://", "ipc://")
DEFAULT_PROFILE = "ssb"
# Of a cheap crystal, at either end.
AFC_PPM, MOST_PPM = 20.0, 1000.0
# Columns of the spectrum, and dB a step of its bars.
COLUMNS, BAR_DB, BARS = 41, 3.0, " .:-=+*#%@"


def radio_of(args: argparse.Namespace) -> Radio | None:
    """The radio that is meant, None for a file or ZMQ.

    Raises:
        ValueError: an option is missing or contradicts another.
    """
    given = {"--device": args.device, "--uhd": args.uhd, args.other: args.samples}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(f"give one of {', '.join(given)}; given: {', '.join(named) or 'none'}")
    return radio_named(args) if args.samples is None else None


def radio_named(args: argparse.Namespace) -> Radio:
    """The radio of ``--device`` or ``--uhd``.

    Raises:
        ValueError: frequency or sample rate is missing.
    """
    named = "--device" if args.uhd is None else "--uhd"
    if not args.frequency > 0 or not args.sample_rate > 0:
        raise ValueError(f"{named} needs --frequency and --sample-rate, such as 250e3")
    library, device = ("soapy", args.device) if args.uhd is None else ("uhd", args.uhd)
    frequency, gains = args.frequency - args.tune_below, dict(args.gain)
    return Radio(library, device, args.sample_rate, frequency, gains, args.antenna)


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
        self.msg_connect(self.speech, "packets", self.modem, "packets")
        self.connect(*chain, sink)

    def _samples_sink(self, args: argparse.Namespace, rate: float) -> object:
        if self._file is None:
            return zmq_end(zeromq.push_sink, args.samples)
        frequency = args.frequency - args.tune_below
        about, profile = "speech as tokens of gr-largesc", self.modem.profile.name
        return recording_sink(self._file, rate, frequency, about, profile)

    def statistics(self) -> dict:
        """Counters of the parts."""
        return {"speech": self.speech.statistics(), "modem": self.modem.statistics()}

    def close(self) -> int:
        """Ends a recording with silence where its receiver needs some; returns the exit status."""
        if self._file and self.silence:
            append_silence(self._file, self.silence)
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
            form = (blocks.FORMAT_WAV, blocks.FORMAT_PCM_16, False)
            out = blocks.wavfile_sink(args.wav, 1, SAMPLE_RATE_HZ, *form)
        self.connect(source, *shift(-args.tune_below / rate), self.modem)
        self.msg_connect(self.modem, "packets", self.speech, "packets")
        self.connect(self.speech, out)
        self._record = Path(args.record) if args.record else None
        if self._record:
            about, centre = "heard by gr-largesc", args.frequency - args.tune_below
            self.connect(source, recording_sink(self._record, rate, centre, about))

    def statistics(self) -> dict:
        """Counters of the parts."""
        return {"modem": self.modem.statistics(), "speech": self.speech.statistics()}

    def close(self) -> int:
        """Says what was heard where nothing was understood; returns the exit status."""
        if self.modem.statistics()["accepted"]:
            if self._record:
                name_profile(self._record, self.modem.profile.name)
            return 0
        heard = self.modem.diagnosis() or "nothing but noise is heard: is the sender running?"
        print(f"radio rx: no packet was understood: {heard}", file=sys.stderr)
        return 1


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


def gain_of(text: str) -> tuple[str, float]:
    """``NAME=DB`` or ``DB`` to name and gain."""
    name, _, gain = text.rpartition("=")
    return name, float(gain)


def add_radio(part: argparse.ArgumentParser) -> None:
    """Options of the radio itself."""
    radio = part.add_argument_group("radio")
    radio.add_argument("--device", metavar="STRING", help="of gr-soapy: driver=rtlsdr")
    radio.add_argument("--uhd", metavar="STRING", help="of gr-uhd: type=b200; '' for any")
    radio.add_argument("--frequency", type=float, default=0.0, metavar="HZ")
    radio.add_argument(
        "--sample-rate", type=float, default=0.0, metavar="HZ", help="[the profile's]"
    )
    radio.add_argument(
        "--gain", type=gain_of, action="append", default=[], metavar="[NAME=]DB",
        help="of all stages together, or of one; may be given again [the radio's own]",
    )  # fmt: skip
    radio.add_argument("--antenna", default="", metavar="NAME")
    radio.add_argument(
        "--tune-below", type=float, default=0.0, metavar="HZ",
        help="tune so much lower and shift, away from the carrier that radios leak [0]",
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = top.add_subparsers(dest="command", required=True, metavar="tx | rx")
    tx = commands.add_parser("tx", help="speech to the air")
    rx = commands.add_parser("rx", help="the air to speech")
    tx.add_argument("wav", nargs="?", help="WAV file to send; without, the microphone")
    rx.add_argument("wav", nargs="?", help="WAV file to write; without, the loudspeaker")
    for part in (tx, rx):
        add_radio(part)
        part.add_argument(
            "--profile", choices=PROFILES, help=f"[that of a recording, else {DEFAULT_PROFILE}]"
        )
        part.add_argument("--seconds", type=float, help="stop after this [at the end, or Ctrl-C]")
    where = "FILE.sigmf-data, FILE of bare samples, or tcp://HOST:PORT of ZMQ (PUSH and PULL)"
    tx.add_argument("--to", dest="samples", metavar="WHERE", help=where)
    rx.add_argument("--from", dest="samples", metavar="WHERE", help=where)
    rx.add_argument(
        "--afc", type=float, default=AFC_PPM, metavar="PPM",
        help="search so far around --frequency for the carrier [%(default)g]",
    )  # fmt: skip
    rx.add_argument("--record", metavar="FILE", help="keep the samples that come, as --to does")
    tx.add_argument("--budget", type=float, default=1100.0, metavar="BPS", help="payload [1100]")
    tx.add_argument(
        "--expected-loss", type=float, default=0.0, metavar="P", help="copies go out for it [0]"
    )
    tx.add_argument("--key-up-ms", type=float, default=0.0, help="preamble; not with wide [0]")
    air = tx.add_argument_group("simulated air")
    air.add_argument(
        "--simulate", type=float, nargs="?", const=15.0, metavar="DB",
        help="a channel of this Es/N0 in place of the air [15]",
    )  # fmt: skip
    air.add_argument("--carrier-offset", type=float, default=0.0, metavar="HZ", help="[0]")
    air.add_argument("--fading", choices=["none", "rayleigh", "selective"], default="none")
    air.add_argument("--seed", type=int, default=1, help="[1]")
    tx.set_defaults(flowgraph=Sender, other="--to")
    rx.set_defaults(flowgraph=Receiver, other="--from")
    return top


def short(facts: dict, names: tuple[str, ...]) -> str:
    """Those counters that are there, on a line."""
    found = {k: v for part in facts.values() for k, v in flat(part).items() if k in names}
    return ", ".join(
        f"{k} {v:.1f}" if isinstance(v, float) else f"{k} {v}" for k, v in found.items()
    )


def spectrum_line(modem: object) -> str:
    """What the band looks like, a character for each part of it; empty where nobody tells."""
    offsets, power = modem.spectrum_db()
    if not len(offsets):
        return ""
    places = np.linspace(offsets[0], offsets[-1], min(COLUMNS, len(offsets)))
    steps = np.interp(places, offsets, power) / BAR_DB
    bars = "".join(BARS[int(np.clip(step, 0, len(BARS) - 1))] for step in steps)
    return f"{offsets[0] / 1000:+.1f} kHz |{bars}| {offsets[-1] / 1000:+.1f} kHz"


def flat(facts: dict) -> dict:
    """Counters of parts within parts, in one dict."""
    found = {}
    for key, value in facts.items():
        found |= flat(value) if isinstance(value, dict) else {key: value}
    return found


SHOWN = (
    "frames", "packets", "dropped", "syncs", "accepted", "crc_failures", "es_n0_db",
    "carrier_offset_hz", "signal_db", "signal_offset_hz", "frames_made_up", "frames_cut",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs the sender or the receiver; returns the exit status."""
    args = parser().parse_args(arguments)
    try:
        tb = args.flowgraph(args)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"radio {args.command}: {error}", file=sys.stderr)
        return 2
    end = math.inf if args.seconds is None else time.monotonic() + args.seconds
    tb.start()
    over = threading.Event()
    threading.Thread(target=lambda: (tb.wait(), over.set()), daemon=True).start()
    try:
        while not over.wait(min(2.0, max(0.0, end - time.monotonic()))):
            print(short(tb.statistics(), SHOWN), file=sys.stderr)
            if args.command == "rx" and (line := spectrum_line(tb.modem)):
                print(line, file=sys.stderr)
            if time.monotonic() >= end:
                break
    except KeyboardInterrupt:
        pass
    tb.stop()
    over.wait()
    print(json.dumps(tb.statistics()))
    return tb.close()


if __name__ == "__main__":
    sys.exit(main())
