# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech of many calls: packets in, and of each call a frame of 80 ms at every tick.

Nothing here has a socket or a clock: callers hand packets in and tell the time.
"""

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np

from .._core import ERASED_TOKEN, TOKENS_PER_FRAME, has_right_crc
from ..codec.codebooks import codebooks_of
from ..codec.load import load_codec
from ..codec.speech_decoder import FrameToDecode, SpeechDecoders
from ..concealment.concealer import ConcealedFrame, ReceivedFrame
from ..concealment.load import concealer_maker
from ..concealment.together import Codebooks, ConcealerGroup
from ..options import GatewayOptions, LinkOptions, ReceiverOptions, ReportOptions
from ..packets import refusal
from ..packets.call_number import unwrapped, wrapped
from ..speech.format import FRAME_SAMPLES
from .call import Call, call_name
from .inbox import MOST_OF_STRANGERS
from .key_ring import KeyRing
from .memory import resident_mib
from .outputs import CallOutput

# Addresses that may become calls, those of four ticks of a flood, and how long they may take.
MOST_STRANGERS, STRANGER_S = 4 * MOST_OF_STRANGERS, 3.0
MOST_HOSTS = 1024
# A call that has not been heard for so long gives way to another one, where all are taken: in a
# pause DTX sends a frame each 2 s, and two of them may be lost.
GIVES_WAY_S = 7.0
# A sender is told that it is refused so often, and the log as well.
REFUSE_EVERY_S = 1.0
# A conference's sum is bent above this.
LOUD = 0.7
KEPT_STEPS = 1000
SECOND_NS = 1_000_000_000
log = logging.getLogger(__name__)


class Gateway:
    """All calls.

    Args:
        options: how many, and when one ends.
        link, receiver, reports: as for one call.
        make_output: where a call's speech goes, by its name.
        keys: who may call; None: everybody.

    Raises:
        ValueError: an option is out of range, or a model is not there.

    Attributes:
        calls: those that are heard, by name.
        counters: of packets, calls, and ``failures``: faults of this program, each of which ended
            one call.
        totals: of all calls that have ended, by what they count.
        step_ms: of the last steps, computing of all calls together.
    """

    def __init__(
        self,
        options: GatewayOptions,
        link: LinkOptions,
        receiver: ReceiverOptions,
        reports: ReportOptions,
        make_output: Callable[[str], CallOutput],
        keys: KeyRing | None = None,
    ) -> None:
        self._options, self._link = options.checked(), link.checked()
        self._receiver, self._reports = receiver.checked(), reports.checked()
        self._make_output, self._keys = make_output, keys
        codec = load_codec(link.codec)
        books = codebooks_of(codec.model)
        self._decoders = SpeechDecoders(codec, options.calls)
        self._new_concealer = concealer_maker(
            receiver.method, books, most=options.calls, options=receiver
        )
        self._concealers = ConcealerGroup(Codebooks(books))
        self.calls: dict[str, Call] = {}
        self._strangers: dict[str, Call] = {}
        # Whose key each address had, by call number, and each host, for a while: NAT gives new
        # ports.
        self._senders: dict[tuple[tuple, int], str] = {}
        self._hosts: dict[str, str] = {}
        self._refused: dict[str, int] = {}
        self._replies: list[tuple[bytes, tuple]] = []
        self.step_ms: deque[float] = deque(maxlen=KEPT_STEPS)
        self.counters = dict.fromkeys(
            (
                "packets",
                "refused_packets",
                "refused_signature",
                "calls_begun",
                "calls_ended",
                "calls_refused",
                "calls_refused_key",
                "failures",
            ),
            0,
        )
        self.totals: Counter[str] = Counter()
        self._told_ns, self._untold = 0, 0

    def warm_up(self) -> None:
        """Computes a frame of nobody, since the first one takes long."""
        concealer, stream = self._new_concealer(), self._decoders.open()
        missing = ReceivedFrame(0, np.full(TOKENS_PER_FRAME, ERASED_TOKEN, dtype=np.uint16))
        (found,) = self._concealers.step({stream: (concealer, missing)}).values()
        self._decoders.decode({stream: to_decode(found)})
        self._decoders.close(stream)
        concealer.close()

    def statistics_of_calls(self) -> dict[str, dict]:
        """Returns counters and measured values of each call, by its name."""
        return {c.name: c.statistics() for c in list(self.calls.values()) if c.concealer}

    def peers(self) -> list[tuple]:
        """Addresses that calls come from, once for each call."""
        return [call.peer for call in self.calls.values()]

    def callers(self) -> list[tuple[tuple, int]]:
        """Address and call number of each call, 0 where it has none."""
        return [(call.peer, call.number) for call in self.calls.values()]

    def take(self, data: bytes, peer: tuple, now_ns: int) -> None:
        """Takes a datagram that came from ``peer`` at ``now_ns`` of ``time.monotonic_ns``."""
        self.counters["packets"] += 1
        sender, packet = text_of(peer), data
        if self._keys is not None:
            # A relay gathers senders, each with its own key: the number tells whose comes first.
            known = self._senders.get((peer, unwrapped(data, False)[0]))
            signed = self._keys.accept(data, known, self._hosts.get(peer[0]))
            if signed is None:
                self.counters["refused_signature"] += 1
                return
            sender, packet = signed
            put_last(self._hosts, peer[0], sender, MOST_HOSTS)
        number, packet = unwrapped(packet, self._link.has_crc)
        name = call_name(sender, number)
        call = self.calls.get(name) or self._strangers.get(name)
        if call is None and self._keys is None and self._link.has_crc and not has_right_crc(packet):
            # A flood of garbage makes no strangers, who would drive real ones out.
            self.counters["refused_packets"] += 1
            return
        if call is None:
            call = self._stranger(sender, number, peer, now_ns)
            put_last(self._strangers, name, call, MOST_STRANGERS)
        if not call.take(packet, now_ns):
            self.counters["refused_packets"] += 1
            return
        call.peer = peer
        if call.open:
            self._senders[peer, number] = sender
        else:
            put_last(self._strangers, name, call, MOST_STRANGERS)
        if call.wants_to_open:
            self._open(call, now_ns)

    def _stranger(self, sender: str, number: int, peer: tuple, now_ns: int) -> Call:
        return Call(
            sender,
            number,
            peer,
            link=self._link,
            receiver=self._receiver,
            reports=self._reports,
            trusted=self._keys is not None,
            now_ns=now_ns,
        )

    def _open(self, call: Call, now_ns: int) -> None:
        reason = self._no_place(call.sender, now_ns)
        if reason is not None:
            self._refuse(call, reason, now_ns)
            return
        with contextlib.ExitStack() as undo:
            # Each further packet tries again: what was opened before a fault would pile up.
            call.stream = self._decoders.open()
            undo.callback(self._decoders.close, call.stream)
            call.concealer = self._new_concealer()
            undo.callback(call.concealer.close)
            call.output = self._make_output(call.name)
            undo.pop_all()
        call.open = True
        self._strangers.pop(call.name, None)
        self.calls[call.name] = call
        self._senders[call.peer, call.number] = call.sender
        self.counters["calls_begun"] += 1
        log.info("call %s begins", call.name)

    def _no_place(self, sender: str, now_ns: int) -> int | None:
        """Why another call of this sender cannot be taken; None: it can."""
        options, signed = self._options, self._keys is not None
        if options.memory_mib and resident_mib() > options.memory_mib:
            return refusal.MEMORY
        of_key = [call for call in self.calls.values() if signed and call.sender == sender]
        if not self._has_place(of_key, options.calls_per_key, now_ns):
            return refusal.KEY
        if not self._has_place(list(self.calls.values()), options.calls, now_ns):
            return refusal.CALLS
        return None

    def _has_place(self, calls: list[Call], most: int, now_ns: int) -> bool:
        """Whether there are fewer; the one that was silent for longest may give way."""
        if len(calls) < most:
            return True
        quiet = min(calls, key=lambda call: call.heard_ns)
        if now_ns - quiet.heard_ns < GIVES_WAY_S * SECOND_NS:
            return False
        self._end(quiet, "it was silent, and another one needs its place")
        return True

    def _refuse(self, call: Call, reason: int, now_ns: int) -> None:
        if now_ns - self._refused.get(call.name, -SECOND_NS * 60) < REFUSE_EVERY_S * SECOND_NS:
            return
        if call.name not in self._refused:
            self.counters["calls_refused"] += 1
            self.counters["calls_refused_key"] += reason == refusal.KEY
            self._untold += 1
            self._tell(call, reason, now_ns)
        self._refused[call.name] = now_ns
        self._reply(call, refusal.encode(reason, self._link.has_crc))

    def _tell(self, call: Call, reason: int, now_ns: int) -> None:
        """A line a second at most, however many are refused."""
        if now_ns - self._told_ns < REFUSE_EVERY_S * SECOND_NS:
            return
        more = f", and {self._untold - 1} more" if self._untold > 1 else ""
        log.warning("call of %s%s is refused: %s", call.name, more, refusal.REASONS[reason])
        self._told_ns, self._untold = now_ns, 0

    def _reply(self, call: Call, data: bytes) -> None:
        if call.number:
            data = wrapped(data, call.number, self._link.has_crc)
        if self._keys is not None:
            data = self._keys.signed(call.sender, data)
        self._replies.append((data, call.peer))

    def tick(self, now_ns: int) -> list[tuple[bytes, tuple]]:
        """Plays a frame of each call.

        Returns:
            datagrams to send, and where to.
        """
        began = time.perf_counter()
        if self._keys is not None:
            self._keys.next_tick()
        for stranger in self._strangers.values():
            # It is pulled, so that its playout is under way when it is taken.
            stranger.go_on(now_ns)
        pulled = self._each(lambda call: self._pulled(call, now_ns))
        frames = {call.stream: (call.concealer, frame) for call, frame in pulled if frame}
        found = self._concealers.step(frames)
        speech = self._decoders.decode(
            {stream: to_decode(frame) for stream, frame in found.items()}
        )
        self.step_ms.append(1e3 * (time.perf_counter() - began))
        mix = self._mixed(speech) if self._options.conference else None
        self._each(lambda call: self._give_out(call, speech.get(call.stream), mix))
        self._end_those_that_are_over(now_ns)
        self._senders = {(call.peer, call.number): call.sender for call in self.calls.values()}
        self._each(lambda call: self._report(call, now_ns))
        replies, self._replies = self._replies, []
        return replies

    def _each(self, function: Callable[[Call], object]) -> list[tuple[Call, object]]:
        """What it gives for each call; one for which it fails ends, and no other hears of it."""
        found = []
        for call in list(self.calls.values()):
            try:
                found.append((call, function(call)))
            except Exception:
                self.counters["failures"] += 1
                log.exception("a fault in call %s", call.name)
                self._end(call, "of a fault")
        return found

    @staticmethod
    def _pulled(call: Call, now_ns: int) -> ReceivedFrame | None:
        for repair in call.repairs():
            call.concealer.repair(repair)
        return call.pull(now_ns)

    def _mixed(self, speech: dict[int, np.ndarray]) -> np.ndarray:
        """Sum of those who speak: the comfort noise of many others would be loud."""
        mix = np.zeros(FRAME_SAMPLES, dtype=np.float32)
        for call in self.calls.values():
            if call.speaking and call.stream in speech:
                mix += speech[call.stream]
        return mix

    def _give_out(self, call: Call, speech: np.ndarray | None, mix: np.ndarray | None) -> None:
        said = np.zeros(FRAME_SAMPLES, dtype=np.float32) if speech is None else speech
        call.frames += speech is not None
        heard = said
        if mix is not None:
            heard = bent(mix - said if call.speaking else mix)
        call.output.write(said, heard)

    def _end_those_that_are_over(self, now_ns: int) -> None:
        idle_ns = int(self._options.idle_s * SECOND_NS)
        for call in list(self.calls.values()):
            if call.ended:
                self._end(call, "its sender has ended")
            elif now_ns - call.heard_ns > idle_ns:
                self._end(call, f"nothing was heard of it for {self._options.idle_s:g} s")
        for name, stranger in list(self._strangers.items()):
            if now_ns - stranger.heard_ns > STRANGER_S * SECOND_NS:
                del self._strangers[name]
        for name, at in list(self._refused.items()):
            if now_ns - at > 10 * REFUSE_EVERY_S * SECOND_NS:
                del self._refused[name]

    def _report(self, call: Call, now_ns: int) -> None:
        data = call.report(now_ns)
        if data is not None:
            self._reply(call, data)

    def _end(self, call: Call, why: str) -> None:
        del self.calls[call.name]
        self._decoders.close(call.stream)
        call.concealer.close()
        call.output.close()
        self.totals.update(counts_of(call.statistics()))
        self.counters["calls_ended"] += 1
        log.info("call %s ends: %s", call.name, why)

    def read_keys_again(self) -> None:
        """Takes new keys; calls of those that are gone end."""
        if self._keys is None or not self._keys.read_again():
            return
        for call in list(self.calls.values()):
            if call.sender not in self._keys.names:
                self._end(call, "its key is gone")

    def close(self) -> list[tuple[bytes, tuple]]:
        """Ends all calls; returns datagrams that tell their senders."""
        for call in list(self.calls.values()):
            self._reply(call, refusal.encode(refusal.ENDING, self._link.has_crc))
            self._end(call, "the gateway ends")
        replies, self._replies = self._replies, []
        return replies


def to_decode(frame: ConcealedFrame) -> FrameToDecode:
    """What the decoder gets of a completed frame."""
    return FrameToDecode(frame.tokens, frame.gain, frame.latent)


def bent(samples: np.ndarray) -> np.ndarray:
    """Samples below 1: what is louder than :data:`LOUD` is bent, not cut."""
    over = np.maximum(np.abs(samples) - LOUD, 0.0) / (1.0 - LOUD)
    loud = np.sign(samples) * (LOUD + (1.0 - LOUD) * np.tanh(over))
    return np.where(over > 0.0, loud, samples).astype(np.float32)


def counts_of(statistics: dict[str, float]) -> dict[str, int]:
    """Returns the integer counters of a call by name, without its measured values."""
    return {name: n for name, n in statistics.items() if isinstance(n, int)}


def put_last(kept: dict, name: str, value: object, most: int) -> None:
    """Puts a value behind all others; of more than ``most`` the first one is forgotten."""
    kept.pop(name, None)
    kept[name] = value
    if len(kept) > most:
        del kept[next(iter(kept))]


def text_of(peer: tuple) -> str:
    """``host:port`` of a socket's address."""
    return f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
