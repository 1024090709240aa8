# SPDX-License-Identifier: GPL-3.0-or-later
"""An edge of the translation link: between a device and the air, with a half of the large model."""

import argparse
import json
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from ..channel_codec.load import load_channel_code
from ..features.load import large_model
from ..features.model import (
    MOST_TOGETHER,
    Answer,
    Asking,
    Hypothesis,
    Question,
    answered_together,
)
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
from .translate_peers import MOST_CALLS, POLL_S, Devices, Listener, Sender, is_old
from .unused import refuse_unused

MOST_DECODERS = 64


class SpeakerSide:
    """Segments in, bursts behind the channel out.

    Attributes:
        takes, gives: kinds of messages.
        patience_s: how long the next segment of a window is waited for.
    """

    takes, gives = SEGMENT, BURST
    # Encoding several at once takes as long as one after the other.
    together = 1
    before, behind = "a device", "the listener's edge"

    def __init__(self, options: TranslationOptions) -> None:
        code = load_channel_code(options.channel_code, options.symbols)
        self._edge = SpeakerEdge(options, large_model(options.model), code)
        self._air, self.patience_s = Air(options), PATIENCE_S

    def taking(self, message: bytes) -> Asking:
        """Encodes a segment, and returns the bursts that go on to the listener's edge."""
        yield from ()
        sound = read_segment(message)
        self.patience_s = PATIENCE_S + 2.0 * 0.01 * len(sound.frames)
        return list(self._sent(self._edge.push(sound)))

    def answer(self, questions: list[Question]) -> list[Hypothesis]:
        """A speaker's side asks nothing, and so there is nothing to answer."""
        return []

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
    together = MOST_TOGETHER
    before, behind = "the speaker's edge", "the device"

    def __init__(self, options: TranslationOptions) -> None:
        code = load_channel_code(options.channel_code, options.symbols)
        self._model = large_model(options.model)
        self._receiver = TranslationReceiver(options, self._model, code)

    @property
    def patience_s(self) -> float:
        """How long the next burst of a window is waited for."""
        return self._receiver.patience_s

    def taking(self, message: bytes) -> Asking:
        """Decodes a burst, and returns the text that goes on to the device."""
        texts = yield from self._receiver.pushing(read_burst(message))
        return [text_bytes(text) for text in texts]

    def answer(self, questions: list[Question]) -> list[Hypothesis]:
        """Asks the model all that waits, of other calls among it, at once."""
        return self._model.decode_all(questions)

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

    What has come of several calls is computed together.

    Args:
        side_of: makes the side of a call, from its number.
        heard: gives messages.
        told: takes them.
        together: calls that are computed at once, each of which waits for the last of them.
        answer: gives the model's answers; None: the sides do.

    Attributes:
        counters: ``calls`` so far; ``too_old``: messages that waited for too long; ``unusable``
            ones; ``steps`` of computing, each with a message of one call or of more; those of the
            sides, together.
    """

    def __init__(
        self,
        side_of: Callable[[int], SpeakerSide | ListenerSide],
        heard: Listener,
        told: Sender | Devices,
        together: int = 1,
        answer: Answer | None = None,
    ) -> None:
        self._side_of, self._heard, self._told = side_of, heard, told
        self._together, self._answer = together, answer
        self._calls: dict[int, Call] = {}
        self._over: Counter[str] = Counter()
        self._own = {"calls": 0, "too_old": 0, "unusable": 0, "steps": 0}
        # Came while another message of their call was not computed yet.
        self._later: deque[Whole] = deque()

    @property
    def counters(self) -> dict[str, int]:
        """Of all calls together, those that are over among them."""
        sides = Counter(self._over)
        for call in self._calls.values():
            sides.update(call.side.counters())
        return self._own | dict(sides)

    def step(self) -> None:
        """Waits a little for a message, and hands on what has come, one message a call."""
        wholes, now = self._came(), time.monotonic()
        heard = {whole.call for whole in (*wholes, *self._later)}
        for number, call in list(self._calls.items()):
            own = number in heard
            if not own and now - call.since_s > call.side.patience_s:
                self._attempt(lambda n=number, side=call.side: self._tell(n, side.flush()))
            if not own and now - call.since_s > CALL_OVER_S:
                self._end(number)
        for whole in wholes:
            if whole.kind == END:
                self._hang_up(whole)
        spoken = [whole for whole in wholes if whole.kind != END]
        if not spoken:
            return
        askings = [self._taking(self._begun(whole).side, whole) for whole in spoken]
        answer = self._answer or self._calls[spoken[0].call].side.answer
        found = answered_together(askings, answer)
        self._own["steps"] += 1
        for whole, messages in zip(spoken, found, strict=True):
            self._attempt(lambda w=whole, m=messages: self._tell_or_fail(w.call, m))
            self._calls[whole.call].since_s = time.monotonic()

    def _came(self) -> list[Whole]:
        """The next message, waited for a little, and of other calls what is there as well."""
        found: dict[int, Whole] = {}
        later, self._later = self._later, deque()
        while len(found) < self._together:
            whole = later.popleft() if later else self._heard.receive(0.0 if found else POLL_S)
            if whole is None:
                break
            if whole.call in found:
                self._later.append(whole)
                if len(self._later) >= self._together:
                    break
                continue
            found[whole.call] = whole
        self._later.extend(later)
        return [*found.values()]

    def _begun(self, whole: Whole) -> Call:
        """The call of a message; where its sender has begun anew, what was before is finished."""
        call = self._call(whole.call)
        if call.session not in (None, whole.session):
            self._attempt(lambda: self._tell(whole.call, call.side.restart()))
        call.session = whole.session
        return call

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

    def _taking(self, side: SpeakerSide | ListenerSide, whole: Whole) -> Asking:
        if whole.kind != side.takes:
            raise ValueError(f"kind {whole.kind} comes from another part of the link")
        if is_old(whole.arrived_s):
            self._own["too_old"] += 1
            return list(side.leave_out(whole.message))
        return (yield from side.taking(whole.message))

    def _tell_or_fail(self, call: int, found: list[bytes] | Exception) -> None:
        if isinstance(found, Exception):
            raise found
        self._tell(call, iter(found))

    def _tell(self, call: int, messages: Iterator[bytes]) -> None:
        for message in messages:
            self._told.send(self._calls[call].side.gives, message, call)


def check_used(args: argparse.Namespace, options: TranslationOptions) -> None:
    """Raises ValueError for an option that would do nothing at this edge."""
    check_range("ray", args.ray or 0, 0, MOST_DECODERS)
    if args.listener:
        theirs = ["policy", "channel", "seed"]
        refuse_unused(args, theirs, "at the listener's edge", "give {it} to the speaker's")
        return
    refuse_unused(args, ["language", "ray"], "at the speaker's edge", "give {it} to the listener's")
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
    decoders = None
    if args.ray:
        from .translate_ray import RayDecoders

        decoders = RayDecoders(options.model, args.ray)
    # Opened when the models are there: what came before would be old.
    heard, told = Listener(args.listen, args.calls), Devices(args.to)
    together, begin = kind.together * (args.ray or 1), time.monotonic()
    running = Edge(side_of, heard, told, together, decoders)
    watches = heard.watch(kind.before), *told.watches(kind.behind)
    say(f"listening at {args.listen}, sending to {', '.join(args.to)}")
    with ending.awaited():
        while not ending.signal and not 0 < args.seconds < time.monotonic() - begin:
            running.step()
            for watch in watches:
                watch.look()
    heard.close()
    told.close()
    if decoders is not None:
        decoders.close()
    facts = running.counters | heard.counters | told.counters
    if args.json:
        print(json.dumps({"statistics": rounded(facts)}), flush=True)
    else:
        say(", ".join(f"{name} {value}" for name, value in facts.items()))
    return 0
