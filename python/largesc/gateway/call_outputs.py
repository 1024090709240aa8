# SPDX-License-Identifier: GPL-3.0-or-later
"""Which outputs each call gets: a file, a pair of RTP ports, or both."""

import itertools
import logging
import re
import time
from collections import Counter
from pathlib import Path

from .outputs import CallOutput, QueuedOutput, WavOutput
from .rtp import RtpOutput, description

log = logging.getLogger(__name__)


class CallOutputs:
    """Opens the outputs of calls.

    Args:
        wav: folder for a WAV file of each; None: none.
        rtp: host and first port; call n, the lowest number that is free, goes to port + 2 n.
            None: none.
        payload: of RTP.
        sdp: folder for the description ``n.sdp`` of each RTP stream; None: none.
    """

    def __init__(
        self,
        *,
        wav: Path | None = None,
        rtp: tuple[str, int] | None = None,
        payload: str = "opus",
        sdp: Path | None = None,
    ) -> None:
        self._wav, self._rtp, self._payload, self._sdp = wav, rtp, payload, sdp
        self._files = itertools.count()
        self._open: list[QueuedOutput] = []
        self._ended: Counter[str] = Counter()
        self._ports: dict[int, QueuedOutput] = {}

    def of(self, call: str) -> CallOutput:
        """Opens the outputs of ``call`` and returns them as one."""
        self._forget_closed()
        files = [self._file(call)] if self._wav is not None else []
        streams = [self._stream(call)] if self._rtp is not None else []
        self._open += files + streams
        return CallOutput(files, streams)

    @property
    def counters(self) -> dict[str, int]:
        """Frames ``written`` and ``dropped``, and ``errors``, of all outputs there ever were."""
        found = self._ended.copy()
        for output in self._open:
            found.update(output.counters)
        return {name: found[name] for name in ("written", "dropped", "errors")}

    def join(self, seconds: float) -> None:
        """Waits until all that were closed have written what they had, ``seconds`` at most."""
        until_s = time.monotonic() + seconds
        for output in self._open:
            output.join(until_s)

    def _forget_closed(self) -> None:
        for output in self._open:
            if output.closed:
                self._ended.update(output.counters)
        self._open = [output for output in self._open if not output.closed]
        for number in [n for n, output in self._ports.items() if output.closed]:
            del self._ports[number]

    def _file(self, call: str) -> QueuedOutput:
        # A second file of a call has the same name with a later time.
        stem = f"{next(self._files)}-{file_name(call)}.wav"

        def path() -> Path:
            return unused(self._wav / f"{time.strftime('%Y%m%d-%H%M%S')}-{stem}")

        return QueuedOutput(call, lambda: WavOutput(path))

    def _stream(self, call: str) -> QueuedOutput:
        number = next(n for n in itertools.count() if n not in self._ports)
        host, port = self._rtp[0], self._rtp[1] + 2 * number
        if self._sdp is not None:
            self._describe(number, description(host, port, self._payload, call))
        log.info("call %s goes as RTP to port %d", call, port)
        output = QueuedOutput(call, lambda: RtpOutput(host, port, self._payload))
        self._ports[number] = output
        return output

    def _describe(self, number: int, text: str) -> None:
        try:
            (self._sdp / f"{number}.sdp").write_text(text)
        except OSError as error:
            # The stream itself goes on.
            log.error("%s cannot be written: %s", self._sdp / f"{number}.sdp", error.strerror)


def unused(path: Path) -> Path:
    """The path, or one beside it: another process may have had the same call this second."""
    more = (path.with_stem(f"{path.stem}-{n}") for n in itertools.count(2))
    return next(p for p in itertools.chain([path], more) if not p.exists())


def file_name(call: str) -> str:
    """A call's name as that of a file."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", call).strip("_") or "call"
