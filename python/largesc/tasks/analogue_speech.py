# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech on the air without bits: latents of the codec as analogue symbols, and speech of them.

What comes is not right or lost, it is more or less sure. So speech becomes rougher as the SNR
falls, and does not stop at once.
"""

from collections import deque
from dataclasses import dataclass

import numpy as np
import torch

from ..channel_codec.analogue import AnalogueCode, load_analogue_code
from ..channel_codec.joint import JointDecoder
from ..channel_codec.refiner import BURST_FRAMES
from ..channel_codec.spread import BLOCK_FRAMES, SpreadCode
from ..codec.load import Codec, load_codec
from ..codec.speech_decoder import SpeechDecoder
from ..codec.speech_encoder import SpeechEncoder
from ..models.store import ModelError
from ..options import AnalogueOptions
from ..radio.profiles import RadioProfile
from ..radio.speech_burst import (
    BURST_S,
    HeardBurst,
    SpeechBurstReceiver,
    make_speech_burst,
    speech_layout,
)
from ..radio.symbol_burst import find_symbol_profile
from ..speech.conditioning import InputConditioner
from ..speech.format import FRAME_S, FRAME_SAMPLES, SAMPLE_RATE_HZ

# A burst in which all frames are quieter is not sent, from the second such one on.
PAUSE_DBFS = -55.0
# Of a frame of which more is unknown less is heard, and nothing from the second value on.
SURE, NOTHING = 0.45, 0.65
# Frames that wait before the first one of an over is played, since clocks differ and bursts may
# come a little late; and how many may wait before one is left out.
HELD_FRAMES, MOST_WAITING = 1, BURST_FRAMES + 4
TOKENS = 8
NO_TOKENS = np.zeros(TOKENS, dtype=np.uint16)


def code_of(profile: RadioProfile, model: AnalogueCode) -> SpreadCode:
    """The channel code of bursts of a profile."""
    count = speech_layout(profile, BURST_FRAMES).count
    return SpreadCode(model.statistics, count // BURST_FRAMES)


def parts_of(options: AnalogueOptions) -> tuple[RadioProfile, AnalogueCode, Codec]:
    """Profile and models of an end.

    Raises:
        ModelError: a model is not there, or the code is for another codec's latents.
        ValueError: an option is out of range.
    """
    options.checked()
    model, codec = load_analogue_code(options.model), load_codec(options.codec)
    if len(model.mean) != codec.dimension:
        raise ModelError(
            f"the analogue code is for latents of {len(model.mean)} numbers, those of codec "
            f"{options.codec!r} have {codec.dimension}: use the model that was trained with this "
            "codec"
        )
    return find_symbol_profile(options.profile), model, codec


class AnalogueSender:
    """24 kHz speech to symbols on the air, a burst each 0.64 s. Pauses are not sent.

    Args:
        options: of the link.

    Attributes:
        length: symbols of a burst on the air.
        counters: ``frames`` of speech; ``bursts`` sent; ``pauses``, bursts that were not sent;
            ``invalid_samples``.

    Raises:
        ModelError: a model is not there, or they do not belong together.
        ValueError: an option is out of range.
    """

    def __init__(self, options: AnalogueOptions) -> None:
        self.profile, model, codec = parts_of(options)
        self._code = code_of(self.profile, model)
        self.length = speech_layout(self.profile, BURST_FRAMES).length
        self._encoder = SpeechEncoder(codec)
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next sample is the first."""
        self._encoder.conditioner = InputConditioner()
        self._encoder.reset()
        self._encoder.invalid_samples = 0
        self._latents: list[np.ndarray] = []
        self._loud, self._before = False, True
        self.counters = {"frames": 0, "bursts": 0, "pauses": 0, "invalid_samples": 0}

    def push(self, samples: np.ndarray) -> list[np.ndarray]:
        """Takes 24 kHz samples, float32 ``[any]``; returns bursts, complex64 ``[length]`` each."""
        return self._made(self._encoder.push(samples))

    def flush(self) -> list[np.ndarray]:
        """Fills the last burst with silence, if there is one, and returns it."""
        found = self._made(self._encoder.flush())
        while self._latents:
            found += self._made(self._encoder.push(np.zeros(FRAME_SAMPLES, dtype=np.float32)))
        return found

    def _made(self, frames: list) -> list[np.ndarray]:
        bursts = []
        for frame in frames:
            self.counters["frames"] += 1
            self._latents.append(frame.latent)
            self._loud |= frame.level_dbfs > PAUSE_DBFS
            if len(self._latents) < BURST_FRAMES:
                continue
            # What dies away behind speech belongs to it.
            if self._loud or self._before:
                symbols = self._code.encode(np.stack(self._latents))
                bursts.append(make_speech_burst(symbols.ravel(), self.length))
                self.counters["bursts"] += 1
            else:
                self.counters["pauses"] += 1
            self._before, self._loud, self._latents = self._loud, False, []
        self.counters["invalid_samples"] = self._encoder.invalid_samples
        return bursts


@dataclass(frozen=True)
class HeardSpeech:
    """Speech of a burst as it is to be decoded.

    Attributes:
        latents: ``[8, dimension]``.
        gains: of the frames, ``[8]``, 0 to 1.
        unsure: what of the latents' variance is not known, mean of the burst.
        snr_db: mean of a symbol.
        echoes: whether there were any.
    """

    latents: np.ndarray
    gains: np.ndarray
    unsure: float
    snr_db: float
    echoes: bool


class LatentReader:
    """Symbols of bursts to latents: the channel code, and the network behind it.

    Args:
        model: of the link.
        profile: of the bursts.
        spacing: samples of the air between two bursts that follow each other.
    """

    def __init__(self, model: AnalogueCode, profile: RadioProfile, spacing: int) -> None:
        self._code, self._refiner = code_of(profile, model), model.refiner
        self._joint = JointDecoder(self._code, speech_layout(profile, BURST_FRAMES))
        self._spacing, self._mean = spacing, model.statistics.mean.astype(np.float32)
        self.reset()

    def reset(self) -> None:
        """Forgets the burst before: the next one follows none."""
        self._start = -(2**62)
        self._forget()

    def _forget(self) -> None:
        self._latents = np.tile(self._mean, (BURST_FRAMES, 1))
        self._unsure = np.ones(BURST_FRAMES, dtype=np.float32)

    def read(self, heard: HeardBurst) -> HeardSpeech:
        """The speech of a burst, by what the one before it left."""
        start = heard.place.start
        # Behind a gap nothing is known of what was said just before.
        if abs(start - self._start - self._spacing) > self._spacing // 16:
            self._forget()
        shape = (-1, self._code.block_symbols)
        found, unsure = self._code.decode(
            heard.symbols.reshape(shape), heard.h.reshape(shape), heard.snr_db
        )
        jointly = self._joint.decode(heard.received, found, unsure)
        if jointly is not None:
            found, unsure = jointly
        latents = np.concatenate([self._latents, found])[None]
        doubts = np.concatenate([self._unsure, unsure])[None]
        with torch.inference_mode():
            refined = self._refiner(torch.from_numpy(latents), torch.from_numpy(doubts))[0]
        self._latents, self._unsure, self._start = found, unsure, start
        gains = np.clip((NOTHING - unsure) / (NOTHING - SURE), 0.0, 1.0)
        doubt = float(unsure.mean())
        return HeardSpeech(refined.numpy(), gains, doubt, heard.snr_db, jointly is not None)


class AnalogueReceiver:
    """Complex samples to 24 kHz speech, as many seconds out as come in.

    Args:
        options: of the link.

    Attributes:
        counters: those of :class:`SpeechBurstReceiver`; ``echoes``, bursts with some; ``frames``
            played; ``empty``, frames in whose place there was nothing to play; ``left_out``, frames
            that came too fast.
        snr_db: of a symbol, of the last burst. unsure: of it. offset_hz: of the carrier.
        symbols: of the last burst, upright, complex64 ``[n]``.
        frame_input: complex samples that become a frame of speech.
        delay_s: of what is heard behind what was said.

    Raises:
        ModelError: a model is not there, or they do not belong together.
        ValueError: an option is out of range.
    """

    def __init__(self, options: AnalogueOptions) -> None:
        self.profile, model, codec = parts_of(options)
        self._layout = speech_layout(self.profile, BURST_FRAMES)
        spacing = self._layout.length * self.profile.samples_per_symbol
        self._reader = LatentReader(model, self.profile, spacing)
        self._decoder = SpeechDecoder(codec)
        self.frame_input = round(FRAME_S * self.profile.sample_rate)
        # A burst is said, and is on the air; the codec is late by what it looks ahead.
        self.delay_s = 2.0 * BURST_S + HELD_FRAMES * FRAME_S + codec.delay_samples / SAMPLE_RATE_HZ
        self.reset()

    def reset(self) -> None:
        """Forgets everything; the next sample is the first."""
        self._bursts = SpeechBurstReceiver(self.profile, self._layout)
        self._reader.reset()
        self._decoder.reset()
        self._waiting: deque[tuple[np.ndarray, float]] = deque()
        self._silent, self._held = True, 0
        self._rest = np.zeros(0, dtype=np.complex64)
        self.counters = self._bursts.counters
        self.counters |= {"echoes": 0, "frames": 0, "empty": 0, "left_out": 0}
        self.snr_db = self.unsure = self.offset_hz = 0.0
        self.symbols = np.zeros(0, dtype=np.complex64)
        self._sums = {"snr_db": 0.0, "unsure": 0.0}

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Takes complex samples ``[any]``; gives float32 speech, 1920 for each 80 ms of them."""
        samples = np.concatenate([self._rest, samples])
        count = len(samples) // self.frame_input
        self._rest = samples[count * self.frame_input :]
        out = np.zeros(count * FRAME_SAMPLES, dtype=np.float32)
        for n in range(count):
            self._take(samples[n * self.frame_input : (n + 1) * self.frame_input])
            out[n * FRAME_SAMPLES : (n + 1) * FRAME_SAMPLES] = self._play()
        return out

    def means(self) -> dict[str, float]:
        """Means over all bursts so far: ``snr_db`` of a symbol, and ``unsure``."""
        count = max(1, self.counters["bursts"])
        return {name: total / count for name, total in self._sums.items()}

    def flush(self) -> np.ndarray:
        """The stream is over: what was received of it and not played yet."""
        self._take(self._rest)
        self._rest = self._rest[:0]
        self._bursts.flush()
        left = self._held + len(self._waiting) if self._waiting else 0
        return np.concatenate([np.zeros(0, np.float32), *(self._play() for _ in range(left))])

    def _take(self, samples: np.ndarray) -> None:
        for heard in self._bursts.push(samples):
            speech = self._reader.read(heard)
            self.counters["echoes"] += speech.echoes
            self.snr_db, self.unsure = speech.snr_db, speech.unsure
            self._sums["snr_db"] += speech.snr_db
            self._sums["unsure"] += speech.unsure
            self.symbols = heard.symbols
            self.offset_hz = heard.place.offset * self.profile.symbol_rate
            if not self._waiting:
                self._held = HELD_FRAMES if self._silent else 0
            self._waiting.extend(zip(speech.latents, speech.gains, strict=True))
            while len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.counters["left_out"] += 1

    def _play(self) -> np.ndarray:
        self.counters["frames"] += 1
        if not self._waiting or self._held:
            self._held = max(0, self._held - 1)
            self._silent = not self._waiting
            self.counters["empty"] += 1
            return self._decoder.comfort_noise(FRAME_SAMPLES)
        self._silent = False
        latent, gain = self._waiting.popleft()
        return self._decoder.decode(NO_TOKENS, float(gain), latent)


assert BURST_FRAMES % BLOCK_FRAMES == 0
