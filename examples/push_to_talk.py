#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Half-duplex talk over the air: a button or the voice keys the transmitter.

python examples/push_to_talk.py --simulate 12
python examples/push_to_talk.py --to tcp://127.0.0.1:52010 --from tcp://127.0.0.1:52011
python examples/push_to_talk.py --uhd type=b200 --frequency 433.5e6 --sample-rate 250e3 --gain 40
python examples/push_to_talk.py --audio plughw:1,0 --rig 127.0.0.1:4532 --frequency 14.236e6
python examples/push_to_talk.py --simulate --headless --vad --source in.wav --sink out.wav
"""

import argparse
import itertools
import json
import math
import sys
import time

import pmt
from gnuradio import blocks, gr, largesc, zeromq
from gnuradio.largesc._core import PLAYOUT_MARGIN_MS
from gnuradio.largesc.blocks.radio.packet_radio_tx import buffer_for
from gnuradio.largesc.radio.profiles import PROFILES
from gnuradio.largesc.speech.format import FRAME_MS, SAMPLE_RATE_HZ
from keyer import AIR_S, BEFORE_PARTS, LONGEST_OVER_S, PART, keyer, packet_gate
from radio_flowgraphs import paced, search_hz, shift, speech_file, zmq_end
from radio_options import AFC_PPM, add_call_sign, add_radio, radio_named, radios
from transceiver import keyed_rig, stopped_by_signals

FRAMES_PER_PACKET = 2
DEADLINE_MS = PACKET_MS = FRAME_MS * FRAMES_PER_PACKET
PLAYOUT_MS = DEADLINE_MS + PLAYOUT_MARGIN_MS
CODEC_MS = 20.0
LONGEST_OVER_MS = 60_000.0
AMPLITUDE, DOPPLER_HZ = 0.5, 1.0
SINGLE_CARRIER = [p.name for p in PROFILES.values() if p.waveform == "single_carrier"]


class Station(gr.top_block):
    """Microphone, key, modem and air one way; air, modem and loudspeaker the other.

    In simulation, what is sent comes back through a channel, as the other station would hear it.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        gr.top_block.__init__(self, "LargeSC push to talk")
        self.simulated = args.simulate is not None
        radio = any(named is not None for named in radios(args).values())
        zmq = bool(args.send_to or args.hear_from)
        if self.simulated + radio + zmq != 1:
            raise ValueError("give one of --simulate, a radio, or --to and --from")
        if zmq and not (args.send_to and args.hear_from):
            raise ValueError("--to and --from belong together")
        self.radio = radio_named(args) if radio else None
        if args.rig and not radio:
            raise ValueError("--rig keys a transmitter: use it with --audio, --device or --uhd")
        if not args.longest_over > 0:
            raise ValueError(f"--longest-over {args.longest_over:g}: give more than 0 seconds")
        self.rig = None
        rate = args.sample_rate if radio else 0.0
        kind = "file" if args.source else "sound_card"
        microphone = largesc.speech_source(kind=kind, wav_file=args.source or "", repeat=False)
        self.keyer = keyer(args.vad, args.longest_over)
        self.speech_tx = largesc.speech_tx(
            budget_bps=args.budget,
            deadline_ms=DEADLINE_MS,
            frames_per_packet=FRAMES_PER_PACKET,
            crc=False,
            # What lies between two overs is silence, not loss.
            dtx=True,
        )
        self.gate = packet_gate(self.keyer)
        self.modem_tx = largesc.packet_radio_tx(
            profile=args.profile,
            key_up_ms=args.key_up_ms,
            amplitude=AMPLITUDE,
            sample_rate=rate,
            continuous=True,
            call_sign=args.call_sign,
            ident_minutes=args.ident_minutes,
        )
        profile = PROFILES[args.profile]
        reach = search_hz(AFC_PPM, profile, args.frequency, rate or profile.sample_rate)
        self.modem_rx = largesc.packet_radio_rx(
            profile=args.profile, sample_rate=rate, search_hz=reach
        )
        self.speech_rx = largesc.speech_rx(
            method=args.concealer,
            mode="live",
            deadline_ms=DEADLINE_MS,
            frames_per_packet=FRAMES_PER_PACKET,
            crc=False,
        )
        loudspeaker = largesc.speech_sink(
            kind="file" if args.sink else "sound_card", wav_file=args.sink or ""
        )
        self.connect(microphone, self.keyer, self.speech_tx)
        self.connect(self.speech_rx, loudspeaker)
        if args.keep_speech:
            self.connect(self.speech_rx, speech_file(args.keep_speech))
        self.text_tx = largesc.text_tx(call_sign=args.call_sign, text=args.text, crc=False)
        self.text_rx = largesc.text_rx(crc=False)
        sender = [self.speech_tx, self.gate, self.text_tx, self.modem_tx]
        for one, other in itertools.pairwise(sender):
            self.msg_connect(one, "packets", other, "packets")
        self.msg_connect(self.modem_rx, "packets", self.text_rx, "packets")
        self.msg_connect(self.modem_rx, "packets", self.speech_rx, "packets")
        self.msg_connect(self.modem_rx, "packets", self.gate, "heard")
        self._was_open = False
        self._connect_reports()
        self._connect_air(args)
        # Last: what is keyed must be released.
        self.rig = keyed_rig(args)

    def _connect_reports(self) -> None:
        """What the other station tells of how it hears us; it comes with the end of its overs."""
        if self.simulated:
            told = self.speech_rx
        else:
            self.report_tx = largesc.report_tx(interval_ms=0, crc=False)
            told = self.report_rx = largesc.report_rx(timeout_ms=LONGEST_OVER_MS, crc=False)
            self.msg_connect(self.speech_rx, "report", self.report_tx, "report")
            self.msg_connect(self.modem_rx, "status", self.report_tx, "status")
            self.msg_connect(self.report_tx, "packets", self.modem_tx, "packets")
            self.msg_connect(self.modem_rx, "packets", self.report_rx, "packets")
        self.msg_connect(told, "report", self.speech_tx, "report")
        self.msg_connect(told, "report", self.gate, "report")

    def _connect_air(self, args: argparse.Namespace) -> None:
        if self.radio:
            turn = args.tune_below / args.sample_rate
            sender = [self.modem_tx, *shift(turn)]
            for block in sender[1:]:
                block.set_max_output_buffer(buffer_for(args.sample_rate))
            self.connect(*sender, self.radio.sink())
            self._connect_ears(self.radio.source(), *shift(-turn))
            return
        profile = PROFILES[args.profile]
        rate = profile.sample_rate
        pace = paced(rate)
        pace.set_max_output_buffer(buffer_for(rate))
        self.connect(self.modem_tx, pace)
        if not self.simulated:
            self.connect(pace, zmq_end(zeromq.push_sink, args.send_to))
            self._connect_ears(zmq_end(zeromq.pull_source, args.hear_from))
            return
        air = largesc.radio_channel(
            sample_rate=rate,
            snr_db=args.simulate,
            snr_bandwidth_hz=profile.noise_bandwidth_hz,
            amplitude=AMPLITUDE,
            fading=args.fading,
            doppler_hz=DOPPLER_HZ,
            seed=args.seed,
        )
        air.set_max_output_buffer(buffer_for(rate))
        self.connect(pace, air, self.modem_rx)

    def _connect_ears(self, *source: object) -> None:
        """The receiver, which hears nothing of our own transmitter."""
        self.ears = blocks.mute_cc(False)
        self.connect(*source, self.ears, self.modem_rx)

    def key(self, down: bool) -> None:
        """The button."""
        self.keyer.down = down

    def refresh(self) -> None:
        """Mutes the receiver while we send, and reports at the end of an over; to be called
        several times a second.
        """
        if self.simulated:
            return
        sending = self._is_sending()
        self.ears.set_mute(sending)
        if self.rig is not None:
            self.rig.key(sending)
        opened = self.keyer.opened()
        if self._was_open and not opened:
            # Rides with the tail of the over.
            self.report_tx.to_basic_block()._post(pmt.intern("send"), pmt.PMT_NIL)
        self._was_open = opened

    def close(self) -> None:
        """Sends the call sign where it is owed, releases the transmitter, and stops."""
        try:
            if self.modem_tx.source.owes_ident():
                if self.rig is not None:
                    self.rig.key(True)
                self.modem_tx.sign_off()
                time.sleep(AIR_S)
        finally:
            if self.rig is not None:
                self.rig.close()
            self.stop()
            self.wait()

    def _is_sending(self) -> bool:
        """Whether a packet or the call sign may be on the air."""
        if self.modem_tx.is_identifying():
            # Its end lies in buffers as that of a packet does.
            self.gate.hold()
        return self.gate.sending()

    def facts(self) -> dict[str, float | str]:
        """What the panel shows; NaN where nothing is known."""
        tx, rx, modem = (
            part.statistics() for part in (self.speech_tx, self.speech_rx, self.modem_rx)
        )
        # Voice delay of the key, a packet of speech, the air, the deadline, the codec.
        fixed = 1000 * BEFORE_PARTS * PART / SAMPLE_RATE_HZ + PACKET_MS + PLAYOUT_MS + CODEC_MS
        return {
            "es_n0_db": modem["es_n0_db"] if modem["accepted"] else math.nan,
            "loss_probability": self.gate.loss_probability,
            "bit_rate": self.gate.bit_rate(),
            "packets_sent": self.gate.sent,
            "packets_heard": self.gate.heard,
            "tokens_sent": tx["controller"]["tokens_sent"],
            "tokens_repeated": tx["controller"]["tokens_repeated"],
            "tokens_made_up": rx["concealer"]["tokens_made_up"],
            "overs_cut": self.keyer.overs_cut,
            "text": self.text_rx.line(),
            "latency_ms": fixed + self.gate.air_ms(),
        }


def run_headless(station: Station, args: argparse.Namespace) -> dict:
    """Keys as told, for as long as told; returns the facts at the end."""
    begin = time.monotonic()
    station.start()
    try:
        while (now := time.monotonic() - begin) < args.seconds:
            station.key(any(first <= now < last for first, last in args.key))
            station.refresh()
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass
    return station.facts()


def seconds_of(text: str) -> tuple[float, float]:
    """``FIRST-LAST`` in seconds."""
    first, _, last = text.partition("-")
    return float(first), float(last)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_radio(top)
    add_call_sign(top)
    top.add_argument("--source", metavar="WAV", help="in place of the microphone")
    top.add_argument("--sink", metavar="WAV", help="in place of the loudspeaker")
    top.add_argument("--keep-speech", metavar="WAV", help="what is heard, as well as played")
    top.set_defaults(analogue=False)
    top.add_argument("--profile", choices=SINGLE_CARRIER, default="ssb", help="[%(default)s]")
    top.add_argument("--budget", type=float, default=1100.0, metavar="BPS", help="payload [1100]")
    top.add_argument(
        "--concealer",
        default="interpolate",
        help="interpolate, lm, repeat or silence [interpolate]",
    )
    top.add_argument("--key-up-ms", type=float, default=0.0, help="preamble of the first packet")
    top.add_argument("--vad", action="store_true", help="a voice keys as well as the button")
    top.add_argument(
        "--longest-over", type=float, default=LONGEST_OVER_S, metavar="SECONDS",
        help="then the transmitter is released until the key is up; inf: never [180]",
    )  # fmt: skip
    top.add_argument("--to", dest="send_to", metavar="ZMQ", help="PUSH: tcp://HOST:PORT")
    top.add_argument("--from", dest="hear_from", metavar="ZMQ", help="PULL: tcp://HOST:PORT")
    top.add_argument(
        "--simulate", type=float, nargs="?", const=15.0, metavar="DB",
        help="hear what is sent, through a channel of this Es/N0 [15]",
    )  # fmt: skip
    top.add_argument("--fading", choices=["none", "rayleigh", "selective"], default="none")
    top.add_argument("--seed", type=int, default=1, help="of noise and fading [1]")
    top.add_argument("--headless", action="store_true", help="no window; JSON at the end")
    top.add_argument(
        "--key", type=seconds_of, action="append", default=[], metavar="FIRST-LAST",
        help="seconds at which the button is down, with --headless; may be given again",
    )  # fmt: skip
    top.add_argument("--seconds", type=float, default=math.inf, help="stop after this [Ctrl-C]")
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs the station; returns the exit status."""
    args = parser().parse_args(arguments)
    stopped_by_signals()
    try:
        station = Station(args)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"push_to_talk: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    try:
        if args.headless:
            print(json.dumps(run_headless(station, args)))
            return 0
        from talk_panel import run_panel

        return run_panel(station, args.seconds)
    finally:
        station.close()


if __name__ == "__main__":
    sys.exit(main())
