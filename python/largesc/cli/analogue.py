# SPDX-License-Identifier: GPL-3.0-or-later
"""The command analogue: speech as analogue symbols over simulated air."""

import argparse
import json
from pathlib import Path

from ..files import writable_file
from ..options import (
    ANALOGUE_PROFILES,
    MOST_DOPPLER_HZ,
    MOST_SEED,
    SYMBOL_CHANNELS,
    AnalogueOptions,
    check_range,
)
from ..speech.format import SAMPLE_RATE_HZ
from .audio import check_two_files, opened
from .say import say
from .unused import fill, refuse_unused

SNR_DB, DOPPLER_HZ, SEED = 0.0, 1.0, 1


def parser() -> argparse.ArgumentParser:
    """The command line of ``largesc analogue``."""
    default = AnalogueOptions()
    top = argparse.ArgumentParser(
        prog="largesc analogue",
        description="Speech over simulated air as analogue symbols: rougher as the SNR falls.",
    )
    top.add_argument("input", help="audio file, - for stdin")
    top.add_argument("output", help="WAV file")
    top.add_argument(
        "--snr", dest="snr_db", type=float, metavar="DB",
        help=f"power while sending over the noise in 3 kHz [{SNR_DB:g}]",
    )  # fmt: skip
    top.add_argument("--channel", choices=SYMBOL_CHANNELS, default="awgn", help="[%(default)s]")
    top.add_argument(
        "--doppler", dest="doppler_hz", type=float, metavar="HZ",
        help=f"greatest shift of rayleigh [{DOPPLER_HZ:g}]",
    )  # fmt: skip
    top.add_argument(
        "--profile", choices=ANALOGUE_PROFILES, default=default.profile, help="[%(default)s]"
    )
    top.add_argument("--codec", default=default.codec, help="model source [%(default)s]")
    top.add_argument(
        "--model", default=default.model, help="source of the channel code [%(default)s]"
    )
    top.add_argument("--seed", type=int, help=f"of the air [{SEED}]")
    top.add_argument("--raw", type=int, metavar="HZ", help="raw 16-bit mono PCM at this rate")
    top.add_argument("--json", action="store_true", help="statistics as a line of JSON on stdout")
    return top


def analogue(arguments: list[str]) -> int:
    """Runs ``largesc analogue`` with its arguments; returns the exit status."""
    import soundfile

    from ..tasks.analogue_loopback import AnalogueLoopback

    args = parser().parse_args(arguments)
    if args.channel != "rayleigh":
        air = f"with --channel {args.channel}"
        refuse_unused(args, ["doppler_hz"], air, "use --channel rayleigh")
    if args.channel == "none":
        noisy = "use --channel awgn or rayleigh"
        refuse_unused(args, ["snr_db", "seed"], "with --channel none", noisy)
    fill(args, snr_db=SNR_DB, doppler_hz=DOPPLER_HZ, seed=SEED)
    check_range("--snr", args.snr_db, -100, 100)
    check_range("--doppler", args.doppler_hz, 0, MOST_DOPPLER_HZ)
    check_range("--seed", args.seed, 0, MOST_SEED)
    if args.output == "-":
        raise ValueError("the output - is no file: name a WAV file")
    check_two_files(args.input, args.output)
    writable_file(Path(args.output))
    reader = opened(args.input, args.raw)
    options = AnalogueOptions(args.profile, args.codec, args.model).checked()
    link = AnalogueLoopback(
        options,
        None if args.channel == "none" else args.snr_db,
        args.doppler_hz if args.channel == "rayleigh" else None,
        args.seed,
    )
    with soundfile.SoundFile(args.output, "w", SAMPLE_RATE_HZ, 1, "PCM_16", format="WAV") as out:
        for speech in link.run(reader):
            out.write(speech)
    facts = link.figures()
    if args.json:
        print(json.dumps(facts), flush=True)
    if not facts["bursts"]:
        say(
            f"none of {facts['bursts_sent']} bursts was read, and nothing but comfort noise is "
            "heard: raise --snr, or try another --seed"
        )
        return 0
    say(
        f"{facts['bursts']} of {facts['bursts_sent']} bursts read, {facts['bandwidth_hz']:g} Hz, "
        f"SNR of a symbol {facts['symbol_snr_db']:g} dB as measured, {100 * facts['unsure']:.0f} % "
        f"of the speech's variance unsure; live it is {facts['delay_s']:.2f} s late"
    )
    return 0
