# SPDX-License-Identifier: GPL-3.0-or-later
"""A device of the translation link: a speaker's sends log-mel, a listener's shows text and speaks.

Neither has any part of the large model.
"""

import argparse
import json
import queue
import threading
import time
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from ..features.text import Text
from ..features.voice import MOST_SPEECH_AGE_S, Phrases, Voice, length_at
from ..files import replacing, writable_file
from ..flowgraphs.speech_writer import speech_writer
from ..flowgraphs.transport import check_free
from ..options import TranslationOptions
from ..packets.pieces import END, MOST_CALL, Whole
from ..speech.format import SAMPLE_RATE_HZ
from ..tasks.translation import Sound, SpeakerDevice
from ..tasks.translation_packets import SEGMENT, TEXT, read_text, segment_bytes
from .audio import opened
from .facts import rounded
from .process import ending, stdout_for_data
from .say import say
from .translate import Screen, options_of, subtitles
from .translate_peers import Listener, Sender, is_old
from .unused import fill, refuse_unused
from .watches import wait_for


def device(args: argparse.Namespace) -> int:
    """Runs the device of a speaker, or of a listener."""
    options = options_of(args)
    if (args.to is None) == (args.listen is None) or (args.to is None) != (args.input is None):
        raise ValueError(
            "device is a speaker's with an input and --to HOST:PORT, or a listener's with --listen "
            "HOST:PORT"
        )
    if args.to:
        theirs = ["output", "srt", "voice"]
        refuse_unused(args, theirs, "at a speaker's device", "give {it} to the listener's")
        return speaker(args, options)
    theirs = ["call", "front", "segments", "segment_s"]
    refuse_unused(args, theirs, "at a listener's device", "give {it} to the speaker's")
    if args.output is None:
        refuse_unused(args, ["voice"], "without speech", "give --output FILE")
    if args.json and args.output == "-":
        raise ValueError("--json: speech goes to stdout: give --output a file")
    with stdout_for_data() if args.output == "-" else nullcontext() as stdout:
        return listener(args, options, args.output if stdout is None else stdout)


def tell_facts(args: argparse.Namespace, facts: dict) -> None:
    """What there is to say at the end."""
    if args.json:
        print(json.dumps({"statistics": rounded(facts)}), flush=True)
    else:
        say(", ".join(f"{name} {value}" for name, value in rounded(facts).items()))


def speaker(args: argparse.Namespace, options: TranslationOptions) -> int:
    """Sends speech to an edge, in real time."""
    fill(args, call=0, front="whisper")
    if not 0 <= args.call <= MOST_CALL:
        raise ValueError(f"--call {args.call}: use 0 to {MOST_CALL}")
    reader, own = opened(args.input), SpeakerDevice(options, args.front)
    told = Sender(args.to)
    watches, begin = (told.watch("the edge"),), time.monotonic()

    def tell(sounds: Iterable[Sound]) -> None:
        for sound in sounds:
            told.send(SEGMENT, segment_bytes(sound), args.call)

    with ending.awaited():
        for piece in reader:
            tell(own.push(piece))
            due_s = begin + reader.samples / SAMPLE_RATE_HZ
            wait_for(lambda due_s=due_s: time.monotonic() >= due_s, watches=watches)
            if ending.signal or 0 < args.seconds < time.monotonic() - begin:
                break
        tell(own.flush())
    told.send(END, b"", args.call)
    told.close()
    spoken_s = reader.samples / SAMPLE_RATE_HZ
    facts = {"seconds": spoken_s, "silent_s": own.silent_s, "answers": told.answers}
    facts |= told.counters | {"bps": 8 * told.counters["bytes"] / max(1.0, spoken_s)}
    tell_facts(args, facts)
    return ending.status() if ending.signal else 0


def listener(args: argparse.Namespace, options: TranslationOptions, output: str | int) -> int:
    """Shows text of an edge, and says it."""
    check_free(args.listen)
    for path in (args.srt, output):
        if path is not None and not isinstance(path, int):
            writable_file(Path(path))
    mouth = Mouth(Voice(options.voice), output) if output is not None else None
    heard, screen, own = Listener(args.listen), Screen(args.json), ListenerDevice(mouth)
    watch, begin = heard.watch("the edge"), time.monotonic()
    say(f"listening at {args.listen}")
    with ending.awaited():
        while not ending.signal and not 0 < args.seconds < time.monotonic() - begin:
            watch.look()
            if mouth is not None:
                mouth.play()
            if (whole := heard.receive(0.02)) is None:
                continue
            if (text := own.take(whole)) is not None:
                screen.show(text, time.monotonic() - begin)
    screen.end()
    heard.close()
    facts = own.counters | heard.counters
    if mouth is not None:
        facts |= mouth.close()
    if args.srt:
        with replacing(Path(args.srt)) as partial:
            partial.write_text(subtitles(mouth.phrases if mouth else own.phrases))
    tell_facts(args, facts)
    return 0


class ListenerDevice:
    """Text of an edge, in phrases for a mouth.

    Attributes:
        phrases: shown so far, where there is no mouth: text, and seconds when it came, twice.
        counters: ``texts``, ``words`` that stay, ``unusable`` messages.
    """

    def __init__(self, mouth: "Mouth | None") -> None:
        self._mouth, self._phrases, self._begin = mouth, Phrases(), time.monotonic()
        # Of the words that are no whole phrase yet: their window, and when the first came.
        self._window, self._since_s = (-1, -1), 0.0
        self.phrases: list[tuple[str, float, float]] = []
        self.counters = {"texts": 0, "words": 0, "unusable": 0}

    def take(self, whole: Whole) -> Text | None:
        """The text of a message; None where it ends the call, and, counted, where it holds none."""
        if whole.kind == END:
            self._hand_on("", True)
            return None
        try:
            if whole.kind != TEXT:
                raise ValueError(f"kind {whole.kind} comes from another part of the link")
            text = read_text(whole.message)
        except ValueError as error:
            self.counters["unusable"] += 1
            if self.counters["unusable"] == 1:
                say(f"a message cannot be used: {error}; more of them are counted")
            return None
        self.counters["texts"] += 1
        self.counters["words"] += len(text.committed.split())
        window = whole.session, text.window
        if window != self._window:
            # The end of the one before was lost.
            self._hand_on("", True)
            self._window = window
        if not self._phrases.waiting:
            self._since_s = whole.arrived_s
        self._hand_on(text.committed, text.last)
        return text

    def _hand_on(self, words: str, last: bool) -> None:
        """Phrases that are whole with these words are as old as their first one."""
        for phrase in self._phrases.push(words, last):
            if self._mouth is not None:
                self._mouth.say(phrase, self._since_s)
            else:
                at_s = self._since_s - self._begin
                self.phrases.append((phrase, at_s, at_s))


class Mouth:
    """Says phrases one after the other on the clock, with silence between.

    What has waited for more than 15 s is not said. Phrases become speech in a thread.

    Args:
        voice: says them.
        target: a path, or a descriptor, of a WAV file.

    Attributes:
        phrases: that were said: text, and the seconds when it began and ended.
    """

    def __init__(self, voice: Voice, target: str | int) -> None:
        # The first time takes seconds.
        voice.say("one")
        self._voice, self._writer = voice, speech_writer(target=target)
        self._texts: queue.Queue[tuple[str, float] | None] = queue.Queue()
        self._speech: queue.Queue[tuple[str, float, np.ndarray]] = queue.Queue()
        self._now, self._unsaid = np.zeros(0, dtype=np.float32), 0
        # Written by the thread, and by play().
        self._made, self._taken = 0, 0
        self.phrases: list[tuple[str, float, float]] = []
        self._begin = time.monotonic()
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._thread.start()

    def say(self, phrase: str, arrived_s: float) -> None:
        """Takes a phrase of a text that came then."""
        self._texts.put((phrase, arrived_s))

    def play(self) -> None:
        """Writes what is due by the clock. Call it several times a second."""
        due = int((time.monotonic() - self._begin) * SAMPLE_RATE_HZ) - self._writer.samples
        while due > 0 and not self._writer.over():
            if not len(self._now):
                self._next()
            piece = self._now[:due] if len(self._now) else np.zeros(due, dtype=np.float32)
            self._now = self._now[due:]
            self._writer.work([piece], [])
            due -= len(piece)
        if self._writer.error:
            raise ValueError(self._writer.error)

    def close(self) -> dict[str, int]:
        """Ends the file; returns counters."""
        self._texts.put(None)
        self._thread.join()
        self._writer.stop()
        return {"phrases": len(self.phrases), "unsaid": self._unsaid}

    def _next(self) -> None:
        """The next phrase that is not too old."""
        while not self._speech.empty():
            text, arrived_s, speech = self._speech.get_nowait()
            self._taken += len(speech)
            if is_old(arrived_s, MOST_SPEECH_AGE_S):
                self._unsaid += 1
                continue
            at_s = self._writer.samples / SAMPLE_RATE_HZ
            self.phrases.append((text, at_s, at_s + len(speech) / SAMPLE_RATE_HZ))
            self._now = speech
            return

    def _make(self) -> None:
        while (found := self._texts.get()) is not None:
            phrase, arrived_s = found
            waiting_s = (self._made - self._taken) / SAMPLE_RATE_HZ
            try:
                speech = self._voice.say(phrase, length_at(waiting_s))
            except Exception as error:
                # Words of the network, which are no reason to be silent from then on.
                say(f"{phrase!r} cannot be said: {error}")
                continue
            self._made += len(speech)
            self._speech.put((phrase, arrived_s, speech))
