# SPDX-License-Identifier: GPL-3.0-or-later
"""Where speech comes from and goes to: a sound card, or a file in its place."""

import logging
import math
import time
from pathlib import Path

import numpy as np
from gnuradio import audio, blocks, filter, gr

SPEECH_RATE_HZ = 24000
# What every sound card has.
CARD_RATE_HZ = 48000
KINDS = ("auto", "sound_card", "file")
log = logging.getLogger(__name__)


# Samples at a time, and seconds behind which time is lost, as it is with a sound card.
PART, BEHIND_S = 480, 0.06


def throttle() -> object:
    """24 kHz by the in-tree throttle: no caller need keep it, but it catches up behind a stall."""
    pace = blocks.throttle(gr.sizeof_float, SPEECH_RATE_HZ)
    pace.set_max_noutput_items(PART)
    return pace


class real_time(gr.sync_block):  # noqa: N801
    """Lets 24 kHz through at its own pace, 20 ms at a time.

    The in-tree throttle makes up for every stall by running fast afterwards, which empties a
    receiver's playout; a sound card does not. The caller keeps it: a Python block that nobody
    refers to is gone, connected or not.

    Input and output: float stream, 24 kHz.
    """

    def __init__(self) -> None:
        gr.sync_block.__init__(self, "real_time", [np.float32], [np.float32])
        self.set_max_noutput_items(PART)
        self._due_s = 0.0

    def work(self, input_items: list, output_items: list) -> int:
        count = len(output_items[0])
        output_items[0][:] = input_items[0][:count]
        now = time.monotonic()
        if now - self._due_s > BEHIND_S:
            self._due_s = now
        time.sleep(max(0.0, self._due_s - now))
        self._due_s += count / SPEECH_RATE_HZ
        return count


def card_or_none(kind: str, make: object, device: str) -> object | None:
    """The sound card's block; None for `file`, and for `auto` where there is no card.

    Raises:
        ValueError: ``kind`` is unknown.
        RuntimeError: `sound_card`, and there is none.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is unknown: use one of {', '.join(KINDS)}")
    if kind == "file":
        return None
    try:
        return make(CARD_RATE_HZ, device, True)
    except RuntimeError as error:
        if kind == "auto":
            log.warning("no sound card answers (device %r): a file takes its place", device)
            return None
        raise RuntimeError(
            f"the sound card {device!r} does not open ({error}): see 'arecord -L' "
            "and 'aplay -L', or use 'file'"
        ) from error


def resampler(rate_hz: int, to_hz: int) -> object:
    """In-tree rational resampler, float."""
    common = math.gcd(rate_hz, to_hz)
    return filter.rational_resampler_fff(
        interpolation=to_hz // common, decimation=rate_hz // common
    )


class speech_source(gr.hier_block2):  # noqa: N801
    """Speech in real time, from a sound card or a WAV file.

    Output: float stream, 24 kHz. The file may have any rate and number of channels.

    Args:
        kind: `sound_card`, `file`, or `auto`: the file where no sound card opens.
        wav_file: WAV file for `file` and `auto`.
        repeat: begin the file again at its end.
        device: name of the sound card, empty for the default one.

    Raises:
        ValueError: ``kind`` is unknown or the file cannot be read.
        RuntimeError: `sound_card`, and there is none.
    """

    def __init__(
        self, kind: str = "auto", wav_file: str = "", repeat: bool = True, device: str = ""
    ) -> None:
        gr.hier_block2.__init__(
            self, "speech_source", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_float)
        )
        card = card_or_none(kind, audio.source, device)
        if card is not None:
            self.connect(card, resampler(CARD_RATE_HZ, SPEECH_RATE_HZ), self)
            return
        if not Path(wav_file).is_file():
            raise ValueError(f"wav_file {wav_file!r} is no file: give the path of a WAV file")
        try:
            wav = blocks.wavfile_source(wav_file, repeat)
        except RuntimeError as error:
            raise ValueError(f"{wav_file} is no WAV file that can be read: {error}") from error
        mixed, channels = blocks.add_ff(), wav.channels()
        for channel in range(channels):
            self.connect((wav, channel), (mixed, channel))
        scaled = blocks.multiply_const_ff(1.0 / channels)
        parts = [mixed, scaled]
        if wav.sample_rate() != SPEECH_RATE_HZ:
            parts.append(resampler(wav.sample_rate(), SPEECH_RATE_HZ))
        self.connect(*parts, throttle(), self)


class speech_sink(gr.hier_block2):  # noqa: N801
    """Speech to a sound card, or in real time to a WAV file or nowhere.

    Input: float stream, 24 kHz. It is the clock of a live receiver.

    Args:
        kind: `sound_card`, `file`, or `auto`: the file where no sound card opens.
        wav_file: WAV file to write for `file` and `auto`, 24 kHz and 16 bit; empty for none.
        device: name of the sound card, empty for the default one.

    Raises:
        ValueError: ``kind`` is unknown.
        RuntimeError: `sound_card` and there is none, or the file cannot be written.
    """

    def __init__(self, kind: str = "auto", wav_file: str = "", device: str = "") -> None:
        gr.hier_block2.__init__(
            self, "speech_sink", gr.io_signature(1, 1, gr.sizeof_float), gr.io_signature(0, 0, 0)
        )
        card = card_or_none(kind, audio.sink, device)
        if card is not None:
            self.connect(self, resampler(SPEECH_RATE_HZ, CARD_RATE_HZ), card)
            return
        if wav_file:
            end = blocks.wavfile_sink(
                wav_file, 1, SPEECH_RATE_HZ, blocks.FORMAT_WAV, blocks.FORMAT_PCM_16, False
            )
        else:
            end = blocks.null_sink(gr.sizeof_float)
        self.connect(self, throttle(), end)
