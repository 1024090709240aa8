# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that watch a link for a long time, and fades of known length."""

from collections.abc import Callable

import numpy as np
import pmt
from gnuradio import gr

from .. import keys
from ..blocks.messages import DONE
from ..speech.format import FRAME_S, SAMPLE_RATE_HZ

# About -80 dBFS: comfort noise lies above, and what a decoder that stands still gives below.
SILENT = 1e-4


def silent_runs(samples: np.ndarray, before: int = 0) -> tuple[int, int]:
    """Longest run of silent samples, and the one that the end leaves open.

    Args:
        samples: float ``[n]``; what is no number is silent as well.
        before: samples of the run that is open at the beginning.
    """
    loud = np.flatnonzero(np.abs(np.nan_to_num(samples)) >= SILENT)
    if not len(loud):
        return before + len(samples), before + len(samples)
    runs = np.diff(np.concatenate([[-1 - before], loud, [len(samples)]])) - 1
    return int(runs.max()), int(runs[-1])


class audio_probe(gr.sync_block):  # noqa: N801
    """Counts what comes out of a receiver.

    Input: float stream, 24 kHz.

    Args:
        each_second: called behind every second of samples, with the number of seconds so far.

    Counters: ``samples``, ``invalid`` (NaN, infinite), ``longest_silence`` in samples.
    """

    def __init__(self, each_second: Callable[[int], None]) -> None:
        gr.sync_block.__init__(self, "audio_probe", [np.float32], None)
        self.samples = self.invalid = self.longest_silence = 0
        self._open = 0
        self._each_second = each_second

    def work(self, input_items: list, output_items: list) -> int:
        x = input_items[0]
        self.invalid += int(np.sum(~np.isfinite(x)))
        longest, self._open = silent_runs(x, self._open)
        self.longest_silence = max(self.longest_silence, longest)
        before = self.samples // SAMPLE_RATE_HZ
        self.samples += len(x)
        for second in range(before + 1, self.samples // SAMPLE_RATE_HZ + 1):
            self._each_second(second)
        return len(x)


class FadeTimes:
    """When nothing gets through: ``seconds`` long, once in ``every`` seconds, at a random place.

    Args:
        seconds: of a fade, less than ``every``.
        every: seconds from one to the next on average.
        seed: of the places.
    """

    def __init__(self, seconds: float, every: float, seed: int) -> None:
        if not 0 <= seconds < every:
            raise ValueError(f"fades of {seconds} s every {every} s: use shorter ones")
        self.seconds, self.every = seconds, every
        self._random = np.random.default_rng(seed)
        self._starts: list[float] = []

    def covers(self, time: float) -> bool:
        """Whether ``time`` in seconds, 0 or more, lies in a fade."""
        place = int(time // self.every)
        while len(self._starts) <= place:
            self._starts.append(self._random.uniform(0, self.every - self.seconds))
        return 0 <= time - place * self.every - self._starts[place] < self.seconds


class packet_fades(gr.basic_block):  # noqa: N801
    """Drops the packets that leave in a fade.

    Input and output: message port `packets`; output also `credit`, as of ``loss_channel``.

    Args:
        fades: by the time of a packet's first frame.
    """

    def __init__(self, fades: FadeTimes) -> None:
        gr.basic_block.__init__(self, "packet_fades", None, None)
        self.counters = {"sent": 0, "dropped": 0}
        self._fades = fades
        self.message_port_register_in(pmt.intern("packets"))
        for port in ("packets", "credit"):
            self.message_port_register_out(pmt.intern(port))
        self.set_msg_handler(pmt.intern("packets"), self._on_packet)
        self.set_msg_handler(pmt.intern("system"), self._on_system)

    def _on_system(self, message: object) -> None:
        # The end of the stream travels in band.
        pass

    def _on_packet(self, message: object) -> None:
        meta = pmt.to_python(pmt.car(message)) or {}
        over = bool(meta.get(keys.end_of_stream))
        self.counters["sent"] += not over
        if not over and self._fades.covers(FRAME_S * meta[keys.frame_index]):
            self.counters["dropped"] += 1
            credit = pmt.make_dict()
            for key in (keys.frame_index, keys.frames):
                credit = pmt.dict_add(credit, pmt.intern(key), pmt.from_long(meta[key]))
            self.message_port_pub(pmt.intern("credit"), credit)
            return
        self.message_port_pub(pmt.intern("packets"), message)
        if over:
            self.gateway.system_handler(DONE)


class sample_fades(gr.sync_block):  # noqa: N801
    """Silences a complex stream in fades.

    Args:
        fades: by the time of a sample.
        sample_rate: of the stream.
    """

    STEP_S = 0.02

    def __init__(self, fades: FadeTimes, sample_rate: float) -> None:
        gr.sync_block.__init__(self, "sample_fades", [np.complex64], [np.complex64])
        self._fades, self._step = fades, round(self.STEP_S * sample_rate)
        self._rate, self._at = sample_rate, 0

    def work(self, input_items: list, output_items: list) -> int:
        x, out = input_items[0], output_items[0]
        steps = (self._at + np.arange(len(x))) // self._step
        first = int(steps[0])
        places = range(first, int(steps[-1]) + 1)
        gains = [not self._fades.covers(n * self._step / self._rate) for n in places]
        out[:] = x * np.array(gains, dtype=np.float32)[steps - first]
        self._at += len(x)
        return len(x)
