# SPDX-License-Identifier: GPL-3.0-or-later
"""An edge of the translation link: between a device and the air, with a half of the large model."""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..channel_codec.load import load_channel_code
from ..features.load import large_model
from ..flowgraphs.transport import check_free
from ..options import MOST_SEED, TranslationOptions, check_range
from ..packets.pieces import CALL_OVER_S, END, Whole
from ..tasks.translation import (
    PATIENCE_S,
    Air,
    SpeakerEdge,
    TranslationReceiver,
)
from ..tasks.translation_packets import (
    BURST,
    SEGMENT,
    TEXT,
    burst_bytes,
    read_burst,
    read_segment,
    text_bytes,
)
from .facts import rounded
from .process import ending
from .say import say
from .translate import options_of
from .translate_peers import MOST_CALLS, Devices, Listener, Sender, is_old
from .unused import refuse_unused


class SpeakerSide:
    """Segments in, bursts behind the channel out.

    Attributes:
        takes, gives: kinds of messages.
        patience_s: how long the next segment of a window is waited for.
    """

    takes, gives = SEGMENT, BURST
    before, behind = "a device", "the listener's edge"

    def __init__(self, options: TranslationOptions) -> None:
        code = load_channel_code(options.channel_code, options.symbols)
        self._edge = SpeakerEdge(options, large_model(options.model), code)
        self._air, self.patience_s = Air(options), PATIENCE_S

    def take(self, message: bytes) -> Iterator[bytes]:
        """Encodes a segment and yields the bursts that go on to the listener's edge."""
        sound = read_segment(message)
        self.patience_s = PATIENCE_S + 2.0 * 0.01 * len(sound.frames)
        return self._sent(self._edge.push(sound))

    def leave_out(self, message: bytes) -> Iterator[bytes]:
        """For a message that is too old: only the end of its window counts."""
        return self.flush() if read_segment(message).last else iter(())

    def restart(self) -> Iterator[bytes]:
        """For a device that has begun anew."""
        return self.flush()

    def flush(self) -> Iterator[bytes]:
        """Ends a window and yields its last bursts."""
        return self._sent(self._edge.flush())

    def counters(self) -> dict[str, int]:
        """Returns the number of bursts that this side has made."""
        return {"bursts": self._edge.bursts}

    def _sent(self, bursts: Iterator) -> Iterator[bytes]:
        return (burst_bytes(self._air(burst)) for burst in bursts)


class ListenerSide:
    """Bursts in, text for a device out; attributes as of :class:`SpeakerSide`."""

    takes, gives = BURST, TEXT
    before, behind = "the speaker's edge", "the device"

    def __init__(self, options: TranslationOptions) -> None:
        code = load_channel_code(options.channel_code, options.symbols)
        self._receiver = TranslationReceiver(options, large_model(options.model), code)

    @property
    def patience_s(self) -> float:
        """How long the next burst of a window is waited for."""
        return self._receiver.patience_s

    def take(self, message: bytes) -> Iterator[bytes]:
        """Decodes a burst and yields the text that goes on to the device."""
        return map(text_bytes, self._receiver.push(read_burst(message)))

    def leave_out(self, message: bytes) -> Iterator[bytes]:
        """For a message that is too old: the next one ends its window, or nothing more."""
        return iter(())

    def restart(self) -> Iterator[bytes]:
        """For an edge that has begun anew."""
        return map(text_bytes, self._receiver.restart())

    def flush(self) -> Iterator[bytes]:
        """Ends a window and yields its last text."""
        return map(text_bytes, self._receiver.flush())

    def counters(self) -> dict[str, int]:
        """Of this side, but for those names that packets have as well."""
        return {f"decoder_{k}": v for k, v in self._receiver.counters.items()}


@dataclass
class Call:
    """What an edge keeps of one speaker."""

    side: SpeakerSide | ListenerSide
    since_s: float
    session: int | None = None


class Edge:
    """Hands messages of a listener through sides, one a call, to a sender.

    Args:
        side_of: makes the side of a call, from its number.
        heard: gives messages.
        told: takes them.

    Attributes:
        counters: ``calls`` so far; ``too_old``: messages that waited for too long; ``unusable``
            ones; those of the sides, together.
    """

    def __init__(
        self,
        side_of: Callable[[int], SpeakerSide | ListenerSide],
        heard: Listener,
        told: Sender | Devices,
    ) -> None:
        self._side_of, self._heard, self._told = side_of, heard, told
        self._calls: dict[int, Call] = {}
        self._over: Counter[str] = Counter()
        self._own = {"calls": 0, "too_old": 0, "unusable": 0}

    @property
    def counters(self) -> dict[str, int]:
        """Of all calls together, those that are over among them."""
        sides = Counter(self._over)
        for call in self._calls.values():
            sides.update(call.side.counters())
        return self._own | dict(sides)

    def step(self) -> None:
        """Waits a little for a message, and hands it on."""
        whole = self._heard.receive()
        now = time.monotonic()
        for number, call in list(self._calls.items()):
            own = whole is not None and whole.call == number
            if not own and now - call.since_s > call.side.patience_s:
                self._attempt(lambda n=number, side=call.side: self._tell(n, side.flush()))
            if not own and now - call.since_s > CALL_OVER_S:
                self._end(number)
        if whole is None:
            return
        if whole.kind == END:
            self._hang_up(whole)
            return
        call = self._call(whole.call)
        if call.session not in (None, whole.session):
            self._attempt(lambda: self._tell(whole.call, call.side.restart()))
        call.session = whole.session
        self._attempt(lambda: self._take(call.side, whole))
        call.since_s = time.monotonic()

    def _attempt(self, part: Callable[[], None]) -> None:
        """Does it; whatever fails in it, the next message may be good."""
        try:
            part()
        except Exception as error:
            self._own["unusable"] += 1
            if self._own["unusable"] == 1:
                say(f"a message cannot be used: {error}; more of them are counted")

    def _call(self, number: int) -> Call:
        if number not in self._calls:
            self._own["calls"] += 1
            self._calls[number] = Call(self._side_of(number), time.monotonic())
        return self._calls[number]

    def _hang_up(self, whole: Whole) -> None:
        """Ends the call of a message that says so, and says so to who is behind."""
        call = self._calls.get(whole.call)
        if call is None or call.session not in (None, whole.session):
            return
        self._attempt(lambda: self._tell(whole.call, call.side.flush()))
        self._told.send(END, b"", whole.call)
        self._end(whole.call)

    def _end(self, number: int) -> None:
        self._over.update(self._calls.pop(number).side.counters())
        self._told.end(number)

    def _take(self, side: SpeakerSide | ListenerSide, whole: Whole) -> None:
        if whole.kind != side.takes:
            raise ValueError(f"kind {whole.kind} comes from another part of the link")
        if is_old(whole.arrived_s):
            self._own["too_old"] += 1
            self._tell(whole.call, side.leave_out(whole.message))
        else:
            self._tell(whole.call, side.take(whole.message))

    def _tell(self, call: int, messages: Iterator[bytes]) -> None:
        for message in messages:
            self._told.send(self._calls[call].side.gives, message, call)


def check_used(args: argparse.Namespace, options: TranslationOptions) -> None:
    """Raises ValueError for an option that would do nothing at this edge."""
    if args.listener:
        theirs = ["policy", "channel", "seed"]
        refuse_unused(args, theirs, "at the listener's edge", "give {it} to the speaker's")
        return
    refuse_unused(args, ["language"], "at the speaker's edge", "give {it} to the listener's")
    if options.channel == "none":
        noisy = "use --channel awgn or rayleigh"
        refuse_unused(args, ["snr_db", "seed"], "with --channel none", noisy)


def edge(args: argparse.Namespace) -> int:
    """Runs an edge until a signal, or for ``args.seconds``."""
    options = options_of(args)
    check_used(args, options)
    check_range("calls", args.calls, 1, MOST_CALLS)
    check_free(args.listen)
    kind = SpeakerSide if args.speaker else ListenerSide

    def side_of(call: int) -> SpeakerSide | ListenerSide:
        # No two calls have the same noise.
        return kind(replace(options, seed=(options.seed + call) % MOST_SEED))

    # Here, so that what does not fit is said at once, and the first call finds the model loaded.
    side_of(0)
    # Opened when the models are there: what came before would be old.
    heard, told = Listener(args.listen, args.calls), Devices(args.to)
    running, begin = Edge(side_of, heard, told), time.monotonic()
    watches = heard.watch(kind.before), *told.watches(kind.behind)
    say(f"listening at {args.listen}, sending to {', '.join(args.to)}")
    with ending.awaited():
        while not ending.signal and not 0 < args.seconds < time.monotonic() - begin:
            running.step()
            for watch in watches:
                watch.look()
    heard.close()
    told.close()
    facts = running.counters | heard.counters | told.counters
    if args.json:
        print(json.dumps({"statistics": rounded(facts)}), flush=True)
    else:
        say(", ".join(f"{name} {value}" for name, value in facts.items()))
    return 0
