# SPDX-License-Identifier: GPL-3.0-or-later
"""Block: 24 kHz speech to one burst for each spoken command."""

import time

import numpy as np
from gnuradio import gr

from .. import _blocks
from .._core import keys
from ..options import TaskOptions
from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from ..tasks.commands import Command, CommandEncoder, checked_snr_db, checked_symbols, known_snr_db
from ..tasks.model import load_task
from .block_base import STATUS_FRAMES, TokenBlock, setter
from .messages import end_of_stream, make_burst, make_packet, read_snr_db

STATUS_SAMPLES = STATUS_FRAMES * FRAME_SAMPLES


class task_encoder(TokenBlock, gr.basic_block):  # noqa: N801
    """24 kHz speech to bursts: a command is what lies between two pauses, at most 1.6 s long.

    Input: float stream; message port `snr` (reports with snr_db, or numbers in dB). Output: message
    ports `bursts` (PDUs of complex symbols, mean power 1, metadata: command_index,
    capture_time_ns, snr_db as believed), `packets` (the same for a link that carries bits: PDUs of
    18 bytes for 22 labels), `status`. Speech without a pause for more than 1.6 s is no command.

    Args:
        model: source of the model, the same at both ends.
        symbols: a burst, one of the model's.
        snr_db: of a symbol, until something comes at `snr`.
        margin_db: of speech over the noise, 3 to 40.

    Raises:
        ValueError: an argument is out of range.
        ModelError: there is no such model.
    """

    def __init__(
        self,
        *,
        model: str = TaskOptions.model,
        symbols: int = TaskOptions.symbols,
        snr_db: float = TaskOptions.snr_db,
        margin_db: float = TaskOptions.margin_db,
    ) -> None:
        gr.basic_block.__init__(self, "task_encoder", [np.float32], None)
        self.open_ports({"snr": self._on_snr}, ["bursts", "packets"], None)
        self._core = CommandEncoder(load_task(model), margin_db)
        self._symbols = checked_symbols(self._core.model, symbols)
        self._snr_db = self._first_snr_db = checked_snr_db(snr_db)
        self.counters |= {"commands": 0}
        self.begin()

    def begin(self) -> None:
        self._core.reset()
        self._snr_db = self._first_snr_db
        self._since_status = 0

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        return [1] * ninputs

    def general_work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        # One sample stays behind, so that the scheduler calls again after the input has ended.
        if len(samples) > 1:
            # Counters go out at the same places of the stream, however it is cut.
            count = min(len(samples) - 1, STATUS_SAMPLES - self._since_status)
            self._emit(self._core.push(samples[:count]))
            self.consume(0, count)
            self._since_status += count
            if self._since_status >= STATUS_SAMPLES:
                self._since_status = 0
                self.publish_status()
            return 0
        if len(samples) == 1 and _blocks.input_done(self.gateway.detail(), 0, 1):
            self._emit(self._core.push(samples) + self._core.flush())
            self.consume(0, 1)
            for port in ("bursts", "packets"):
                self.publish(port, end_of_stream(-1))
            self.publish_status()
            return -1
        time.sleep(0.001)
        return 0

    def _emit(self, commands: list[Command]) -> None:
        for command in commands:
            self.counters["commands"] += 1
            meta = {
                keys.command_index: command.index,
                keys.capture_time_ns: command.start * 1_000_000_000 // SAMPLE_RATE_HZ,
                keys.snr_db: self._snr_db,
            }
            burst = self._core.burst(command, self._snr_db, self._symbols)
            self.publish("bursts", make_burst(meta, burst))
            self.publish("packets", make_packet(self._core.packet(command)))

    def _on_snr(self, message: object) -> None:
        self._snr_db = known_snr_db(read_snr_db(message))

    @setter
    def set_snr_db(self, snr_db: float) -> None:
        """Changes what is believed of the channel while running."""
        self._snr_db = self._first_snr_db = checked_snr_db(snr_db)

    @setter
    def set_symbols(self, symbols: int) -> None:
        """Changes the symbols of a burst while running; the receiver reads any of the model's."""
        self._symbols = checked_symbols(self._core.model, symbols)

    def statistics(self) -> dict[str, int | float]:
        """Counters: commands, too_long, too_short, broken_samples, refused; snr_db as believed."""
        return self.counters | self._core.detector.counters | {"snr_db": self._snr_db}
