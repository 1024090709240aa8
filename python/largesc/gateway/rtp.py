# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech as RTP, out and in, by way of FFmpeg (PyAV): RFC 3550, 3551 and 7587."""

import contextlib
import logging
import socket
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..packets.address import bind, resolved
from ..speech.files import from_pcm16, to_pcm16
from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ

# Seconds until something must have come from whoever sends.
OPEN_S, READ_S = 5.0, 1.0
# Frames that wait to be taken, 400 ms: older ones are dropped.
MOST_WAITING = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Payload:
    """A kind of RTP stream.

    Attributes:
        encoder: of FFmpeg.
        rate_hz: that it is encoded at.
        number: payload type.
        described: as ``a=rtpmap`` has it.
    """

    encoder: str
    rate_hz: int
    number: int
    described: str


PAYLOADS = {
    "opus": Payload("libopus", SAMPLE_RATE_HZ, 97, "opus/48000/2"),
    "l16": Payload("pcm_s16be", SAMPLE_RATE_HZ, 97, f"L16/{SAMPLE_RATE_HZ}/1"),
    "pcmu": Payload("pcm_mulaw", 8000, 0, "PCMU/8000"),
}


def description(host: str, port: int, payload: str, name: str = "gr-largesc") -> str:
    """SDP (RFC 8866) of a stream, as players and PBXs read it."""
    kind = PAYLOADS[payload]
    family = "IP6" if ":" in host else "IP4"
    lines = [
        "v=0",
        f"o=- 0 0 IN {family} {host}",
        f"s={name}",
        f"c=IN {family} {host}",
        "t=0 0",
        f"m=audio {port} RTP/AVP {kind.number}",
        f"a=rtpmap:{kind.number} {kind.described}",
    ]
    return "\r\n".join(lines) + "\r\n"


def check_free(host: str, port: int) -> None:
    """Raises ValueError where RTP cannot come in at a port, and RTCP at the next one."""
    for text in (f"{host}:{port}", f"{host}:{port + 1}"):
        family, where = resolved(text, True)
        with socket.socket(family, socket.SOCK_DGRAM) as tried:
            bind(tried, where, text)


class RtpOutput:
    """Sends speech to an address.

    Args:
        host, port: where to.
        payload: of :data:`PAYLOADS`.

    Raises:
        OSError, ValueError: the address cannot be sent to.
    """

    def __init__(self, host: str, port: int, payload: str) -> None:
        import av

        kind = PAYLOADS[payload]
        where = f"[{host}]" if ":" in host else host
        options = {"payload_type": str(kind.number)}
        self._container = av.open(f"rtp://{where}:{port}", "w", format="rtp", options=options)
        self._stream = self._container.add_stream(kind.encoder, rate=kind.rate_hz, layout="mono")
        self._resampler = av.AudioResampler("s16", "mono", kind.rate_hz)
        self._frame, self._at = av.AudioFrame, 0

    def write(self, samples: np.ndarray) -> None:
        """Sends 80 ms of speech, float32 ``[1920]`` at 24 kHz."""
        frame = self._frame.from_ndarray(to_pcm16(samples)[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, self._at
        self._at += len(samples)
        for resampled in self._resampler.resample(frame):
            self._container.mux(self._stream.encode(resampled))

    def close(self) -> None:
        """Sends what the encoder still holds, and ends the stream."""
        with contextlib.suppress(OSError):
            self._container.mux(self._stream.encode(None))
        self._container.close()


class RtpInput:
    """Receives speech at a port, in a thread of its own, for as long as it is open.

    Args:
        port: of this machine.
        payload: of :data:`PAYLOADS`.
        host: of this machine.

    Raises:
        ValueError: another program has the port or the next one, or the host is not this machine.

    Attributes:
        counters: frames ``received`` and ``dropped``, and times that the stream ``began``.
    """

    def __init__(self, port: int, payload: str, host: str = "127.0.0.1") -> None:
        check_free(host, port)
        self.counters = {"received": 0, "dropped": 0, "began": 0}
        self._description = description(host, port, payload)
        self._frames: deque[np.ndarray] = deque()
        self._rest = np.zeros(0, dtype=np.float32)
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"RTP at {port}", daemon=True)
        self._thread.start()

    def pull(self) -> np.ndarray | None:
        """The next 80 ms, float32 ``[1920]``; None where nothing has come."""
        with self._lock:
            return self._frames.popleft() if self._frames else None

    def close(self) -> None:
        """Ends it; the thread follows within seconds."""
        self._stopped.set()

    def _run(self) -> None:
        import av

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stream.sdp"
            path.write_text(self._description)
            while not self._stopped.is_set():
                try:
                    self._receive(av, path)
                except Exception as error:
                    # Nobody sends, or no longer, or no speech.
                    log.debug("RTP: %s", error)
                    self._stopped.wait(0.2)

    def _receive(self, av: object, path: Path) -> None:
        options = {
            "protocol_whitelist": "file,udp,rtp",
            "fflags": "nobuffer",
            "analyzeduration": "0",
            "probesize": "32",
        }
        with av.open(str(path), format="sdp", options=options, timeout=(OPEN_S, READ_S)) as source:
            resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
            for number, frame in enumerate(source.decode(audio=0)):
                self.counters["began"] += number == 0
                for resampled in resampler.resample(frame):
                    self._put(from_pcm16(resampled.to_ndarray()[0]))
                if self._stopped.is_set():
                    return

    def _put(self, samples: np.ndarray) -> None:
        self._rest = np.concatenate([self._rest, samples])
        while len(self._rest) >= FRAME_SAMPLES:
            frame, self._rest = self._rest[:FRAME_SAMPLES], self._rest[FRAME_SAMPLES:]
            self.counters["received"] += 1
            with self._lock:
                self._frames.append(frame)
                while len(self._frames) > MOST_WAITING:
                    self._frames.popleft()
                    self.counters["dropped"] += 1
