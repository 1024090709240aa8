# SPDX-License-Identifier: GPL-3.0-or-later
"""Frequency and push to talk by hamlib's rigctld, with its dummy rig and with worse daemons."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from commands import Command, ignore_interrupts
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.radio.rig import HamlibError, PushToTalk, Rig
from helpers import PATIENCE_S, free_port, wait_until

EXAMPLES = Path(__file__).parent.parent / "examples"


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


class DummyRig:
    """rigctld with hamlib's dummy rig, which may be killed and started again."""

    def __init__(self, *options: str) -> None:
        if shutil.which("rigctld") is None:
            pytest.skip("rigctld is not installed: apt-get install libhamlib-utils")
        self.port = free_port(socket.SOCK_STREAM)
        self.where = f"127.0.0.1:{self.port}"
        self._options = options
        self.start()

    def start(self) -> None:
        command = ["rigctld", "-m", "1", "-T", "127.0.0.1", "-t", str(self.port), *self._options]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(lambda: answers(self.port))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def dummy():
    rig = DummyRig("-P", "RIG")
    yield rig
    rig.kill()


class Daemon(threading.Thread):
    """A daemon that answers each command by ``answer``, and remembers the commands."""

    def __init__(self, answer) -> None:
        super().__init__(daemon=True)
        self._answer, self.commands = answer, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.where = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.start()

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, client.makefile("r") as lines:
                for line in lines:
                    self.commands.append(line.strip())
                    said = self._answer(line.strip())
                    if said is None:
                        break
                    client.sendall(said)

    def end(self) -> None:
        self._listener.close()


def test_dial_and_key_of_the_dummy_rig(dummy):
    rig = Rig(dummy.where)
    rig.set_frequency(14.236e6)
    assert rig.frequency_hz() == 14.236e6
    assert rig.mode() == "FM"
    rig.set_ptt(True)
    assert rig.keyed()
    rig.set_ptt(False)
    assert not rig.keyed()
    rig.close()


def test_a_thread_keys_and_releases(dummy):
    said = []
    talk, watcher = PushToTalk(Rig(dummy.where), said.append), Rig(dummy.where)
    talk.key(True)
    assert talk.wait() and watcher.keyed()
    talk.key(False)
    assert talk.wait() and not watcher.keyed()
    talk.key(True)
    assert talk.wait() and watcher.keyed()
    # What is keyed at the end is released.
    assert talk.close() and not watcher.keyed()
    assert talk.counters == {"keyed": 2, "released": 2, "failures": 0} and not said
    watcher.close()


def test_a_rig_without_a_key_is_refused():
    rig = DummyRig()
    try:
        with pytest.raises(HamlibError, match="rigctld refuses 'T 0': RPRT -1"):
            PushToTalk(Rig(rig.where), print)
    finally:
        rig.kill()


def test_a_refusal_leaves_the_connection():
    daemon = Daemon(lambda command: b"RPRT -9\n" if command[0] == "F" else b"14236000\n")
    rig = Rig(daemon.where)
    with pytest.raises(HamlibError, match="rigctld refuses 'F 50000000': RPRT -9"):
        rig.set_frequency(50e6)
    assert rig.frequency_hz() == 14.236e6
    rig.close()
    daemon.end()


def test_nobody_and_odd_addresses():
    nobody = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"
    with pytest.raises(HamlibError, match=f"nobody answers at {nobody} .*is rigctld running"):
        Rig(nobody)
    for odd in ("", "4532", "127.0.0.1", "127.0.0.1:", "host:0", "host:65536", "host:x", "h:٤٥"):
        with pytest.raises(ValueError, match="is not HOST:PORT"):
            Rig(odd)


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda _: b"", "no answer in time"),
        (lambda _: b"R", "no answer in time"),
        (lambda _: b"x" * 5000, "speaks another protocol"),
        (lambda _: None, "has closed the connection"),
        (lambda _: b"RPRT -5\n", "refuses 'f': RPRT -5"),
        (lambda _: b"RPRT 0\n", "answers 'f' with 'RPRT 0'"),
        (lambda _: b"\xff\x00HTTP\n", "answers 'f' with"),
    ],
)
def test_odd_answers_are_one_line_in_bounded_time(answer, message):
    daemon = Daemon(answer)
    rig = Rig(daemon.where, timeout_s=0.3)
    with pytest.raises(HamlibError, match=message) as error:
        rig.frequency_hz()
    assert "\n" not in str(error.value)
    rig.close()
    daemon.end()


def test_bytes_without_an_end_do_not_hold_it_up():
    """Each byte comes in time, the line never."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def trickle() -> None:
        client, _ = listener.accept()
        with client:
            while not stop.wait(0.05):
                try:
                    client.sendall(b"1")
                except OSError:
                    return

    threading.Thread(target=trickle, daemon=True).start()
    rig = Rig(f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3)
    with pytest.raises(HamlibError, match="no answer in time"):
        rig.frequency_hz()
    stop.set()
    rig.close()
    listener.close()


def test_a_daemon_that_dies_in_an_over_is_counted_and_tried_again(dummy):
    said = []
    talk = PushToTalk(Rig(dummy.where, timeout_s=0.5), said.append)
    talk.key(True)
    assert talk.wait()
    dummy.kill()
    talk.key(False)
    wait_until(lambda: talk.counters["failures"] >= 2)
    # One line, however often it is tried.
    assert len(said) == 1 and "\n" not in said[0]
    dummy.start()
    wait_until(lambda: talk.counters["released"] == 1)
    assert talk.close()


def test_a_daemon_that_is_gone_at_the_end_is_said(dummy):
    said = []
    talk = PushToTalk(Rig(dummy.where, timeout_s=0.5), said.append)
    talk.key(True)
    assert talk.wait()
    dummy.kill()
    assert not talk.close()
    assert said[-1] == "the transmitter may still be on: release it at the rig"


def test_a_key_that_nobody_confirmed_is_released():
    """The command may have been heard although its answer never came."""
    daemon = Daemon(lambda command: b"" if command == "T 1" else b"RPRT 0\n")
    talk = PushToTalk(Rig(daemon.where, timeout_s=0.3), lambda line: None)
    talk.key(True)
    wait_until(lambda: talk.counters["failures"] >= 1)
    assert talk.close()
    assert daemon.commands[-1] == "T 0"
    daemon.end()


@pytest.fixture
def radio(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    import radio

    yield radio
    for number, handler in before.items():
        signal.signal(number, handler)


class Card:
    """Stands in for gr-audio: what is sent to the card is what is heard from it."""

    def __init__(self) -> None:
        self.sent = blocks.vector_sink_f()
        self.opened = []

    def sink(self, rate: int, device: str, block: bool) -> object:
        self.opened.append((rate, device))
        return self.sent

    def source(self, rate: int, device: str, block: bool) -> object:
        self.opened.append((rate, device))
        return blocks.vector_source_f(self.sent.data(), False)


class Paced(gr.hier_block2):
    """A card that takes 48000 samples a second."""

    def __init__(self) -> None:
        gr.hier_block2.__init__(
            self, "paced", gr.io_signature(1, 1, gr.sizeof_float), gr.io_signature(0, 0, 0)
        )
        clock = blocks.throttle(gr.sizeof_float, 48000.0)
        clock.set_max_noutput_items(960)
        self.connect(self, clock, blocks.null_sink(gr.sizeof_float))


@pytest.fixture
def card(radio, monkeypatch):
    import radio_devices

    stand_in = Card()
    monkeypatch.setattr(radio_devices, "audio", stand_in)
    return stand_in


@pytest.fixture
def wav(tmp_path, speech) -> str:
    soundfile.write(tmp_path / "in.wav", speech[: 20 * 1920 - 480], 24000)
    return str(tmp_path / "in.wav")


def test_an_over_through_a_transceivers_sound_card(radio, card, dummy, wav, capsys, monkeypatch):
    keyed, watcher, run = [], Rig(dummy.where), radio.run

    def observed(tb, args):
        keyed.append(watcher.keyed())
        run(tb, args)
        keyed.append(watcher.keyed())

    monkeypatch.setattr(radio, "run", observed)
    rig = ["--audio", "plughw:9,0", "--rig", dummy.where, "--frequency", "14.236e6"]
    assert radio.main(["tx", wav, *rig]) == 0
    said = capsys.readouterr()
    # Before the first sample and behind the last it was keyed, at the end no more.
    assert keyed == [True, True] and not watcher.keyed()
    assert watcher.frequency_hz() == 14.236e6
    assert "rig: the mode is FM: set it to upper sideband" in said.err
    watcher.close()
    sent = json.loads(said.out.splitlines()[-1])
    audio = np.array(card.sent.data())
    assert card.opened == [(48000, "plughw:9,0")] and np.abs(audio).max() < 1
    # All of it lies where an SSB filter lets it through.
    power = np.abs(np.fft.rfft(audio)) ** 2
    frequency = np.fft.rfftfreq(len(audio), 1 / 48000)
    assert power[(frequency > 300) & (frequency < 2700)].sum() > 0.999 * power.sum()

    # The other station's card gives the same audio.
    from radio_devices import from_sound_card

    tb = gr.top_block("hear", catch_exceptions=False)
    rx = largesc.packet_radio_rx(profile="ssb", sample_rate=48000)
    tb.connect(from_sound_card(48000, card.source(48000, "", True)), rx)
    tb.run()
    assert rx.statistics()["accepted"] == sent["modem"]["packets"]
    assert abs(rx.statistics()["carrier_offset_hz"]) < 5


def an_over(how: str, arguments: list[str]) -> int:
    """An over into a card that takes all; where it "fails", it breaks down."""
    sys.path.insert(0, str(EXAMPLES))
    import radio
    import radio_devices

    radio_devices.audio = SimpleNamespace(sink=lambda *_: blocks.null_sink(4))
    if how == "fails":
        radio.run = lambda *_: 1 / 0
    return radio.main(["tx", *arguments])


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, "fails"])
def test_the_key_is_released_whatever_ends_the_over(dummy, tmp_path, speech, end):
    soundfile.write(tmp_path / "long.wav", np.tile(speech, 30), 24000)
    watcher = Rig(dummy.where)
    how = end if isinstance(end, str) else "signal"
    rig = ["--audio", "", "--rig", dummy.where]
    files = [str(tmp_path / "long.wav")]
    over = Command(tmp_path, *files, *rig, main=partial(an_over, how), prepare=ignore_interrupts)
    if end != "fails":
        wait_until(watcher.keyed)
        time.sleep(0.5)
        over.signal(end)
    over.process.join(PATIENCE_S)
    assert over.process.exitcode is not None, over.said()
    if end == "fails":
        assert over.process.exitcode != 0 and "ZeroDivisionError" in over.said()
    assert not watcher.keyed()
    watcher.close()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--audio", "", "--rig", "here"], "rigctld address 'here' is not HOST:PORT"),
        (["--audio", "", "--rig", "127.0.0.1:1"], "is rigctld running?"),
        (["--audio", "", "--gain", "3"], "are set at the transceiver itself"),
        (["--audio", "", "--tune-below", "3"], "are set at the transceiver itself"),
        (["--audio", "", "--profile", "narrow"], "profile narrow is 9 kHz wide"),
        (["--to", "x.cf32", "--rig", "127.0.0.1:1"], "--rig keys a transmitter"),
    ],
)
def test_wrong_options_say_what(radio, card, wav, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert radio.main(["tx", wav, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_rig_that_refuses_ends_the_sender(radio, card, wav, capsys):
    rig = DummyRig()
    try:
        assert radio.main(["tx", wav, "--audio", "", "--rig", rig.where]) == 2
    finally:
        rig.kill()
    said = capsys.readouterr().err
    assert "rigctld refuses 'T 0': RPRT -1: rigctld must key the rig, as with -P RIG" in said


def test_without_a_sound_card_it_says_so(radio, wav, capsys):
    assert radio.main(["tx", wav, "--audio", "no such card"]) == 2
    said = capsys.readouterr().err
    assert "no radio answers to 'no such card'" in said and "arecord -L" in said


def test_push_to_talk_stays_keyed_for_the_call_sign(radio, card, dummy, tmp_path, speech):
    import push_to_talk

    soundfile.write(tmp_path / "long.wav", np.tile(speech, 8), 24000)
    card.source = lambda *_: blocks.null_source(4)
    # The clock of a sound card.
    card.sink = lambda *_: Paced()
    files = ["--source", str(tmp_path / "long.wav"), "--sink", str(tmp_path / "out.wav")]
    rig = ["--audio", "", "--rig", dummy.where, "--call-sign", "N0CALL"]
    station = push_to_talk.Station(
        push_to_talk.parser().parse_args([*rig, *files, "--concealer", "repeat"])
    )
    watcher = Rig(dummy.where)
    station.start()
    try:
        station.key(True)
        wait_until(lambda: station.gate.sent >= 2, station.refresh)
        station.key(False)
        wait_until(station.modem_tx.is_identifying, station.refresh)
        while station.modem_tx.is_identifying():
            assert watcher.keyed()
            station.refresh()
            time.sleep(0.05)
        wait_until(lambda: not watcher.keyed(), station.refresh)
        assert station.modem_tx.statistics()["idents"] == 1
    finally:
        station.close()
    watcher.close()


def test_push_to_talk_keys_the_rig(radio, card, dummy, wav, tmp_path, speech):
    import push_to_talk

    soundfile.write(tmp_path / "long.wav", np.tile(speech, 8), 24000)
    card.source = lambda *_: blocks.null_source(4)
    card.sink = lambda *_: blocks.null_sink(4)
    files = ["--source", str(tmp_path / "long.wav"), "--sink", str(tmp_path / "out.wav")]
    rig = ["--audio", "", "--rig", dummy.where]
    station = push_to_talk.Station(
        push_to_talk.parser().parse_args([*rig, *files, "--concealer", "repeat"])
    )
    watcher = Rig(dummy.where)
    station.start()
    try:
        assert not watcher.keyed()
        station.key(True)
        wait_until(watcher.keyed, station.refresh)
        station.key(False)
        wait_until(lambda: not watcher.keyed(), station.refresh)
        station.key(True)
        wait_until(watcher.keyed, station.refresh)
    finally:
        station.close()
    # Closed with the button down.
    assert not watcher.keyed()
    watcher.close()
