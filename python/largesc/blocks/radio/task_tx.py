# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: speech to complex samples with a burst for each spoken command."""

from collections.abc import Callable

import numpy as np
from gnuradio import gr

from ...options import TaskOptions
from ...radio.profiles import find_profile
from ...radio.task_burst import make_task_burst
from ..block_base import setter
from ..messages import read_burst, read_packet
from ..task_encoder import task_encoder
from .burst_source import burst_source
from .packet_radio_tx import (
    FIRST_SYMBOLS,
    IDLE_SYMBOLS,
    checked_amplitude,
    completed,
    pulse_shaper,
    scaled_pulse,
)
from .renewed import Renewed

# Bursts wait at most; of more, the oldest are dropped.
QUEUE = 16
# So that the receiver sees the last burst whole.
LAST_SYMBOLS = 512


class task_burst_source(burst_source):  # noqa: N801
    """Queue of bursts in front of a modulator.

    Input: message port `packets` (PDUs of complex symbols). Output: stream of symbols.
    """

    def __init__(self, *, symbols: int, continuous: bool, on_stop: Callable[[], None]) -> None:
        super().__init__(
            item=np.complex64,
            make=lambda burst: make_task_burst(np.frombuffer(burst, dtype=np.complex64)),
            first=np.zeros(FIRST_SYMBOLS, dtype=np.complex64),
            last=np.zeros(LAST_SYMBOLS, dtype=np.complex64),
            most_bytes=8 * symbols,
            least_bytes=8 * symbols,
            queue_packets=QUEUE,
            idle_items=IDLE_SYMBOLS if continuous else 0,
            on_stop=on_stop,
        )

    def read(self, message: object) -> tuple[bool, bytes | None]:
        over, _ = read_packet(message)
        found = None if over else read_burst(message)
        return over, None if found is None else found[1].tobytes()


class task_tx(Renewed, gr.hier_block2):  # noqa: N801
    """Speech in; on the air, one burst for each spoken command: preamble, symbols, pulses.

    Input: float stream at 24 kHz; message port `snr` (reports with snr_db, or numbers). Output:
    complex stream at the profile's own rate, mean power ``amplitude``² within a burst, each burst
    with the tag `packet_len` (in samples); message ports `bursts` (as they are sent), `status`.

    Args:
        model, symbols, snr_db, margin_db: see task_encoder.
        profile: `ssb` (1800 symbols a second) or `narrow` (7200); its code is not used.
        amplitude: RMS of a burst; peaks are twice as high.
        continuous: silence between bursts, for sound cards and radios that want a steady stream;
            otherwise nothing comes out between them. A burst waits for the silence that lies in
            buffers, half a second (`narrow` 0.15 s), and for that in buffers behind this block.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        model: str = TaskOptions.model,
        symbols: int = TaskOptions.symbols,
        snr_db: float = TaskOptions.snr_db,
        margin_db: float = TaskOptions.margin_db,
        profile: str = "ssb",
        amplitude: float = 0.5,
        continuous: bool = False,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "task_tx",
            gr.io_signature(1, 1, gr.sizeof_float),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        self.counters = {"refused_settings": 0}
        self.profile = find_profile(profile)
        if self.profile.waveform != "single_carrier":
            raise ValueError(f"profile {profile!r} has many carriers: use ssb or narrow")
        self._amplitude, self._continuous = checked_amplitude(amplitude), continuous
        self.encoder = task_encoder(
            model=model, symbols=symbols, snr_db=snr_db, margin_db=margin_db
        )
        self.source = task_burst_source(symbols=symbols, continuous=continuous, on_stop=self._renew)
        self._build()
        self.message_port_register_hier_in("snr")
        self.msg_connect(self, "snr", self.encoder, "snr")
        self.msg_connect(self.encoder, "bursts", self.source, "packets")
        for port in ("bursts", "status"):
            self.message_port_register_hier_out(port)
            self.msg_connect(self.encoder, port, self, port)

    def _build(self) -> None:
        sps = self.profile.samples_per_symbol
        self.shaper, length = pulse_shaper(sps, self._amplitude)
        chain = [self.source, self.shaper, length]
        self._chain = completed(chain, self.profile, 0.0, self._continuous)
        self.connect(self, self.encoder)
        self.connect(*self._chain, self)

    @setter
    def set_snr_db(self, snr_db: float) -> None:
        """Changes what is believed of the channel while running."""
        self.encoder.set_snr_db(snr_db)

    @setter
    def set_amplitude(self, amplitude: float) -> None:
        """Changes the RMS of bursts while running."""
        self._amplitude = checked_amplitude(amplitude)
        self.shaper.set_taps(scaled_pulse(self.profile.samples_per_symbol, self._amplitude))

    def statistics(self) -> dict[str, int | float]:
        """Counters of task_encoder, and bursts sent and dropped."""
        sent = self.source.statistics()
        found = self.encoder.statistics()
        return found | self.counters | {"bursts": sent["packets"], "dropped": sent["dropped"]}
