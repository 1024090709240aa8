# SPDX-License-Identifier: GPL-3.0-or-later
"""Hierarchical block: complex samples of analogue symbols to speech."""

import time

import numpy as np
import torch
from gnuradio import blocks, gr

from ... import _blocks
from ..._core import keys
from ...options import AnalogueOptions
from ...speech.format import FRAME_SAMPLES
from ...tasks.analogue_speech import AnalogueReceiver
from ..block_base import STATUS_FRAMES, TokenBlock, log_once
from ..messages import make_burst
from .packet_radio_rx import RESAMPLER_INPUT
from .radio_rate import rate_changer
from .renewed import Renewed

# Of samples without a burst, until the log tells of it.
PATIENCE_FRAMES = 125


class analogue_speech_decoder(TokenBlock, gr.basic_block):  # noqa: N801
    """Finds bursts of analogue speech, and plays them.

    Input: complex stream at the sample rate of the profile. Output: float stream at 24 kHz, 80 ms
    for each 80 ms of the input; message ports `symbols` (PDUs of complex symbols), `status`.
    """

    def __init__(self, options: AnalogueOptions, on_stop: object) -> None:
        gr.basic_block.__init__(self, "analogue_speech_decoder", [np.complex64], [np.float32])
        self.open_ports({}, ["symbols"], None)
        torch.set_num_threads(options.threads)
        self._core, self._on_stop = AnalogueReceiver(options), on_stop
        self.set_output_multiple(FRAME_SAMPLES)
        self.set_relative_rate(FRAME_SAMPLES / self._core.frame_input)
        self.begin()

    def begin(self) -> None:
        self._core.reset()
        self._last = np.zeros(0, dtype=np.float32)
        self._over, self._shown = False, 0

    def halt(self) -> None:
        self._on_stop()

    @property
    def core(self) -> AnalogueReceiver:
        """Returns what reads the bursts."""
        return self._core

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        return [1] * ninputs

    def general_work(self, input_items: list, output_items: list) -> int:
        samples, out = input_items[0], output_items[0]
        if self._over:
            return self._rest(out)
        # One sample stays behind, so that the scheduler calls again after the input has ended,
        # until all that was heard is out.
        if len(samples) > 1:
            count = min(len(samples) - 1, self._core.frame_input)
            self.times.start()
            speech = self._core.push(samples[:count])
            self.times.stop(frame_done=len(speech) > 0)
            self.consume(0, count)
            out[: len(speech)] = speech
            self._tell(len(speech))
            return len(speech)
        if len(samples) == 1 and _blocks.input_done(self.gateway.detail(), 0, 1):
            last = [self._core.push(samples), self._core.flush()]
            self._last, self._over = np.concatenate(last), True
            return self._rest(out)
        time.sleep(0.001)
        return 0

    def _rest(self, out: np.ndarray) -> int:
        if not len(self._last):
            self.consume(0, 1)
            self._ended = True
            self.publish_status()
            return -1
        count = min(len(self._last), len(out))
        out[:count], self._last = self._last[:count], self._last[count:]
        return count

    def _tell(self, samples: int) -> None:
        found = self._core.counters
        if found["bursts"] > self._shown:
            self._shown = found["bursts"]
            meta = {keys.snr_db: self._core.snr_db}
            self.publish("symbols", make_burst(meta, self._core.symbols))
        if samples and found["frames"] % STATUS_FRAMES == 0:
            self.publish_status()
        if not found["bursts"] and found["frames"] >= PATIENCE_FRAMES:
            text = (
                f"no burst was read in 10 s of samples, {found['preambles']} preambles were found. "
                f"Is anybody speaking, with the profile {self._core.profile.name} and so "
                f"{self._core.profile.sample_rate:g} samples a second?"
            )
            log_once(self, "no burst", text)

    def statistics(self) -> dict[str, int | float]:
        """Counters of :class:`AnalogueReceiver`; SNR of a symbol in dB, what is unsure of the
        latents, 0 to 1, and carrier offset in Hz of the last burst."""
        core = self._core
        last = {"snr_db": core.snr_db, "unsure": core.unsure, "carrier_offset_hz": core.offset_hz}
        return core.counters | self.counters | last


class analogue_speech_rx(Renewed, gr.hier_block2):  # noqa: N801
    """Speech from the air without bits: rougher where the SNR is low.

    Input: complex stream. Output: float stream at 24 kHz, as many seconds as come in; message ports
    `symbols` (PDUs of each burst's complex symbols, upright), `status`.

    Bursts are found at any amplitude, at a carrier offset of up to 12 % of the symbol rate (`ssb`
    216 Hz), down to about -6 dB a symbol. Echoes of up to six symbols (`ssb` 3.3 ms) are taken into
    account; pilots follow fading of up to some Hz. Speech comes 1.4 s behind the sender's: 0.64 s
    are a burst, and as long it takes on the air. Between bursts comfort noise is played.

    Args:
        profile, codec, model: as at the sender.
        sample_rate: of the stream in samples a second; 0 for the profile's own.
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
        sample_rate: float = 0.0,
        threads: int = AnalogueOptions.threads,
    ) -> None:
        gr.hier_block2.__init__(
            self,
            "analogue_speech_rx",
            gr.io_signature(1, 1, gr.sizeof_gr_complex),
            gr.io_signature(1, 1, gr.sizeof_float),
        )
        self._sample_rate = sample_rate
        options = AnalogueOptions(profile=profile, codec=codec, model=model, threads=threads)
        self.decoder = analogue_speech_decoder(options.checked(), self._renew)
        self.profile = self.decoder.core.profile
        self._build()
        for port in ("symbols", "status"):
            self.message_port_register_hier_out(port)
            self.msg_connect(self.decoder, port, self, port)

    def _build(self) -> None:
        chain = [self.decoder]
        change = rate_changer(self.profile.sample_rate, self._sample_rate, receives=True)
        if change is not None:
            # A long filter that its input buffer cannot feed gives nothing, for ever.
            room = blocks.copy(gr.sizeof_gr_complex)
            room.set_min_output_buffer(0, RESAMPLER_INPUT)
            chain = [room, change, self.decoder]
        self._chain = chain
        self.connect(self, *chain, self)

    def statistics(self) -> dict[str, int | float]:
        """Counters: preambles, bursts, of them blind, cut, with echoes; broken_samples; frames
        played, empty and left_out; and snr_db, unsure, carrier_offset_hz of the last burst."""
        return self.decoder.statistics()
