# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: bursts of symbols to English text and speech, the listener's half of the link."""

import queue
import time
from dataclasses import replace

import numpy as np
import pmt
from gnuradio import gr

from ..._core import keys
from ...channel_codec.load import load_channel_code
from ...features.load import large_model
from ...features.text import Text
from ...features.voice import Phrases, Voice, length_at
from ...options import MODES, TranslationOptions, check_choice
from ...speech.format import SAMPLE_RATE_HZ
from ...tasks.translation import TranslationReceiver
from ..block_base import ThreadedBlock, setter
from ..messages import to_pmt
from .bursts import Burst, read_burst

# Bursts that wait for the model; the oldest is dropped for a newer one, live.
MOST_BURSTS = 32
# Speech that waits to be played: what is beyond is not said.
MOST_SPEECH_S = 20.0
CHUNK, CAPTION_LETTERS = 480, 70
IDLE_S = 0.002


class translation_rx(ThreadedBlock, gr.sync_block):  # noqa: N801
    """`symbols` PDUs to English: text as it comes, and speech.

    Input: message port `symbols`. Output: float stream 24 kHz; message ports `text` (PDUs of UTF-8
    bytes: new words that stay; metadata: window, last), `caption` (pairs with the last words, for a
    window), `status`.

    A window whose last burst was lost is finished with the next window, at the end of the stream,
    or, live, when nothing has come for 2 s and twice the speech of the last burst.

    Args:
        language: that is spoken, as the model names it.
        model: Whisper ``base``, a folder of Whisper or SeamlessM4T v2, or ``hf://owner/name``.
        channel_code: as the sender's.
        symbols: as the sender's.
        snr_db: mean SNR that the decoder reckons with, where a burst does not bring its own, as
            those of symbol_radio_rx do; may change while it runs.
        voice: of Piper, ``joe`` or a path; empty: text alone, and silence.
        mode: ``live`` (silence while nothing is said) or ``offline`` (speech without pauses; ends
            with the stream).
    """

    def __init__(
        self,
        *,
        language: str = TranslationOptions.language,
        model: str = TranslationOptions.model,
        channel_code: str = TranslationOptions.channel_code,
        symbols: int = TranslationOptions.symbols,
        snr_db: float = TranslationOptions.snr_db,
        voice: str = TranslationOptions.voice,
        mode: str = "live",
    ) -> None:
        check_choice("mode", mode, MODES)
        self._options = TranslationOptions(
            language=language,
            model=model,
            channel_code=channel_code,
            symbols=symbols,
            snr_db=float(snr_db),
        ).checked()
        gr.sync_block.__init__(self, "translation_rx", None, [np.float32])
        self.open_ports({"symbols": self._on_symbols}, ["text", "caption"], "symbols")
        self.counters |= {"dropped": 0, "unsaid": 0, "words": 0}
        self._code = load_channel_code(channel_code, symbols)
        self._voice = Voice(voice) if voice else None
        self._live = mode == "live"
        self.begin()

    def begin(self) -> None:
        model = large_model(self._options.model)
        self._receiver = TranslationReceiver(self._options, model, self._code)
        self._bursts: queue.Queue = queue.Queue()
        self._speech: queue.Queue = queue.Queue()
        # Made by the thread, and given out by work(): each is written by one of them.
        self._made_samples, self._played_samples = 0, 0
        self._samples = np.zeros(0, dtype=np.float32)
        self._phrases, self._done, self._caption = Phrases(), False, ""

    @setter
    def set_snr_db(self, snr_db: float) -> None:
        """Mean SNR that the decoder reckons with in dB, -40 to 100."""
        self._receiver.set_snr_db(snr_db)
        self._options = replace(self._options, snr_db=float(snr_db))

    def _on_symbols(self, message: object) -> None:
        _, burst = read_burst(message)
        if self._live and self._bursts.qsize() >= MOST_BURSTS:
            self._bursts.get_nowait()
            self.counters["dropped"] += 1
        self._bursts.put(burst)

    def run(self) -> None:
        """Decodes and speaks, in its thread."""
        heard_s = time.monotonic()
        while not self.stopped.is_set():
            try:
                burst: Burst | None = self._bursts.get(timeout=0.05)
            except queue.Empty:
                if self._live and time.monotonic() - heard_s > self._receiver.patience_s:
                    self._tell(self._receiver.flush())
                continue
            if burst is None:
                self._tell(self._receiver.flush())
                self._done = True
                continue
            self._tell(self._receiver.push(burst))
            self.publish_status()
            heard_s = time.monotonic()

    def _tell(self, texts: list[Text]) -> None:
        for text in texts:
            self._show(text)
            self._speak(text)

    def _show(self, text: Text) -> None:
        if text.committed or text.last:
            data = text.committed.encode()
            meta = to_pmt({keys.window: text.window, keys.last: text.last})
            self.publish("text", pmt.cons(meta, pmt.init_u8vector(len(data), list(data))))
            self.counters["words"] += len(text.committed.split())
            self._caption = (self._caption + text.committed + " " * text.last)[-CAPTION_LETTERS:]
            shown = pmt.intern(f"{self._caption} {text.tentative}".strip()[-CAPTION_LETTERS:])
            self.publish("caption", pmt.cons(pmt.intern("text"), shown))

    def _speak(self, text: Text) -> None:
        for phrase in self._phrases.push(text.committed, text.last):
            waiting_s = (self._made_samples - self._played_samples) / SAMPLE_RATE_HZ
            if self._voice is None:
                continue
            if self._live and waiting_s > MOST_SPEECH_S:
                self.counters["unsaid"] += 1
                continue
            speech = self._voice.say(phrase, length_at(waiting_s) if self._live else 1.0)
            self._made_samples += len(speech)
            self._speech.put(speech)

    def work(self, input_items: list, output_items: list) -> int:
        out = output_items[0]
        # Asked before the queue: what is done first puts its speech there.
        done = self._done
        if not len(self._samples) and not self._speech.empty():
            self._samples = self._speech.get_nowait()
        if len(self._samples):
            count = min(len(out), len(self._samples))
            out[:count] = self._samples[:count]
            self._samples = self._samples[count:]
            self._played_samples += count
            return count
        if done:
            self._ended = True
            self.publish_status()
            return -1
        if self._live:
            count = min(len(out), CHUNK)
            out[:count] = 0.0
            return count
        time.sleep(IDLE_S)
        return 0

    def statistics(self) -> dict[str, int]:
        """Counters of bursts and windows; refused, dropped (bursts), unsaid (phrases), words."""
        return self.counters | {
            f"decoder_{k}" if k == "refused" else k: v for k, v in self._receiver.counters.items()
        }
