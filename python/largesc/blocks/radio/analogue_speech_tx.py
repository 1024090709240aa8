# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: speech to complex samples of analogue symbols."""

import time
from collections.abc import Callable

import numpy as np
import torch
from gnuradio import gr

from ... import _blocks
from ...options import AnalogueOptions
from ...radio.morse import StationIdent
from ...radio.speech_burst import OVER_SYMBOLS
from ...speech.format import FRAME_SAMPLES
from ...tasks.analogue_speech import AnalogueSender
from ..block_base import STATUS_FRAMES, TokenBlock, setter
from ..messages import end_of_stream, make_burst, read_burst, read_packet
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

# Of bursts of 0.64 s the encoder stops at so many that wait. One more may be on its way, and the
# end; of yet more, the oldest are dropped.
MOST_WAITING, QUEUE = 2, 4
SYMBOL_BYTES = 8


class analogue_speech_encoder(TokenBlock, gr.basic_block):  # noqa: N801
    """24 kHz speech to bursts of symbols.

    Input: float stream. Output: message ports `bursts` (PDUs of complex symbols), `status`.

    Args:
        options: of the link.
        silence: symbols of silence behind the last burst before a pause; 0 for none.
    """

    def __init__(self, options: AnalogueOptions, silence: int) -> None:
        gr.basic_block.__init__(self, "analogue_speech_encoder", [np.float32], None)
        self.open_ports({}, ["bursts"], None)
        torch.set_num_threads(options.threads)
        self._core = AnalogueSender(options)
        self._silence = np.zeros(silence, dtype=np.complex64)
        # Whether what is made here can go on; the block behind it tells.
        self.has_room: Callable[[], bool] = lambda: True
        self.begin()

    def begin(self) -> None:
        self._core.reset()
        self._told, self._pauses, self._speaks = 0, 0, False

    @property
    def core(self) -> AnalogueSender:
        """Returns what makes the bursts."""
        return self._core

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        return [1] * ninputs

    def general_work(self, input_items: list, output_items: list) -> int:
        samples = input_items[0]
        # One sample stays behind, so that the scheduler calls again after the input has ended.
        room = self.has_room()
        if len(samples) > 1 and room:
            count = min(len(samples) - 1, FRAME_SAMPLES)
            self._emit(self._core.push(samples[:count]))
            self.consume(0, count)
            return 0
        if room and len(samples) == 1 and _blocks.input_done(self.gateway.detail(), 0, 1):
            self._emit(self._core.push(samples) + self._core.flush())
            self.consume(0, 1)
            self.publish("bursts", end_of_stream(-1))
            self.publish_status()
            return -1
        time.sleep(0.001)
        return 0

    def _emit(self, bursts: list[np.ndarray]) -> None:
        for burst in bursts:
            self.publish("bursts", make_burst({}, burst))
        pauses, self._pauses = self._pauses, self._core.counters["pauses"]
        if self._speaks and self._pauses > pauses and len(self._silence):
            self.publish("bursts", make_burst({}, self._silence))
        self._speaks = bool(bursts) or (self._speaks and self._pauses == pauses)
        if self._core.counters["frames"] >= self._told + STATUS_FRAMES:
            self._told = self._core.counters["frames"]
            self.publish_status()

    def statistics(self) -> dict[str, int]:
        """Counters of :class:`AnalogueSender`."""
        return self.counters | self._core.counters


class speech_burst_source(burst_source):  # noqa: N801
    """Queue of bursts in front of a modulator.

    Input: message port `packets` (PDUs of complex symbols). Output: stream of symbols.
    """

    def __init__(
        self,
        *,
        length: int,
        continuous: bool,
        ident: StationIdent | None,
        on_stop: Callable[[], None],
    ) -> None:
        super().__init__(
            item=np.complex64,
            make=lambda burst: np.frombuffer(burst, dtype=np.complex64),
            first=np.zeros(FIRST_SYMBOLS, dtype=np.complex64),
            last=np.zeros(OVER_SYMBOLS, dtype=np.complex64),
            most_bytes=SYMBOL_BYTES * length,
            least_bytes=SYMBOL_BYTES,
            queue_packets=QUEUE,
            idle_items=IDLE_SYMBOLS if continuous else 0,
            ident=ident,
            on_stop=on_stop,
        )

    def begin(self) -> None:
        super().begin()
        self._halted = False

    def halt(self) -> None:
        self._halted = True
        super().halt()

    def has_room(self) -> bool:
        """Whether few bursts wait here, or none is sent any more."""
        return self._halted or len(self._packets) < MOST_WAITING

    def read(self, message: object) -> tuple[bool, bytes | None]:
        over, _ = read_packet(message)
        found = None if over else read_burst(message)
        return over, None if found is None else found[1].tobytes()


class analogue_speech_tx(Renewed, gr.hier_block2):  # noqa: N801
    """Speech on the air without bits: latents of the codec as analogue symbols, and pulses.

    Input: float stream at 24 kHz. Output: complex stream, mean power ``amplitude``² over all
    speech, each burst of 0.64 s with the tag `packet_len` (in samples; without ``sample_rate``
    only); message port `status`. Pauses are not sent. Behind the end of the input the stream ends.

    Args:
        profile: `ssb` (1800 symbols a second, 2.25 kHz), `medium` (4800, 6 kHz) or `narrow` (7200,
            9 kHz). More symbols bear more noise.
        codec, model: sources of the models, the same at both ends.
        amplitude: RMS of a burst; peaks are 2.4 times as high.
        sample_rate: of the stream in samples a second; 0 for the profile's own.
        continuous: silence between bursts, for sound cards and radios that want a steady stream;
            otherwise nothing comes out between them. A burst waits for the silence that lies in
            buffers, 0.5 s (`medium` 0.2 s, `narrow` 0.15 s), and for that in buffers behind this
            block.
        call_sign, ident_minutes: see packet_radio_tx. An over that is longer than that stops for
            the time of the call.
        threads: of torch.

    Raises:
        ValueError: an argument is out of range.
        ModelError: a model is not there.
    """

    def __init__(
        self,
        *,
        profile: str = AnalogueOptions.profile,
        codec: str = AnalogueOptions.codec,
        model: str = AnalogueOptions.model,
        amplitude: float = 0.35,
        sample_rate: float = 0.0,
        continuous: bool = False,
        call_sign: str = "",
        ident_minutes: float = 10.0,
        threads: int = AnalogueOptions.threads,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "analogue_speech_tx",
            gr.io_signature(1, 1, gr.sizeof_float),
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
        )
        self.counters = {"refused_settings": 0}
        self._amplitude, self._sample_rate = checked_amplitude(amplitude), sample_rate
        self._continuous = continuous
        options = AnalogueOptions(profile=profile, codec=codec, model=model, threads=threads)
        if call_sign and not continuous:
            raise ValueError(f"call_sign {call_sign!r} needs continuous: set it to True")
        # Behind the last burst before a pause, what pulses and resamplers hold back.
        silence = 0 if continuous else OVER_SYMBOLS
        self.encoder = analogue_speech_encoder(options.checked(), silence)
        self.profile, length = self.encoder.core.profile, self.encoder.core.length
        ident = None
        if call_sign:
            ident = StationIdent(call_sign, ident_minutes, self.profile.symbol_rate)
            # With its own 0.4 s more than a burst: receivers look for one behind the last.
            ident.symbols = np.append(np.zeros(length // 2, np.complex64), ident.symbols)
        self.source = speech_burst_source(
            length=length,
            continuous=continuous,
            ident=ident,
            on_stop=self._renew,
        )
        self.encoder.has_room = self.source.has_room
        self._build()
        self.msg_connect(self.encoder, "bursts", self.source, "packets")
        self.message_port_register_hier_out("status")
        self.msg_connect(self.encoder, "status", self, "status")

    def _build(self) -> None:
        sps = self.profile.samples_per_symbol
        self.shaper, length = pulse_shaper(sps, self._amplitude)
        chain = [self.source, self.shaper, length]
        self._chain = completed(chain, self.profile, self._sample_rate, self._continuous)
        self.connect(self, self.encoder)
        self.connect(*self._chain, self)

    @setter
    def set_amplitude(self, amplitude: float) -> None:
        """Changes the RMS of bursts while running; one on the air changes in its midst."""
        self._amplitude = checked_amplitude(amplitude)
        self.shaper.set_taps(scaled_pulse(self.profile.samples_per_symbol, self._amplitude))

    def is_identifying(self) -> bool:
        """Whether the call sign goes out now."""
        return self.source.is_identifying()

    def sign_off(self, timeout_s: float = 30.0) -> None:
        """Sends the call sign where it is owed, and ends the stream with it.

        Returns when its last sample is in the buffers behind this block, or after ``timeout_s``.
        """
        self.source.sign_off(timeout_s)

    def statistics(self) -> dict[str, int]:
        """Counters: frames of speech, bursts, pauses that were not sent, invalid_samples; dropped
        bursts, refused_settings; with a call sign, idents."""
        sent = self.source.statistics()
        found = self.encoder.statistics() | self.counters | {"dropped": sent["dropped"]}
        return found | ({"idents": sent["idents"]} if "idents" in sent else {})
