# SPDX-License-Identifier: GPL-3.0-or-later
"""`largesc translate device` and `edge`: alone, and as processes that are killed and come back."""

import json
import signal
import socket
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from gnuradio.largesc.cli import translate_device, translate_edge
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.cli.translate_device import ListenerDevice, Mouth
from gnuradio.largesc.cli.translate_edge import Edge, ListenerSide, SpeakerSide
from gnuradio.largesc.cli.translate_peers import Devices, Listener, Sender, came_s, is_old
from gnuradio.largesc.features.model import LargeModel
from gnuradio.largesc.features.text import Text
from gnuradio.largesc.models.packaged import MODELS, absent
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.packets.pieces import (
    CALL_OVER_S,
    END,
    GIVES_WAY_S,
    Assemblers,
    Whole,
    pieces_of,
)
from gnuradio.largesc.speech import prompts as prompts_of
from gnuradio.largesc.speech.files import read_audio, resampled, write_audio
from gnuradio.largesc.tasks.translation import SpeakerDevice
from gnuradio.largesc.tasks.translation_packets import (
    BURST,
    SEGMENT,
    TEXT,
    read_text,
    segment_bytes,
    text_bytes,
)
from helpers import free_port, wait_until
from test_translation import WORDS, SmallModel, code_of, quiet, voice
from test_two_hosts import SOON_S, Program

SPEAKER = ["edge", "--speaker", "--listen", "*:1", "--to", "*:1"]
PHRASE = Text(0, " four words of speech", "", 1.0, True, False)


def here() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def ends():
    """A listener and its sender, which are closed behind the test."""
    at = here()
    listener, sender = Listener(at), Sender(at)
    yield listener, sender
    listener.close()
    sender.close()


# The link between two ends


def test_messages_and_signs_of_life_come_over_udp(ends):
    listener, sender = ends
    message = np.random.default_rng(0).bytes(20_000)
    sender.send(SEGMENT, message)
    whole = listener.receive(20.0)
    assert (whole.kind, whole.message) == (SEGMENT, message)
    wait_until(lambda: sender.answers > 1)
    assert listener.heard > 17 and not is_old(whole.arrived_s)


def test_garbage_is_counted_and_survived(ends):
    listener, sender = ends
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for size in (0, 1, 17, 1500):
            stranger.sendto(bytes(size), listener._socket.getsockname())
    wait_until(lambda: listener.counters["refused"] == 4)
    sender.send(TEXT, b"good")
    assert listener.receive(20.0).message == b"good"


def test_what_nobody_takes_is_left_out(ends):
    listener, sender = ends
    for number in range(100):
        sender.send(TEXT, b"%d" % number)
        wait_until(lambda number=number: listener.counters["messages"] > number)
    assert listener.counters["overrun"] == 36
    assert listener.receive().message == b"36"


def test_a_packet_is_as_old_as_the_system_says():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        one.setsockopt(socket.SOL_SOCKET, 35, 1)

        def known() -> bool:
            """The kernel begins a little later than it is told to."""
            one.sendto(b"x", one.getsockname())
            sent_s = time.monotonic()
            time.sleep(0.3)
            _, stamps, _, _ = one.recvmsg(100, 64)
            return abs(came_s(stamps) - sent_s) < 0.2

        wait_until(known)
    now = time.monotonic()
    assert came_s([]) >= now


# Edges


class Air:
    """Stands in for the sender of an edge."""

    def __init__(self) -> None:
        self.told: list[tuple[int, bytes]] = []
        self.calls: list[int] = []
        self.ended: list[int] = []

    def send(self, kind: int, message: bytes, call: int) -> None:
        self.told.append((kind, message))
        self.calls.append(call)

    def end(self, call: int) -> None:
        self.ended.append(call)


class Mail:
    """Stands in for the listener of an edge."""

    def __init__(self, *messages: Whole) -> None:
        self.messages = list(messages)

    def receive(self, timeout_s: float) -> Whole | None:
        return self.messages.pop(0) if self.messages else None


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(translate_edge, "large_model", lambda source: SmallModel())
    monkeypatch.setattr(translate_edge, "load_channel_code", lambda *_: code_of())


OPTIONS = TranslationOptions(symbols=3, channel="none")


def segments(
    seconds: float = 3.0, session: int = 1, age_s: float = 0.0, call: int = 0
) -> list[Whole]:
    """What a device sends of a voice, and a pause behind it."""
    device = SpeakerDevice(OPTIONS)
    sounds = device.push(np.concatenate([voice(seconds), quiet(1.0)]))
    arrived_s = time.monotonic() - age_s
    return [Whole(session, SEGMENT, segment_bytes(sound), arrived_s, call) for sound in sounds]


def through(kind: type, messages: list[Whole]) -> tuple[Edge, Air]:
    air = Air()
    edge = Edge(lambda call: kind(OPTIONS), Mail(*messages), air)
    for _ in messages:
        edge.step()
    return edge, air


def bursts(messages: list[Whole]) -> list[Whole]:
    """What the speaker's edge makes of segments."""
    _, air = through(SpeakerSide, messages)
    made = zip(air.told, air.calls, strict=True)
    return [Whole(9, kind, message, time.monotonic(), call) for (kind, message), call in made]


def texts(told: list[tuple[int, bytes]]) -> list[Text]:
    return [read_text(message) for kind, message in told if kind == TEXT]


def test_speech_becomes_text_over_both_edges(small):
    edge, air = through(ListenerSide, bursts(segments()))
    found = texts(air.told)
    assert "".join(text.committed for text in found).split() == WORDS
    assert found[-1].last and edge.counters["calls"] == 1
    assert edge.counters["too_old"] == edge.counters["unusable"] == 0


def test_what_is_too_old_is_left_out_and_its_window_ends(small):
    sent = segments()
    sent[-1].arrived_s -= 5.0
    edge, air = through(SpeakerSide, sent)
    assert edge.counters["too_old"] == 1
    sent = [Whole(9, kind, message, time.monotonic()) for kind, message in air.told]
    _, heard = through(ListenerSide, sent)
    assert texts(heard.told)[-1].last
    edge, air = through(SpeakerSide, segments(age_s=5.0))
    assert air.told == [] and edge.counters["too_old"] == len(segments())


def test_a_window_ends_when_nothing_comes_or_the_device_begins_anew(small):
    edge, air = through(SpeakerSide, segments()[:-1])
    before = len(air.told)
    edge._calls[0].since_s -= 3.0
    edge.step()
    assert len(air.told) == before
    edge._calls[0].since_s -= 1.0
    edge.step()
    assert len(air.told) == before + 1
    edge.step()
    assert len(air.told) == before + 1
    found = bursts(segments()[:-1] + segments(session=2))
    _, heard = through(ListenerSide, found)
    assert sum(text.last for text in texts(heard.told)) == 2


def test_the_listeners_edge_ends_windows_as_well(small):
    sent = bursts(segments())[:-1]
    again = [Whole(10, whole.kind, whole.message, whole.arrived_s) for whole in bursts(segments())]
    edge, air = through(ListenerSide, sent + again)
    assert sum(text.last for text in texts(air.told)) == 2
    edge, air = through(ListenerSide, sent)
    edge._calls[0].since_s -= 60.0
    edge.step()
    assert texts(air.told)[-1].last


def test_a_segment_that_is_too_long_does_no_harm(small):
    long = replace(next(SpeakerDevice(OPTIONS).push(voice(1.0))), last=False)
    long = replace(long, frames=np.full((1101, 80), 9, dtype=np.uint8))
    bad = Whole(1, SEGMENT, segment_bytes(long), time.monotonic())
    edge, air = through(SpeakerSide, [bad] * 3 + segments())
    assert edge.counters["unusable"] == 3
    assert len(air.told) == len(bursts(segments()))


def test_messages_of_other_kinds_are_counted(small, capsys):
    now = time.monotonic()
    wrong = [Whole(1, BURST, b"x", now), Whole(1, SEGMENT, b"x", now), Whole(1, 77, b"", now)]
    wide = SpeakerDevice(OPTIONS, "whisper-128")
    wrong += [Whole(1, SEGMENT, segment_bytes(s), now) for s in wide.push(voice(1.0))]
    edge, air = through(SpeakerSide, wrong)
    assert edge.counters["unusable"] == 4 and air.told == []
    assert capsys.readouterr().err.count("a message cannot be used") == 1


def test_calls_are_told_apart_over_both_edges(small):
    """Two speakers at once, and one that stops in a sentence."""
    one, other, third = (segments(call=n) for n in (3, 4, 5))
    mixed = [m for pair in zip(one, other, strict=True) for m in pair] + third[:-1]
    edge, air = through(ListenerSide, bursts(mixed))
    for call in (3, 4):
        own = [t for t, c in zip(texts(air.told), air.calls, strict=True) if c == call]
        assert "".join(text.committed for text in own).split() == WORDS and own[-1].last
    assert edge.counters["calls"] == 3 and edge.counters["decoder_lost"] == 0
    before = len(air.told)
    edge._calls[5].since_s -= CALL_OVER_S + 1.0
    edge.step()
    assert air.ended == [5] and set(edge._calls) == {3, 4}
    # Its window is finished, and what it counted is kept.
    assert len(air.told) > before and edge.counters["calls"] == 3


def test_calls_are_computed_together_and_in_their_order(small, monkeypatch):
    asked = []

    def decode_all(self: SmallModel, questions: list) -> list:
        asked.append(len(questions))
        return LargeModel.decode_all(self, questions)

    monkeypatch.setattr(SmallModel, "decode_all", decode_all)
    one, other = (bursts(segments(call=n)) for n in (3, 4))
    # A message that cannot be used, and the end of a call, in the same steps.
    wrong = Whole(9, BURST, b"x", time.monotonic(), 5)
    end = Whole(9, END, b"", time.monotonic(), 3)
    air = Air()
    mail = Mail(wrong, *one, end, *other)
    edge = Edge(lambda call: ListenerSide(OPTIONS), mail, air, ListenerSide.together)
    while mail.messages or edge._later:
        edge.step()
    for call in (3, 4):
        own = [read_text(m) for (k, m), c in zip(air.told, air.calls, strict=True)
               if c == call and k == TEXT]  # fmt: skip
        assert "".join(text.committed for text in own).split() == WORDS and own[-1].last
    assert max(asked) == 2 and edge.counters["unusable"] == 1
    assert len(one) <= edge.counters["steps"] < len(one) + len(other)
    assert air.told[-1][0] == END or END in [kind for kind, _ in air.told]
    assert set(edge._calls) == {4, 5}


def test_a_fault_of_the_model_ends_no_edge(small, monkeypatch):
    fine = SmallModel.decode_all
    sent = [*bursts(segments(call=3)), *bursts(segments(call=4))]
    mail, air = Mail(*sent), Air()
    edge = Edge(lambda call: ListenerSide(OPTIONS), mail, air, ListenerSide.together)

    def fault(self: SmallModel, questions: list) -> list:
        raise RuntimeError("bad luck")

    monkeypatch.setattr(SmallModel, "decode_all", fault)
    while not edge.counters["unusable"]:
        edge.step()
    monkeypatch.setattr(SmallModel, "decode_all", fine)
    while mail.messages or edge._later:
        edge.step()
    assert edge.counters["unusable"] == 2
    for call in (3, 4):
        own = [t for t, c in zip(texts(air.told), air.calls, strict=True) if c == call]
        assert own[-1].last and "".join(text.committed for text in own).split() == WORDS


def test_calls_at_a_listener_are_bounded_and_end():
    calls = Assemblers(2)
    sent = [pieces_of(SEGMENT, 1, 0, b"%d" % n, call=n)[0].packet() for n in range(3)]
    found = [whole for packet in sent for whole in calls.push(packet, 0.0)]
    assert [(w.call, w.message) for w in found] == [(0, b"0"), (1, b"1")]
    assert calls.counters["refused_calls"] == 1 and calls.counters["messages"] == 2
    assert calls.push(b"garbage", 1.0) == [] and calls.counters["refused"] == 1
    # The first two are over: there is room again, and a sender of old begins anew.
    assert [w.call for w in calls.push(sent[2], CALL_OVER_S + 1.1)] == [2]
    assert [w.call for w in calls.push(sent[0], CALL_OVER_S + 1.2)] == [0]


def test_a_call_without_a_whole_message_gives_way():
    calls = Assemblers(2)
    halves = [pieces_of(SEGMENT, 1, 0, bytes(2000), call=n)[0].packet() for n in range(3)]
    spoken = [pieces_of(SEGMENT, 1, 0, b"x", call=n)[0].packet() for n in range(5)]
    assert calls.push(spoken[0], 0.0) and not calls.push(halves[1], 0.0)
    # It may be a long message that is still coming.
    assert not calls.push(spoken[2], GIVES_WAY_S - 0.1)
    assert calls.counters["refused_calls"] == 1
    assert not calls.push(halves[1], GIVES_WAY_S)
    assert [w.call for w in calls.push(spoken[2], GIVES_WAY_S + 0.1)] == [2]
    # Both that are here have spoken, and keep their places.
    assert not calls.push(spoken[3], 20.0) and calls.counters["refused_calls"] == 2


def test_a_call_that_was_ended_gives_way_at_once():
    calls = Assemblers(1)

    def sent(kind: int, call: int, session: int = 1, number: int = 0) -> list[bytes]:
        return [p.packet() for p in pieces_of(kind, session, number, b"", call)]

    def heard(packets: list[bytes], now_s: float) -> list[tuple[int, int]]:
        return [(w.call, w.kind) for p in packets for w in calls.push(p, now_s)]

    assert heard(sent(SEGMENT, 5) + sent(END, 5, number=1), 0.0) == [(5, SEGMENT), (5, END)]
    # What still comes of it is late, and is no new call.
    assert heard(sent(END, 5, number=1), 0.1) == [] and calls.counters["doubled"] == 1
    assert heard(sent(SEGMENT, 6), 0.2) == [(6, SEGMENT)]
    assert heard(sent(SEGMENT, 7), 0.3) == [] and calls.counters["refused_calls"] == 2
    # Its number may begin anew before anybody needs its place.
    assert heard(sent(END, 6, number=1), 0.4) == [(6, END)]
    assert heard(sent(SEGMENT, 6, session=2), 0.5) == [(6, SEGMENT)]
    assert heard(sent(SEGMENT, 7), 0.6) == []


def test_an_ended_call_leaves_both_edges(small):
    edge, air = through(SpeakerSide, segments())
    heard = edge._heard
    heard.messages.append(Whole(1, END, b"", time.monotonic(), 0))
    edge.step()
    assert air.told[-1][0] == END and not edge._calls and edge.counters["calls"] == 1
    # A second one, and one of a session before, end nothing.
    heard.messages.append(Whole(1, END, b"", time.monotonic(), 0))
    edge.step()
    assert edge.counters["calls"] == 1 and [kind for kind, *_ in air.told].count(END) == 1


def test_a_fault_at_the_end_of_a_window_ends_no_edge(small, capsys):
    edge, _ = through(SpeakerSide, segments()[:-1])

    def fault() -> None:
        raise RuntimeError("bad luck")

    edge._calls[0].side.flush = fault
    edge._calls[0].since_s -= 10.0
    edge.step()
    assert edge.counters["unusable"] == 1
    assert "a message cannot be used: bad luck" in capsys.readouterr().err


def test_a_call_too_many_is_told_once(ends, capsys):
    listener, sender = ends
    for call in (7, 8, 9):
        sender.send(TEXT, b"hello", call)
    # A piece and its parity, of each.
    wait_until(lambda: listener.counters["refused_calls"] == 4)
    wait_until(lambda: listener._refused)
    assert listener.receive(20.0).call == 7
    listener.close()
    assert capsys.readouterr().err.count("is left out, since 1 came before it") == 1


def test_messages_go_where_their_call_goes(capsys):
    everybody, seventh = Listener(here(), 4), Listener(here(), 4)
    devices = Devices([everybody._at, f"7={seventh._at}"])
    lone = Devices([f"7={seventh._at}"])
    try:
        for call in (7, 8):
            devices.send(TEXT, b"%d" % call, call)
        assert everybody.receive(20.0).message == b"8" and seventh.receive(20.0).message == b"7"
        devices.end(7)
        devices.send(TEXT, b"again", 7)
        assert seventh.receive(20.0).message == b"again"
        assert seventh.counters["restarts"] == 1
        lone.send(TEXT, b"8", 8)
        lone.send(TEXT, b"8", 8)
        assert lone.counters["nowhere"] == 2
        assert capsys.readouterr().err.count("call 8 goes nowhere: give --to") == 1
    finally:
        for each in (devices, lone, everybody, seventh):
            each.close()


# The listener's device


def text_at(arrived_s: float, text: Text = PHRASE, session: int = 1) -> Whole:
    return Whole(session, TEXT, text_bytes(text), arrived_s)


@pytest.mark.parametrize("window", [0, 1])
def test_words_of_an_edge_that_was_killed_are_as_old_as_they_are(window):
    """They wait for the rest of their phrase, which never comes."""
    said = []
    device = ListenerDevice(SimpleNamespace(say=lambda *phrase: said.append(phrase)))
    device.take(text_at(10.0, Text(0, " two words", "", 1.0, False, False)))
    assert said == []
    new = Text(window, " and new ones come", "", 1.0, False, False)
    device.take(text_at(90.0, new, session=2))
    assert said == [("two words", 10.0), ("and new ones come", 90.0)]


class Beep:
    """A voice that says each phrase in a second."""

    def say(self, text: str, length: float = 1.0) -> np.ndarray:
        return np.full(24000, 0.5, dtype=np.float32)


def test_phrases_are_said_on_the_clock_and_old_ones_are_not(tmp_path):
    mouth = Mouth(Beep(), str(tmp_path / "out.wav"))
    device = ListenerDevice(mouth)
    now = time.monotonic()
    device.take(text_at(now - 20.0))
    device.take(text_at(now))
    wait_until(lambda: mouth.phrases, mouth.play)
    wait_until(lambda: not len(mouth._now), mouth.play)
    assert mouth.close() == {"phrases": 1, "unsaid": 1}
    heard = read_audio(tmp_path / "out.wav")
    assert np.count_nonzero(heard > 0.4) == pytest.approx(24000, abs=1)
    (phrase,) = mouth.phrases
    assert phrase[0] == "four words of speech" and phrase[2] == phrase[1] + 1.0


def test_a_text_that_cannot_be_used_is_counted():
    device = ListenerDevice(None)
    now = time.monotonic()
    assert device.take(Whole(1, TEXT, b"{", now)) is device.take(Whole(1, BURST, b"", now)) is None
    assert device.take(text_at(now)) == PHRASE
    assert device.counters == {"texts": 1, "words": 4, "unusable": 2}
    assert device.phrases[0][0] == "four words of speech"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["device"], "device is a speaker's with an input and --to HOST:PORT"),
        (["device", "in.wav"], "device is a speaker's with an input and --to HOST:PORT"),
        (["device", "in.wav", "--listen", "*:1"], "or a listener's with --listen HOST:PORT"),
        (["device", "in.wav", "--to", "x"], "address 'x' is not of the form host:port"),
        (["device", "--listen", "*:1", "--json", "--output", "-"], "give --output a file"),
        (["device", "--listen", "*:1", "--output", "no/out.wav"], "out.wav cannot be written"),
        (["device", "--listen", "*:1", "--srt", "no/out.srt"], "out.srt cannot be written"),
        (["edge", "--speaker", "--listen", "x", "--to", "*:1"], "address 'x' is not of the form"),
        ([*SPEAKER, "--symbols", "0"], "symbols 0 is"),
        ([*SPEAKER, "--calls", "0"], "calls 0 is"),
        (["device", "in.wav", "--to", "*:1", "--call", "65536"], "--call 65536: use 0 to 65535"),
        (
            ["device", "in.wav", "--to", "*:1", "--output", "x.wav", "--srt", "x.srt"],
            "--output and --srt would do nothing at a speaker's device: give them to the l",
        ),
        (["device", "--listen", "*:1", "--call", "0"], "--call would do nothing at a listener's"),
        (["device", "--listen", "*:1", "--voice", "joe"], "--voice would do nothing without spee"),
        ([*SPEAKER, "--language", "fr"], "--language would do nothing at the speaker's edge"),
        ([*SPEAKER, "--channel", "none", "--snr", "3"], "--snr would do nothing with --channel n"),
        (
            ["edge", "--listener", "--listen", "*:1", "--to", "*:1", "--seed", "2"],
            "--seed would do nothing at the listener's edge: give it to the speaker's",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(given, said, tmp_path, capsys, monkeypatch):
    write_audio(tmp_path / "in.wav", voice(0.5))
    monkeypatch.chdir(tmp_path)
    assert main(["translate", *given]) == 2
    assert said in capsys.readouterr().err


# Processes


@pytest.fixture
def program(tmp_path):
    """Starts a command."""
    return lambda arguments: Program(tmp_path, arguments)


def test_a_device_says_when_its_edge_is_gone_and_when_it_is_back(tmp_path, program):
    """The edge is one of this process, which vanishes and returns."""
    write_audio(tmp_path / "in.wav", np.concatenate([voice(60.0)]))
    at = here()
    edge = Listener(at)
    device = program(["translate", "device", str(tmp_path / "in.wav"), "--to", at])
    try:
        wait_until(lambda: edge.receive() is not None)
        edge.close()
        gone = time.monotonic()
        assert device.said("the edge at", gone) - gone < SOON_S
        edge = Listener(at)
        back = time.monotonic()
        assert device.said("answers", back) - back < SOON_S
        whole = edge.receive(60.0)
        # Nothing of what was said meanwhile.
        assert whole.kind == SEGMENT and whole.arrived_s >= back
        assert edge.counters["restarts"] == 0
    finally:
        edge.close()
        device.signal(signal.SIGTERM)
        assert device.wait() == 128 + signal.SIGTERM


def test_a_listeners_device_shows_speaks_and_says_who_is_gone(tmp_path, program):
    if lacking := absent(["piper", *MODELS["joe"].packages]):
        pytest.skip(f"{lacking[0]} is not installed")
    at, out, srt = here(), tmp_path / "out.wav", tmp_path / "out.srt"
    given = ["translate", "device", "--listen", at, "--output", str(out), "--srt", str(srt)]
    device = program([*given, "--json"])
    try:
        device.said("listening at")
        edge = Sender(at)
        wait_until(lambda: edge.answers > 0)
        edge.send(TEXT, text_bytes(PHRASE))
        wait_until(device.output)
        line = json.loads(device.output()[0])
        assert line["committed"] == PHRASE.committed and line["last"]
        wait_until(lambda: out.stat().st_size > 5 * 48000)
        edge.close()
        gone = time.monotonic()
        assert device.said("nothing comes from the edge", gone) - gone < SOON_S
    finally:
        device.signal(signal.SIGINT)
        assert device.wait() == 0
    assert np.abs(read_audio(out)).max() > 0.1
    assert "four words of speech" in srt.read_text()
    facts = json.loads(device.output()[-1])["statistics"]
    assert (facts["texts"], facts["phrases"], facts["unsaid"]) == (1, 1, 0)


def test_a_prompt_goes_over_two_devices_and_two_edges(tmp_path, program):
    """Four processes, real weights, and the speaker's edge is killed between two prompts."""
    wanted = ["ctranslate2", "faster_whisper", "av", *MODELS["base"].packages]
    if lacking := absent(wanted):
        pytest.skip(f"{lacking[0]} is not installed")
    try:
        prompt = next(p for p in prompts_of.prompts("fr") if p.name == "conf-getpin")
    except prompts_of.PromptsError as error:
        pytest.skip(str(error))
    source = tmp_path / "in.wav"
    speech = resampled(prompts_of.speech_of(prompt), 16000)
    write_audio(source, np.concatenate([speech, quiet(1.0)]).astype(np.float32))
    first, second, third = here(), here(), here()
    device = program(["translate", "device", "--listen", third, "--json"])
    near = ["translate", "edge", "--speaker", "--listen", first, "--to", second]
    far = ["translate", "edge", "--listener", "--listen", second, "--to", third]
    speak = ["translate", "device", str(source), "--to", first, "--segment-s", "1.5"]

    def lines() -> list[dict]:
        return [json.loads(line) for line in device.output()]

    edges = [program(near), program(far)]
    try:
        for count in (1, 2):
            for edge in edges:
                edge.said("listening at")
            assert program(speak).wait() == 0
            wait_until(lambda count=count: sum(x.get("last", False) for x in lines()) == count)
            said = "".join(x.get("committed", "") for x in lines())
            assert said.lower().count("conference") >= count
            if count == 1:
                edges[0].kill()
                edges[0] = program(near)
    finally:
        for one in (*edges, device):
            one.signal(signal.SIGTERM)
            assert one.wait() == 0


def test_a_bound_is_named_where_docs_say_it():
    assert translate_device.MOST_SPEECH_AGE_S == 15.0
    assert is_old(time.monotonic() - 4.1) and not is_old(time.monotonic() - 3.0)
