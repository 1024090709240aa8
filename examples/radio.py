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

from gnuradio import blocks, gr, largesc, zeromq
from gnuradio.largesc.blocks.radio.packet_radio_tx import buffer_for
from gnuradio.largesc.radio.profiles import PROFILES
from gnuradio.largesc.speech.format import FRAME_MS, SAMPLE_RATE_HZ
from radio_devices import Radio
from sigmf_files import append_silence, recording_sink, recording_source

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


def noise_voltage(profile: object, sample_rate: float, amplitude: float, es_n0_db: float) -> float:
    """Of `radio_channel`, for the energy of a symbol over the noise density."""
    # OFDM: of 64 carriers, 52 are in use.
    samples = 64 / 52 if profile.waveform == "ofdm" else profile.samples_per_symbol
    samples *= sample_rate / profile.sample_rate
    return amplitude * math.sqrt(samples / 10 ** (es_n0_db / 10))


class Sender(gr.top_block):
    """Speech in real time, speech_tx, packet_radio_tx, and a radio or what takes its place."""

    def __init__(self, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "LargeSC radio sender")
        radio, profile = radio_of(args), PROFILES[args.profile]
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
            profile=args.profile,
            key_up_ms=args.key_up_ms,
            amplitude=amplitude,
            sample_rate=args.sample_rate,
            continuous=single,
        )
        chain = [self.modem, *shift(args.tune_below / rate)]
        if args.simulate is not None:
            noise = noise_voltage(profile, rate, amplitude, args.simulate)
            offset, doppler = args.carrier_offset / rate, DOPPLER_HZ / rate
            chain.append(
                largesc.radio_channel(
                    noise_voltage=noise,
                    frequency_offset=offset,
                    clock_ppm=0.0,
                    fading=args.fading,
                    doppler=doppler,
                    seed=args.seed,
                )
            )
        if single and not radio:
            chain.append(paced(rate))
        for block in chain[1:]:
            # Silence fills buffers, and speech would wait behind it.
            block.set_max_output_buffer(buffer_for(rate))
        if not radio:
            # Last: it writes over what is there.
            sink = self._samples_sink(args, rate)
        self.connect(speech, self.speech)
        self.msg_connect(self.speech, "packets", self.modem, "packets")
        self.connect(*chain, sink)

    def _samples_sink(self, args: argparse.Namespace, rate: float) -> object:
        if args.samples.startswith(ADDRESSES):
            return zmq_end(zeromq.push_sink, args.samples)
        about = f"speech as tokens, gr-largesc, profile {args.profile}"
        return recording_sink(Path(args.samples), rate, args.frequency - args.tune_below, about)

    def statistics(self) -> dict:
        """Counters of the parts."""
        return {"speech": self.speech.statistics(), "modem": self.modem.statistics()}


class Receiver(gr.top_block):
    """A radio or what takes its place, packet_radio_rx, speech_rx, and a WAV file or sound card."""

    def __init__(self, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "LargeSC radio receiver")
        radio, profile = radio_of(args), PROFILES[args.profile]
        rate = args.sample_rate or profile.sample_rate
        if args.record and args.record == args.samples:
            raise ValueError("--record would write over what --from plays: use another name")
        live = True
        if radio:
            source = radio.source()
        elif args.samples.startswith(ADDRESSES):
            source = zmq_end(zeromq.pull_source, args.samples)
        else:
            source, rate = recording_source(Path(args.samples), args.sample_rate or 0.0)
            rate, live = rate or profile.sample_rate, False
        self.modem = largesc.packet_radio_rx(profile=args.profile, sample_rate=rate)
        # From a recording everything comes out, as fast as it goes.
        self.speech = largesc.speech_rx(
            mode="live" if live else "offline",
            deadline_ms=DEADLINE_MS,
            frames_per_packet=FRAMES_PER_PACKET,
            crc=False,
        )
        if live or not args.wav:
            out = largesc.speech_sink(
                kind="file" if args.wav else "sound_card", wav_file=args.wav or ""
            )
        else:
            form = (blocks.FORMAT_WAV, blocks.FORMAT_PCM_16, False)
            out = blocks.wavfile_sink(args.wav, 1, SAMPLE_RATE_HZ, *form)
        self.connect(source, *shift(-args.tune_below / rate), self.modem)
        self.msg_connect(self.modem, "packets", self.speech, "packets")
        self.connect(self.speech, out)
        if args.record:
            about = f"heard by gr-largesc, profile {args.profile}"
            frequency = args.frequency - args.tune_below
            self.connect(source, recording_sink(Path(args.record), rate, frequency, about))

    def statistics(self) -> dict:
        """Counters of the parts."""
        return {"modem": self.modem.statistics(), "speech": self.speech.statistics()}


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
        part.add_argument("--profile", choices=PROFILES, default="ssb", help="[%(default)s]")
        part.add_argument("--seconds", type=float, help="stop after this [at the end, or Ctrl-C]")
    where = "FILE.sigmf-data, FILE of bare samples, or tcp://HOST:PORT of ZMQ (PUSH and PULL)"
    tx.add_argument("--to", dest="samples", metavar="WHERE", help=where)
    rx.add_argument("--from", dest="samples", metavar="WHERE", help=where)
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


def flat(facts: dict) -> dict:
    """Counters of parts within parts, in one dict."""
    found = {}
    for key, value in facts.items():
        found |= flat(value) if isinstance(value, dict) else {key: value}
    return found


SHOWN = (
    "frames", "packets", "dropped", "syncs", "accepted", "crc_failures", "es_n0_db",
    "carrier_offset_hz", "concealed_frames",
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
            if time.monotonic() >= end:
                break
    except KeyboardInterrupt:
        pass
    tb.stop()
    over.wait()
    if args.command == "tx" and not args.device and args.uhd is None:
        if tb.silence and not args.samples.startswith(ADDRESSES):
            append_silence(Path(args.samples), tb.silence)
    print(json.dumps(tb.statistics()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
