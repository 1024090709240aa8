# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: fills the tokens that were lost."""

import threading
import time
from collections import deque

from gnuradio import gr

from .._core import keys
from ..concealment.concealer import ReceivedFrame, make_concealer
from .messages import STATUS_FRAMES, TokenBlock, end_of_stream, make_pdu, read_pdu

# Live: frames that may wait for the language model; older ones are repeated instead.
MAX_WAITING_FRAMES = 2


class moshi_concealer(TokenBlock, gr.basic_block):  # noqa: N801
    """Completes token frames: what was received is kept, the rest is generated.

    Input: message port `tokens` (from the depacketizer, repairs among them). Output: message ports
    `tokens` (metadata: frame_index, concealed_tokens, gain), `status`.

    Args:
        method: ``lm`` (moshi's LMModel), ``repeat`` or ``silence``.
        model: source of the language model, see ``models.loader``.
        temperature: of the sampling, 0 for the most likely token.
        top_k: tokens to choose among.
        seed: of the sampling.
        fade_after_frames: lost frames in a row before the fade to comfort noise.
        threads: of torch.
        live: repeat frames for which there is no time to compute, instead of falling behind.
    """

    def __init__(
        self,
        method: str = "lm",
        model: str = "embedded",
        temperature: float = 0.7,
        top_k: int = 50,
        seed: int = 1,
        fade_after_frames: int = 3,
        threads: int = 1,
        live: bool = False,
    ) -> None:
        network = None
        if method == "lm":
            import torch

            from ..models.loader import load_language_model

            torch.set_num_threads(threads)
            network = load_language_model(model).model
        self._core = make_concealer(method, network, temperature, top_k, seed, fade_after_frames)
        self._live = live
        gr.basic_block.__init__(self, "moshi_concealer", None, None)
        self.open_ports({"tokens": self._on_tokens}, ["tokens"], "tokens")
        # The queue of the port is out of sight, so that the block keeps its own.
        self._repair_ms = 0.0
        self._waiting: deque = deque()
        self._ready = threading.Condition()
        self._worker: threading.Thread | None = None

    def start(self) -> bool:
        self._worker = threading.Thread(target=self._run, name="concealer", daemon=True)
        self._worker.start()
        return True

    def stop(self) -> bool:
        # After the end of the stream the queue is empty; else this is an early stop.
        with self._ready:
            self._waiting.append(None)
            self._ready.notify()
        if self._worker is not None and self._worker is not threading.current_thread():
            self._worker.join(timeout=5.0)
        return True

    def _on_tokens(self, message: object) -> None:
        if self._ended:
            return
        found = read_pdu(message)
        if found is None:
            self.refuse("expected a PDU of 8 tokens (u16)")
            return
        with self._ready:
            self._waiting.append(found)
            self._ready.notify()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._waiting:
                    self._ready.wait()
                item = self._waiting.popleft()
                behind = len(self._waiting)
            if item is None:
                return
            meta, tokens = item
            if meta.get(keys.end_of_stream):
                self.publish("tokens", end_of_stream(meta.get(keys.frame_index, -1)))
                self.finish()
                return
            self._take(meta, tokens, self._live and behind > MAX_WAITING_FRAMES)

    def _take(self, meta: dict, tokens: object, late: bool) -> None:
        frame = ReceivedFrame(
            int(meta.get(keys.frame_index, 0)), tokens, bool(meta.get(keys.silence, False))
        )
        begin = time.perf_counter()
        if meta.get(keys.repair):
            if not late:
                self._core.repair(frame)
            self._repair_ms += 1e3 * (time.perf_counter() - begin)
            return
        done = self._core.late_step(frame) if late else self._core.step(frame)
        self.compute_ms.append(1e3 * (time.perf_counter() - begin) + self._repair_ms)
        self._repair_ms = 0.0
        out = {
            keys.frame_index: done.index,
            keys.concealed_tokens: done.concealed_tokens,
            keys.gain: done.gain,
        }
        self.publish("tokens", make_pdu(out, done.tokens))
        if self._core.counters["frames"] % STATUS_FRAMES == 0:
            self.publish_status()

    def statistics(self) -> dict[str, int]:
        """Counters: frames, concealed frames and tokens, repairs, failures, late, refused."""
        return self.counters | self._core.statistics()
