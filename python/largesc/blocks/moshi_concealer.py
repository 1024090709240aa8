# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: fills the tokens that were lost."""

import threading
from collections import deque

from gnuradio import gr

from .._core import keys
from ..concealment.concealer import ConcealedFrame, ReceivedFrame
from ..concealment.load import load_concealer
from ..options import MODES, LinkOptions, ReceiverOptions, check_choice
from .block_base import STATUS_FRAMES, TokenBlock, setter
from .messages import end_of_stream, make_pdu

# Live: frames that may wait for the language model; older ones are repeated instead.
MAX_WAITING_FRAMES = 2


class moshi_concealer(TokenBlock, gr.basic_block):  # noqa: N801
    """Completes token frames: what was received is kept, the rest is generated.

    Input: message port `tokens` (from the depacketizer, repairs among them). Output: message ports
    `tokens` (metadata: frame_index, concealed_tokens, gain, estimated_latent), `status`.

    Args:
        method: ``context`` (a recurrent network, of every frame), ``interpolate`` (from the frames
            around), ``lm`` (moshi's LMModel, and the frames
            around where the model has an estimator), ``repeat`` or ``silence``.
        model: source of language model and estimator, see ``models.store``.
        temperature: of the sampling, 0 for the most likely token.
        top_k: tokens to choose among.
        seed: of the sampling.
        fade_after_frames: lost frames in a row before the fade to comfort noise.
        delay_mode: for a model with an acoustic delay, as official Moshi: ``speculative`` (no
            waiting, the first token of the next frame is guessed) or ``wait`` (80 ms later).
        other_streams: what a model of more than 8 streams hears of the other speaker: ``zero``
            (Moshi's zero token) or ``silence`` (the codec's tokens of silence).
        codec: whose silence that is, and whose codebooks a mean is taken with.
        samples: frames to draw for a lost one, whose mean is played; 1: a single one, which is
            sharper and further off.
        threads: of torch.
        mode: ``live``: repeat frames for which there is no time to compute, instead of falling
            behind; ``offline``: every frame takes its time.
    """

    def __init__(
        self,
        *,
        method: str = ReceiverOptions.method,
        model: str = ReceiverOptions.model,
        temperature: float = ReceiverOptions.temperature,
        top_k: int = ReceiverOptions.top_k,
        seed: int = ReceiverOptions.seed,
        fade_after_frames: int = ReceiverOptions.fade_after_frames,
        threads: int = LinkOptions.threads,
        mode: str = ReceiverOptions.mode,
        delay_mode: str = ReceiverOptions.delay_mode,
        other_streams: str = ReceiverOptions.other_streams,
        codec: str = LinkOptions.codec,
        samples: int = ReceiverOptions.samples,
    ) -> None:
        check_choice("mode", mode, MODES)
        if method == "lm":
            import torch

            torch.set_num_threads(threads)
        self._options = dict(
            model=model,
            codec=codec,
            temperature=temperature,
            top_k=top_k,
            samples=samples,
            seed=seed,
            fade_after_frames=fade_after_frames,
            delay_mode=delay_mode,
            other_streams=other_streams,
        )
        self._core, self._core_lock = load_concealer(method, **self._options), threading.Lock()
        self._live = mode == "live"
        gr.basic_block.__init__(self, "moshi_concealer", None, None)
        self.open_ports({"tokens": self._on_tokens}, ["tokens"], "tokens")
        # The queue of the port is out of sight, so that the block keeps its own.
        self._waiting: deque = deque()
        self._ready = threading.Condition()
        self._worker: threading.Thread | None = None

    @setter
    def set_method(self, method: str) -> None:
        """Changes the method while running; its models are loaded before anything changes."""
        new = load_concealer(method, **self._options)
        with self._core_lock:
            self._publish_frame(self._core.finish())
            new.follow(self._core)
            self._core = new

    def begin(self) -> None:
        with self._core_lock:
            self._core.reset()
            self._core.counters = dict.fromkeys(self._core.counters, 0)
        self._waiting.clear()

    def start(self) -> bool:
        super().start()
        self._worker = threading.Thread(target=self._run, name="concealer", daemon=True)
        self._worker.start()
        return True

    def halt(self) -> None:
        # After the end of the stream the queue is empty; else this is an early stop.
        with self._ready:
            self._waiting.clear()
            self._waiting.append(None)
            self._ready.notify()
        if self._worker is not None and self._worker is not threading.current_thread():
            self._worker.join(timeout=5.0)

    def _on_tokens(self, message: object) -> None:
        if self._ended:
            return
        if (found := self.read_frame(message)) is None:
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
                with self._core_lock:
                    self.attempt(self._flush)
                self.publish("tokens", end_of_stream(meta.get(keys.frame_index, -1)))
                self.finish()
                return
            late = self._live and behind > MAX_WAITING_FRAMES
            with self._core_lock:
                taken = self.attempt(self._take, meta, tokens, late)
            if not taken and not meta.get(keys.repair):
                # The decoder plays comfort noise for it, and gives its credit back.
                lost = {keys.frame_index: meta.get(keys.frame_index, 0), keys.gain: 0.0}
                self.publish("tokens", make_pdu(lost, tokens))

    def _flush(self) -> None:
        self._publish_frame(self._core.finish())

    def _take(self, meta: dict, tokens: object, late: bool) -> None:
        frame = ReceivedFrame(
            meta.get(keys.frame_index, 0),
            tokens,
            meta.get(keys.silence, False),
            meta.get(keys.following_tokens),
            meta.get(keys.tokens_sent),
        )
        self.times.start()
        if meta.get(keys.repair):
            if not late:
                self._core.repair(frame)
            # A replay counts for the frame that comes next.
            self.times.stop(frame_done=False)
            return
        done = self._core.late_step(frame) if late else self._core.step(frame)
        self.times.stop()
        self._publish_frame(done)

    def _publish_frame(self, done: ConcealedFrame | None) -> None:
        if done is None:
            return
        out = {
            keys.frame_index: done.index,
            keys.concealed_tokens: done.concealed_tokens,
            keys.gain: done.gain,
        }
        if done.latent is not None:
            out[keys.estimated_latent] = done.latent
        self.publish("tokens", make_pdu(out, done.tokens))
        if self._core.counters["frames"] % STATUS_FRAMES == 0:
            self.publish_status()

    def statistics(self) -> dict[str, int]:
        """Counters: frames, those made up and those cut, repairs, failures, late, refused."""
        return self.counters | self._core.statistics()
