# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: token frames to 24 kHz speech; live, it is the clock of the receiver."""

import logging
import time
from collections import deque

import numpy as np
import pmt
import torch
from gnuradio import gr

from .._core import keys
from ..codec.load import load_codec
from ..codec.speech_decoder import SpeechDecoder
from ..options import MODES, LinkOptions, ReceiverOptions, check_choice
from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from .block_base import STATUS_FRAMES, TokenBlock
from .messages import make_credit

# Live: samples a call of work, the polling while nothing plays, and how far ahead a frame is asked.
CHUNK = 480
IDLE_POLL_SAMPLES = 240
LEAD_SAMPLES = 960
# 5 s of pulls without one frame since the start: the user hears of it.
PATIENCE_PULLS = 5 * SAMPLE_RATE_HZ // IDLE_POLL_SAMPLES
REMEDY = (
    "Live, the depacketizer gives a frame for each `pull`: connect that port to it, and its "
    "`tokens` by way of the concealer to this block, all three with mode 'live'"
)
log = logging.getLogger(__name__)


class mimi_decoder(TokenBlock, gr.sync_block):  # noqa: N801
    """Token frames to speech.

    Input: message port `tokens` (from the concealer; the metadata `gain` fades to comfort noise, an
    `estimated_latent` is decoded in place of the tokens). Output: float stream 24 kHz; message
    ports `pull` (live: asks for the next frame), `credit` (frames that are done with), `status`.
    Live, `pull` goes to the depacketizer's, whose `tokens` come by way of the concealer, all three
    with mode ``live``; :class:`speech_rx` is wired so.

    The output lags by the codec's own delay, 20 ms with the embedded codec. Live, comfort noise is
    played until the first frame and wherever a frame is not there in time (counted as underflow).

    Args:
        codec: model source, see ``models.store``.
        mode: ``offline`` (all frames, as fast as they come) or ``live``.
        threads: of torch.
        seed: of the comfort noise.
    """

    def __init__(
        self,
        *,
        codec: str = LinkOptions.codec,
        mode: str = ReceiverOptions.mode,
        threads: int = LinkOptions.threads,
        seed: int = ReceiverOptions.seed,
    ) -> None:
        check_choice("mode", mode, MODES)
        gr.sync_block.__init__(self, "mimi_decoder", None, [np.float32])
        self.open_ports({"tokens": self._on_tokens}, ["pull", "credit"], "tokens")
        self.counters |= {"frames": 0, "underflows": 0, "overflows": 0, "broken_frames": 0}
        torch.set_num_threads(threads)
        loaded = load_codec(codec)
        self.delay_samples = loaded.delay_samples
        self._core = SpeechDecoder(loaded, seed)
        self._live = mode == "live"
        self._clear()
        if self._live:
            self.set_max_output_buffer(1024)

    def _clear(self) -> None:
        self._frames: deque = deque()
        self._samples = np.zeros(0, dtype=np.float32)
        self._input_over = self._playing = self._asked = False
        self._idle_samples = self._unanswered = 0

    def begin(self) -> None:
        self._core.reset()
        self._core.broken_frames = 0
        self._clear()

    def start(self) -> bool:
        super().start()
        if self._live and pmt.is_null(self.message_subscribers(pmt.intern("pull"))):
            log.warning("%s: nothing is connected to `pull`. %s", self.name(), REMEDY)
            self._unanswered = PATIENCE_PULLS
        return True

    def _on_tokens(self, message: object) -> None:
        if (found := self.read_frame(message)) is None:
            return
        meta, tokens = found
        if meta.get(keys.end_of_stream):
            self._input_over = True
            return
        if meta.get(keys.repair):
            return
        found = meta.get(keys.gain, 1.0), meta.get(keys.estimated_latent)
        self._frames.append((meta.get(keys.frame_index, 0), tokens, *found))
        self._asked = False
        # Once is enough: after a frame the wires are right.
        self._unanswered = PATIENCE_PULLS
        if self._live and len(self._frames) > 3:
            self._frames.popleft()
            self.counters["overflows"] += 1

    def work(self, input_items: list, output_items: list) -> int:
        out = output_items[0]
        return self._work_live(out) if self._live else self._work_offline(out)

    def _work_offline(self, out: np.ndarray) -> int:
        if len(self._samples) == 0:
            if not self._frames:
                if self._input_over:
                    self._ended = True
                    self.publish_status()
                    return -1
                # Frames are taken in between two calls.
                time.sleep(0.001)
                return 0
            self._decode(*self._frames.popleft())
        return self._give(out, len(out))

    def _work_live(self, out: np.ndarray) -> int:
        if len(self._samples) == 0:
            if self._frames:
                self._playing = True
                self._decode(*self._frames.popleft())
            elif self._input_over:
                self._ended = True
                self.publish_status()
                return -1
            else:
                self._bridge()
        count = self._give(out, CHUNK)
        ahead = len(self._samples) <= LEAD_SAMPLES and not self._frames
        if self._playing and ahead and not self._asked:
            self._asked = True
            self.publish("pull", pmt.make_dict())
        return count

    def _bridge(self) -> None:
        """Comfort noise while no frame is there: 10 ms at a time, asking anew each time."""
        if self._playing and self._idle_samples == 0:
            self.counters["underflows"] += 1
        self._idle_samples += IDLE_POLL_SAMPLES
        if self._idle_samples > FRAME_SAMPLES:
            self._playing = False
        self._samples = self._core.comfort_noise(IDLE_POLL_SAMPLES)
        if not self._playing:
            self.publish("pull", pmt.make_dict())
            self._unanswered += 1
            if self._unanswered == PATIENCE_PULLS:
                log.warning(
                    "%s: no frame came for 5 s. Is there a sender, and is it heard? "
                    "How blocks are wired by hand tells help(largesc.mimi_decoder)",
                    self.name(),
                )

    def _decode(
        self, index: int, tokens: np.ndarray, gain: float, latent: np.ndarray | None
    ) -> None:
        self._idle_samples = 0
        self.times.start()
        if not self.attempt(self._play, tokens, gain, latent):
            self._samples = self._core.comfort_noise(FRAME_SAMPLES)
        self.times.stop()
        self.counters["frames"] += 1
        self.publish("credit", make_credit(index))
        if self.counters["frames"] % STATUS_FRAMES == 0:
            self.publish_status()

    def _play(self, tokens: np.ndarray, gain: float, latent: np.ndarray | None) -> None:
        # One of another codec's dimension is none.
        fits = latent is not None and latent.shape == (self._core.codec.dimension,)
        self._samples = self._core.decode(tokens, gain, latent if fits else None)

    def _give(self, out: np.ndarray, most: int) -> int:
        count = min(len(out), most, len(self._samples))
        out[:count] = self._samples[:count]
        self._samples = self._samples[count:]
        return count

    def statistics(self) -> dict[str, int]:
        """Counters: frames, underflows, overflows, broken_frames (decoder gave no numbers)."""
        self.counters["broken_frames"] = self._core.broken_frames
        return dict(self.counters)
