# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech from whatever gives it in pieces, into a flowgraph."""

import queue
import threading
from collections.abc import Iterable

import numpy as np
from gnuradio import gr

# So many pieces are read ahead.
PIECES_AHEAD = 4
POLL_S = 0.05


class speech_reader(gr.sync_block):  # noqa: N801
    """Speech as it comes, and its end.

    Output: float stream, 24 kHz.

    Args:
        pieces: float32 arrays; they are fetched in a thread, which may wait for a microphone.

    Attributes:
        error: why no more could be fetched; empty where the speech has ended by itself.
    """

    def __init__(self, *, pieces: Iterable[np.ndarray]) -> None:
        gr.sync_block.__init__(self, "speech_reader", None, [np.float32])
        self.error = ""
        self._pieces, self._thread = pieces, None
        self._queue: queue.Queue[np.ndarray | None] = queue.Queue(PIECES_AHEAD)
        self._piece = np.zeros(0, dtype=np.float32)

    def start(self) -> bool:
        # It may hang in a read for ever, so that nothing must wait for it.
        if self._thread is None:
            self._thread = threading.Thread(target=self._fetch, daemon=True)
            self._thread.start()
        return True

    def _fetch(self) -> None:
        try:
            for piece in self._pieces:
                self._queue.put(piece)
        except (OSError, RuntimeError, ValueError) as error:
            self.error = f"speech cannot be read any further: {error}"
        self._queue.put(None)

    def work(self, input_items: list, output_items: list) -> int:
        out = output_items[0]
        if len(self._piece) == 0:
            try:
                piece = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                return 0
            if piece is None:
                # A second start finds the end again.
                self._queue.put(None)
                return -1
            self._piece = piece
        count = min(len(out), len(self._piece))
        out[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count
