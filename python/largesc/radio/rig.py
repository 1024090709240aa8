# SPDX-License-Identifier: GPL-3.0-or-later
"""Transceivers behind hamlib's rigctld: frequency, mode and push to talk.

The protocol is that of rigctld's manual page: a line a command, one line an answer, or ``RPRT n``
where there is nothing else to say; n below 0 is an error.
"""

import socket
import threading
import time
from collections.abc import Callable

RIGCTLD_PORT = 4532
TIMEOUT_S = 2.0
# Between two attempts to key a rig whose daemon is away.
RETRY_S = 0.5
# No answer of the protocol is so long.
MOST_LINE_BYTES = 1024
# Modes in which a signal comes out as it goes in; the others mirror it, or have another waveform.
UPRIGHT_MODES = ("USB", "PKTUSB", "USBD1", "USBD2", "USBD3")


class HamlibError(OSError):
    """A daemon is not there, does not answer, or refuses."""


class HamlibRefusedError(HamlibError):
    """A daemon has understood, and does not do it."""


class HamlibDaemon:
    """Connection to rigctld or rotctld.

    Args:
        where: ``HOST:PORT``.
        name: of the program, for messages.
        timeout_s: for the connection, and for each answer as a whole.

    Raises:
        HamlibError: nothing answers there.
        ValueError: ``where`` has another form.
    """

    def __init__(self, where: str, *, name: str, timeout_s: float = TIMEOUT_S) -> None:
        host, _, port = where.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
            raise ValueError(f"{name} address {where!r} is not HOST:PORT, as 127.0.0.1:4532")
        self.where, self.name, self._timeout_s = where, name, timeout_s
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        with self._lock:
            self._connect()

    def _connect(self) -> None:
        try:
            self._socket = socket.create_connection((self._host, self._port), self._timeout_s)
        except (OSError, UnicodeError) as error:
            raise HamlibError(
                f"nobody answers at {self.where} ({error}): is {self.name} running?"
            ) from error
        self._rest = b""

    def close(self) -> None:
        """Ends the connection; the next command makes a new one."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, command: str, answers: int = 1) -> list[str]:
        """Sends a command and reads so many lines.

        After an error of the network the next command connects anew.

        Raises:
            HamlibError: no answer in time, the connection ended, or the daemon refused.
        """
        with self._lock:
            if self._socket is None:
                self._connect()
            end = time.monotonic() + self._timeout_s
            try:
                self._socket.sendall(f"{command}\n".encode("ascii"))
                found: list[str] = []
                while len(found) < answers:
                    found.append(self._line(end))
                    if found[-1].startswith("RPRT "):
                        break
            except HamlibError:
                self._drop()
                raise
            except OSError as error:
                self._drop()
                said = "no answer in time" if isinstance(error, TimeoutError) else error
                raise HamlibError(f"{self.name} at {self.where}: {said}") from error
        if found[-1].startswith("RPRT ") and found[-1] != "RPRT 0":
            raise HamlibRefusedError(f"{self.name} refuses {command!r}: {found[-1]}")
        if len(found) < answers:
            raise HamlibRefusedError(f"{self.name} gives no answer to {command!r}")
        return found

    def _line(self, end: float) -> str:
        while b"\n" not in self._rest:
            if len(self._rest) > MOST_LINE_BYTES:
                raise HamlibError(f"{self.name} at {self.where} speaks another protocol")
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            piece = self._socket.recv(4096)
            if not piece:
                raise HamlibError(f"{self.name} at {self.where} has closed the connection")
            self._rest += piece
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode("ascii", "replace").strip()


class Rig(HamlibDaemon):
    """A transceiver behind rigctld.

    Args:
        where: ``HOST:PORT``; rigctld's own port is 4532.
        timeout_s: for the connection, and for each answer.

    Raises:
        HamlibError: nothing answers there.
        ValueError: ``where`` has another form.
    """

    def __init__(self, where: str, *, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(where, name="rigctld", timeout_s=timeout_s)

    def frequency_hz(self) -> float:
        """Asks for the dial frequency and returns it in Hz."""
        return self._number("f")

    def set_frequency(self, frequency_hz: float) -> None:
        """Turns the dial to a frequency in Hz."""
        self.ask(f"F {frequency_hz:.0f}")

    def mode(self) -> str:
        """Mode as hamlib names it: ``USB``, ``PKTUSB``, ``FM``."""
        return self.ask("m", 2)[0]

    def keyed(self) -> bool:
        """Whether the transmitter is on."""
        return self._number("t") != 0

    def set_ptt(self, on: bool) -> None:
        """Switches the transmitter on or off."""
        self.ask(f"T {int(on)}")

    def _number(self, command: str) -> float:
        said = self.ask(command)[0]
        try:
            return float(said)
        except ValueError as error:
            raise HamlibError(f"rigctld answers {command!r} with {said[:40]!r}") from error


class PushToTalk:
    """Keys a rig from a thread of its own, so that nobody waits for it.

    While the rig is not as wanted it is tried again each half second, with a new connection where
    the old one ended. ``counters`` has ``keyed``, ``released`` and ``failures``.

    Args:
        rig: that answers; it is closed with this.
        say: gets a line for the first failure of each row of them.

    Raises:
        HamlibError: the rig does not even release its key.
    """

    def __init__(self, rig: Rig, say: Callable[[str], None]) -> None:
        self.counters = {"keyed": 0, "released": 0, "failures": 0}
        self._rig, self._say = rig, say
        self._failing = self._wanted = self._over = False
        # None: the rig was told to transmit, and nobody knows whether it heard.
        self._is: bool | None = False
        # What cannot be released is not keyed either.
        rig.set_ptt(False)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def key(self, on: bool) -> None:
        """Wants the transmitter on or off; returns at once."""
        with self._changed:
            self._wanted = on
            self._changed.notify_all()

    def wait(self, timeout_s: float = 2 * TIMEOUT_S) -> bool:
        """Waits until the rig is as wanted; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is == self._wanted, timeout_s)

    def close(self) -> bool:
        """Releases the key and ends; returns whether the rig has released it."""
        with self._changed:
            self._wanted, self._over = False, True
            self._changed.notify_all()
        self._thread.join()
        # What failed may work with a new connection.
        released = self._is is False or self._set(False)
        self._rig.close()
        if not released:
            self._say("the transmitter may still be on: release it at the rig")
        return released

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._is != self._wanted)
                wanted, over = self._wanted, self._over
            done = self._is == wanted or self._set(wanted)
            if over:
                return
            if not done:
                with self._changed:
                    self._changed.wait_for(lambda: self._over, RETRY_S)

    def _set(self, on: bool) -> bool:
        """Keys or releases; returns whether the rig has done so."""
        found: bool | None = on
        try:
            self._rig.set_ptt(on)
        except HamlibError as error:
            self.counters["failures"] += 1
            if not self._failing:
                self._say(str(error))
            found = self._is if isinstance(error, HamlibRefusedError) else None
        else:
            self.counters["keyed" if on else "released"] += 1
        self._failing = found != on
        with self._changed:
            self._is = found
            self._changed.notify_all()
        return found == on
