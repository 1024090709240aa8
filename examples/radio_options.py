# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of radio.py and push_to_talk.py, and the radio that they mean."""

import argparse

from gnuradio.largesc.options import ANALOGUE_PROFILES, LinkOptions
from gnuradio.largesc.radio.profiles import PROFILES, RadioProfile
from gnuradio.largesc.radio.symbol_burst import find_symbol_profile
from radio_devices import Radio
from transceiver import add_rig

DEFAULT_PROFILE = "ssb"
# Of a cheap crystal, at either end.
AFC_PPM, MOST_PPM = 20.0, 1000.0
# What every sound card has, and what an SSB transceiver lets through.
CARD_RATE_HZ, SSB_BANDWIDTH_HZ = 48000.0, 2700.0
# Options that analogue speech has no use for, and why.
OF_PACKETS = {
    "budget": "there are no bits",
    "expected_loss": "there are no packets",
    "layout": "there are no packets",
    "key_up_ms": "its own preamble is long",
    "text": "there are no packets",
    "afc": "carriers up to 12 % of the symbol rate away are found",
    "window": "examples/analogue_speech.grc has one",
    "picture": "there is no window",
}


def profile_of(args: argparse.Namespace) -> RadioProfile:
    """The profile that is meant, of packets or of analogue speech.

    Raises:
        ValueError: it is one of the other.
    """
    name = args.profile or DEFAULT_PROFILE
    if args.analogue and name not in ANALOGUE_PROFILES:
        known = ", ".join(ANALOGUE_PROFILES)
        raise ValueError(f"profile {name} carries no analogue speech: use one of {known}")
    if not args.analogue and name not in PROFILES:
        raise ValueError(f"profile {name} carries analogue speech only: use it with --analogue")
    return find_symbol_profile(name) if args.analogue else PROFILES[name]


def check_analogue(args: argparse.Namespace) -> None:
    """Raises ValueError where an option is of packets only, but speech is analogue."""
    defaults = vars(parser().parse_args([args.command]))
    for name, why in OF_PACKETS.items():
        if args.analogue and name in defaults and getattr(args, name) != defaults[name]:
            raise ValueError(
                f"--{name.replace('_', '-')} is none of --analogue, since {why}: leave it out"
            )


def radio_of(args: argparse.Namespace) -> Radio | None:
    """The radio that is meant, None for a file or ZMQ.

    Raises:
        ValueError: an option is missing or contradicts another.
    """
    given = radios(args) | {args.other: args.samples}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise ValueError(f"give one of {', '.join(given)}; given: {', '.join(named) or 'none'}")
    if args.samples is None:
        return radio_named(args)
    if args.rig:
        raise ValueError("--rig keys a transmitter: use it with --audio, --device or --uhd")
    return None


def radios(args: argparse.Namespace) -> dict[str, str | None]:
    """Options that name a radio, and what they were given."""
    return {"--device": args.device, "--uhd": args.uhd, "--audio": args.audio}


def radio_named(args: argparse.Namespace) -> Radio:
    """The radio of ``--device``, ``--uhd`` or ``--audio``.

    Raises:
        ValueError: an option is missing, or is none of this radio's.
    """
    named, device = next((n, v) for n, v in radios(args).items() if v is not None)
    if named == "--audio":
        return sound_card(args, device)
    if not args.frequency > 0 or not args.sample_rate > 0:
        raise ValueError(f"{named} needs --frequency and --sample-rate, such as 250e3")
    frequency, gains = args.frequency - args.tune_below, dict(args.gain)
    library = "soapy" if named == "--device" else "uhd"
    return Radio(library, device, args.sample_rate, frequency, gains, args.antenna)


def sound_card(args: argparse.Namespace, device: str) -> Radio:
    """A transceiver at a sound card; sets ``args.sample_rate`` to the card's.

    Raises:
        ValueError: an option is none of a sound card's, or the profile is too wide.
    """
    if args.gain or args.antenna or args.tune_below:
        raise ValueError("--gain, --antenna and --tune-below are set at the transceiver itself")
    profile = profile_of(args)
    if (width := profile.bandwidth_hz) > SSB_BANDWIDTH_HZ:
        raise ValueError(
            f"profile {profile.name} is {width / 1000:g} kHz wide: through a sound card and an SSB "
            "transceiver go ssb and ssb_bpsk"
        )
    args.sample_rate = args.sample_rate or CARD_RATE_HZ
    return Radio("audio", device, args.sample_rate, args.frequency)


def gain_of(text: str) -> tuple[str, float]:
    """``NAME=DB`` or ``DB`` to name and gain."""
    name, _, gain = text.rpartition("=")
    return name, float(gain)


def add_radio(part: argparse.ArgumentParser) -> None:
    """Options of the radio itself."""
    radio = part.add_argument_group("radio")
    radio.add_argument("--device", metavar="STRING", help="of gr-soapy: driver=rtlsdr")
    radio.add_argument("--uhd", metavar="STRING", help="of gr-uhd: type=b200; '' for any")
    radio.add_argument(
        "--audio", metavar="CARD",
        help="sound card of an SSB transceiver: plughw:1,0; '' for the default one",
    )  # fmt: skip
    add_rig(radio)
    radio.add_argument(
        "--frequency", type=float, default=0.0, metavar="HZ", help="with --rig, the dial"
    )
    radio.add_argument(
        "--sample-rate", type=float, default=0.0, metavar="HZ",
        help="[the profile's; 48000 of a sound card]",
    )  # fmt: skip
    radio.add_argument(
        "--gain", type=gain_of, action="append", default=[], metavar="[NAME=]DB",
        help="of all stages together, or of one; may be given again [the radio's own]",
    )  # fmt: skip
    radio.add_argument("--antenna", default="", metavar="NAME")
    radio.add_argument(
        "--tune-below", type=float, default=0.0, metavar="HZ",
        help="tune so much lower and shift, away from the carrier that radios leak [0]",
    )  # fmt: skip


def add_call_sign(part: argparse.ArgumentParser) -> None:
    """Options of the station identification."""
    part.add_argument(
        "--call-sign", default="", metavar="CALL", help="sent in Morse code, and with --text"
    )
    part.add_argument("--text", default="", help="goes along with the speech, to be read")
    part.add_argument(
        "--ident-minutes", type=float, default=10.0, metavar="MIN",
        help="between two calls, at the end of overs; 0: of each over [10]",
    )  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        description="Speech over the air, with a radio or with a file or ZMQ in its place."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="tx | rx")
    tx = commands.add_parser("tx", help="speech to the air")
    rx = commands.add_parser("rx", help="the air to speech")
    tx.add_argument("wav", nargs="?", help="WAV file to send; without, the microphone")
    rx.add_argument("wav", nargs="?", help="WAV file to write; without, the loudspeaker")
    for part in (tx, rx):
        add_radio(part)
        part.add_argument(
            "--profile", choices=[*PROFILES, "medium"],
            help=f"[that of a recording, else {DEFAULT_PROFILE}]",
        )  # fmt: skip
        part.add_argument(
            "--analogue", action="store_true",
            help="speech as analogue symbols in place of packets, with ssb, medium or narrow",
        )  # fmt: skip
        part.add_argument(
            "--layout", choices=["sequential", "parity"], default=LinkOptions.layout,
            help="of what is sent twice, the same at both ends; parity: the receiver waits 2 s for "
            "what is lost, and gets more of it [%(default)s]",
        )  # fmt: skip
        part.add_argument("--seconds", type=float, help="stop after this [at the end, or Ctrl-C]")
    where = "FILE.sigmf-data, FILE of bare samples, or tcp://HOST:PORT of ZMQ (PUSH and PULL)"
    tx.add_argument("--to", dest="samples", metavar="WHERE", help=where)
    rx.add_argument("--from", dest="samples", metavar="WHERE", help=where)
    rx.add_argument(
        "--afc", type=float, default=AFC_PPM, metavar="PPM",
        help="search so far around --frequency for the carrier [%(default)g]",
    )  # fmt: skip
    rx.add_argument("--record", metavar="FILE", help="keep the samples that come, as --to does")
    rx.add_argument("--keep-speech", metavar="WAV", help="as well as what is played")
    rx.add_argument("--window", action="store_true", help="waterfall, symbols, lamps and figures")
    rx.add_argument("--picture", metavar="PNG", help="of the window, at the end")
    tx.add_argument("--budget", type=float, default=1100.0, metavar="BPS", help="payload [1100]")
    tx.add_argument(
        "--expected-loss",
        type=float,
        default=0.0,
        metavar="P",
        help="copies or parity go out for it [0]",
    )
    add_call_sign(tx)
    tx.add_argument("--key-up-ms", type=float, default=0.0, help="preamble; not with wide [0]")
    air = tx.add_argument_group("simulated air")
    air.add_argument(
        "--simulate", type=float, nargs="?", const=15.0, metavar="DB",
        help="a channel of this Es/N0 in place of the air; with --analogue, SNR in 3 kHz [15]",
    )  # fmt: skip
    air.add_argument("--carrier-offset", type=float, default=0.0, metavar="HZ", help="[0]")
    air.add_argument("--fading", choices=["none", "rayleigh", "selective"], default="none")
    air.add_argument("--seed", type=int, default=1, help="[1]")
    tx.set_defaults(other="--to")
    rx.set_defaults(other="--from")
    return top
