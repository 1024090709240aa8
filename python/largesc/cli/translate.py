# SPDX-License-Identifier: GPL-3.0-or-later
"""The command translate: speech in, English text and speech out."""

import argparse
import json
import sys
import time
from collections.abc import Container
from dataclasses import fields
from pathlib import Path

from ..features.fronts import FRONTS
from ..files import replacing, writable_file
from ..options import (
    SEGMENT_RULES,
    SYMBOL_CHANNELS,
    TRANSLATION_POLICIES,
    TranslationOptions,
)
from ..speech.files import write_audio
from ..speech.format import SAMPLE_RATE_HZ
from .audio import check_two_files, opened
from .facts import rounded
from .say import say
from .translate_peers import CALLS, MOST_CALLS
from .unused import refuse_unused

ADDRESS = "HOST:PORT"
# Of a terminal: to the begin of the line, which is emptied.
CLEAR = "\r\x1b[K"


def add_options(parser: argparse.ArgumentParser, names: Container[str] | None = None) -> None:
    """Adds the options of the link, or those of them with these ``names``; None: not given."""
    default = TranslationOptions()

    def add(name: str, text: str, **kind: object) -> None:
        field = kind.setdefault("dest", name.removeprefix("--").replace("-", "_"))
        if names is None or field in names:
            parser.add_argument(name, help=f"{text} [{getattr(default, field)}]", **kind)

    add("--language", "that is spoken, as the model names it")
    add("--model", "Whisper base, a folder of Whisper or SeamlessM4T v2, or hf://OWNER/NAME")
    add("--channel-code", "embedded, or a folder")
    add("--voice", "of Piper: joe, or a path")
    add("--segments", "lengths: fixed, or by the amplitude", choices=SEGMENT_RULES)
    add("--segment-s", "length of a segment", type=float, metavar="S")
    add("--policy", "what is translated together", choices=TRANSLATION_POLICIES)
    add("--symbols", "complex symbols a frame, of 20 ms with Whisper", type=int, metavar="N")
    add("--channel", "between the ends", choices=SYMBOL_CHANNELS)
    add("--snr", "mean SNR of a symbol in dB", dest="snr_db", type=float, metavar="DB")
    add("--seed", "of the channel", type=int)
    text = "profile of a modem that the symbols go through, ssb, medium or narrow; '': without one"
    add("--radio", text, metavar="PROFILE")
    add(
        "--doppler",
        "with --radio: greatest shift of rayleigh",
        dest="doppler_hz",
        type=float,
        metavar="HZ",
    )


def options_of(args: argparse.Namespace) -> TranslationOptions:
    """The options of the link from the command line.

    Raises:
        ValueError: one is out of range.
    """
    given = {field.name: getattr(args, field.name, None) for field in fields(TranslationOptions)}
    return TranslationOptions(**{k: v for k, v in given.items() if v is not None}).checked()


def check_used(args: argparse.Namespace, options: TranslationOptions) -> None:
    """Raises ValueError for an option of loopback or demo that would do nothing."""
    if not options.radio:
        refuse_unused(args, ["doppler_hz"], "without --radio", "give --radio medium as well")
    if options.channel != "rayleigh":
        air = f"with --channel {options.channel}"
        refuse_unused(args, ["doppler_hz"], air, "use --channel rayleigh")
    if options.channel != "none":
        return
    noisy = "use --channel awgn or rayleigh"
    refuse_unused(args, ["snr_db", "seed"], "with --channel none", noisy)
    if not options.radio:
        # Features go as they are.
        refuse_unused(args, ["symbols", "channel_code"], "with --channel none", noisy)


def parser() -> argparse.ArgumentParser:
    """The command line of ``largesc translate``."""
    top = argparse.ArgumentParser(
        prog="largesc translate",
        description="Speech in one language to English text and speech, as features over the air.",
    )
    commands = top.add_subparsers(dest="part", required=True, metavar="PART")
    text = "a file through both ends and a channel"
    loop = commands.add_parser("loopback", help=text, description=text)
    loop.add_argument("input", help="audio file, - for stdin")
    loop.add_argument("output", nargs="?", help="WAV file of the English; without: text alone")
    loop.add_argument("--srt", type=Path, metavar="FILE", help="subtitles as well")
    loop.add_argument("--json", action="store_true", help="a line of JSON a step on stdout")
    add_options(loop)
    text = "prompts of Debian from French, or another language, with a picture"
    demo = commands.add_parser("demo", help=text, description=text)
    demo.add_argument("--output", default="translation-output", help="folder [%(default)s]")
    add_options(demo)
    add_device(commands)
    add_edge(commands)
    return top


def add_device(commands: object) -> None:
    """Adds ``largesc translate device``, of the speaker or of the listener."""
    text = "a speaker's or a listener's device: speech to an edge, or text of an edge to speech"
    part = commands.add_parser("device", help=text, description=text)
    part.add_argument("input", nargs="?", help="speaker: audio file, - for stdin; in real time")
    part.add_argument("--to", metavar=ADDRESS, help="speaker: where the edge listens")
    part.add_argument("--listen", metavar=ADDRESS, help="listener: where text comes to")
    part.add_argument(
        "--call", type=int, metavar="N",
        help="speaker: a number for an edge that serves others as well, 0 to 65535 [0]",
    )  # fmt: skip
    part.add_argument("--output", metavar="FILE", help="listener: WAV of the English; - for stdout")
    part.add_argument("--srt", type=Path, metavar="FILE", help="listener: subtitles as well")
    part.add_argument(
        "--front", choices=FRONTS,
        help="speaker: that the edge's model takes; Whisper large-v3: whisper-128 [whisper]",
    )  # fmt: skip
    add_end(part)
    add_options(part, ("segments", "segment_s", "voice"))


def add_edge(commands: object) -> None:
    """Adds ``largesc translate edge``, of the speaker or of the listener."""
    text = "the half of the large model that a speaker's or a listener's edge runs"
    part = commands.add_parser("edge", help=text, description=text)
    side = part.add_mutually_exclusive_group(required=True)
    text = "speech of a device to symbols for another edge, behind the channel"
    side.add_argument("--speaker", action="store_true", help=text)
    text = "symbols to text for a device"
    side.add_argument("--listener", action="store_true", help=text)
    part.add_argument("--listen", metavar=ADDRESS, required=True, help="where to listen")
    part.add_argument(
        "--to", metavar=f"[CALL=]{ADDRESS}", required=True, action="append",
        help="the next edge, or the device; of one call alone, where it has a number",
    )  # fmt: skip
    part.add_argument(
        "--calls", type=int, default=CALLS, metavar="N",
        help=f"speakers at once, 1 to {MOST_CALLS} [%(default)s]",
    )  # fmt: skip
    part.add_argument(
        "--ray", type=int, metavar="N",
        help="listener: decode in N processes of Ray, also on other machines; 0: in this one [0]",
    )  # fmt: skip
    add_end(part)
    names = ("language", "model", "channel_code", "policy", "symbols", "channel", "snr_db", "seed")
    add_options(part, names)


def add_end(part: argparse.ArgumentParser) -> None:
    """Adds how a device or an edge ends, and what it says then."""
    text = "stop after this; 0: at the end, or at a signal"
    part.add_argument("--seconds", type=float, default=0.0, help=text)
    part.add_argument("--json", action="store_true", help="lines of JSON on stdout")


def translate(arguments: list[str]) -> int:
    """Runs ``largesc translate``; returns the exit status."""
    args = parser().parse_args(arguments)
    if args.part == "demo":
        from .translate_demo import demo

        return demo(args)
    if args.part == "device":
        from .translate_device import device

        return device(args)
    if args.part == "edge":
        from .translate_edge import edge

        return edge(args)
    return loopback(args)


def loopback(args: argparse.Namespace) -> int:
    """File to file through the whole chain, with the text as it comes."""
    from ..tasks.translation_loopback import Lags, TranslationLoopback

    options = options_of(args)
    check_used(args, options)
    if args.output:
        check_two_files(args.input, args.output)
    else:
        refuse_unused(args, ["voice"], "without speech", "name an OUTPUT.wav")
    for path in filter(None, (args.output, args.srt)):
        writable_file(Path(path))
    speech = opened(args.input)
    link = TranslationLoopback(options, voiced=args.output is not None)
    screen, lags, phrases, begin = Screen(args.json), Lags(), [], time.monotonic()
    for step in link.run(speech):
        lags.add(step)
        phrases += step.phrases
        screen.show(step.text, step.text_s, step.burst.spoken / SAMPLE_RATE_HZ)
    screen.end()
    if args.output:
        write_audio(Path(args.output), link.speech())
    if args.srt:
        with replacing(args.srt) as partial:
            partial.write_text(subtitles(phrases))
    facts = {
        "seconds": link.spoken_s,
        "times_real_time": link.spoken_s / max(1e-3, time.monotonic() - begin),
        **lags.figures(),
        "segments": link.sender.segments,
        "silent_s": link.sender.silent_s,
        **link.receiver.counters,
        "unsaid": link.unsaid,
    }
    if link.radio is not None:
        facts |= {f"radio_{name}": value for name, value in link.radio.figures().items()}
    if args.json:
        print(json.dumps({"statistics": {k: rounded(v) for k, v in facts.items()}}))
    else:
        sent = facts.get("radio_sent", 0)
        missing = sent - facts.get("radio_bursts", 0)
        say(
            f"{facts['seconds']:.1f} s in {facts['seconds'] / facts['times_real_time']:.1f} s; "
            f"median from the end of a phrase to its first word {facts['lag_first_s']:.1f} s"
            + (f"; {missing} of {sent} bursts were lost" * bool(missing))
            + (f"; {link.unsaid} phrases came too late to be said" * bool(link.unsaid))
            + (f"; {facts['doubtful']} times too little was understood" * bool(facts["doubtful"]))
        )
    return 0


class Screen:
    """Text as it comes: committed, and in dim letters what may change."""

    def __init__(self, as_json: bool) -> None:
        self._json, self._terminal = as_json, sys.stdout.isatty()
        self._line = ""

    def show(self, text: object, at_s: float, spoken_s: float | None = None) -> None:
        """Shows what a burst brought.

        Args:
            text: see :class:`gnuradio.largesc.features.text.Text`.
            at_s: when it came.
            spoken_s: seconds of the stream that were sent until then, where they are known.
        """
        if self._json:
            line = {
                "at_s": rounded(at_s),
                "window": text.window,
                "heard_s": rounded(text.heard_s if spoken_s is None else spoken_s),
                "committed": text.committed,
                "tentative": text.tentative,
                "last": text.last,
                "doubtful": text.doubtful,
            }
            print(json.dumps(line, ensure_ascii=False), flush=True)
            return
        self._line += text.committed
        if self._terminal:
            print(f"{CLEAR}{self._line.strip()}\x1b[2m{text.tentative}\x1b[0m", end="", flush=True)
        if text.last:
            self.end(at_s)

    def end(self, at_s: float | None = None) -> None:
        """Ends the line that is shown, with the time ``at_s`` in front where it is given."""
        if self._json or not self._line.strip():
            return
        when = "" if at_s is None else f"{at_s:7.1f} s  "
        print(f"{CLEAR * self._terminal}{when}{self._line.strip()}", flush=True)
        self._line = ""


def subtitles(phrases: list[tuple[str, float, float]]) -> str:
    """Phrases and the seconds when they begin and end, in the form SubRip."""
    lines = []
    for text, start_s, end_s in phrases:
        number = len(lines) + 1
        lines.append(
            f"{number}\n{srt_time(start_s)} --> {srt_time(max(end_s, start_s + 1))}\n{text}\n"
        )
    return "\n".join(lines)


def srt_time(seconds: float) -> str:
    """Hours, minutes, seconds and milliseconds as SubRip has them."""
    ms = round(1000 * seconds)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"
