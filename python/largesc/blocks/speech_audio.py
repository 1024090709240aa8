# SPDX-License-Identifier: GPL-3.0-or-later
"""Where speech comes from and goes to: a sound card, or a file in its place."""

import contextlib
import ctypes
import logging
import math
from collections.abc import Iterator
from pathlib import Path

from gnuradio import audio, blocks, filter, gr

from .._blocks import real_time
from ..speech.format import SAMPLE_RATE_HZ
from .wav_files import channel_mixer, holder, wav_sink, wav_source

# What every sound card has.
CARD_RATE_HZ = 48000
KINDS = ("auto", "sound_card", "file")
log = logging.getLogger(__name__)

SAYS_NOTHING = ctypes.CFUNCTYPE(None)(lambda: None)


@contextlib.contextmanager
def quiet_alsa() -> Iterator[None]:
    """ALSA writes a page to stderr where there is no card; one line of ours says it."""
    try:
        set_handler = ctypes.CDLL("libasound.so.2").snd_lib_error_set_handler
    except (OSError, AttributeError):
        # Another system's sound.
        yield
        return
    set_handler(SAYS_NOTHING)
    try:
        yield
    finally:
        set_handler(None)


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
        with quiet_alsa() if kind == "auto" else contextlib.nullcontext():
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

    Output: float stream, 24 kHz. The file may have any rate and number of channels; each run begins
    it anew. Of two channels in opposite phase, which cancel out, the louder is taken, as of a card.

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
        self, *, kind: str = "auto", wav_file: str = "", repeat: bool = True, device: str = ""
    ) -> None:
        gr.hier_block2.__init__(
            self, "speech_source", gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_float)
        )
        card = card_or_none(kind, audio.source, device)
        if card is not None:
            self.connect(*self._one_channel(card), resampler(CARD_RATE_HZ, SAMPLE_RATE_HZ), self)
            return
        if not Path(wav_file).is_file():
            raise ValueError(f"wav_file {wav_file!r} is no file: give the path of a WAV file")
        wav = wav_source(path=wav_file, repeat=repeat)
        self.connect(wav, holder(wav), real_time(), self)

    def _one_channel(self, card: object) -> list:
        """A card and what makes one channel of it.

        Of a card with two, the driver would give the mean, in which opposite phases cancel out.
        """
        if card.output_signature().max_streams() == 1:
            return [card]
        mixer = channel_mixer(channels=2, rate_hz=CARD_RATE_HZ)
        for channel in range(2):
            self.connect((card, channel), (mixer, channel))
        return [mixer, holder(mixer)]


class speech_sink(gr.hier_block2):  # noqa: N801
    """Speech to a sound card, or in real time to a WAV file or nowhere.

    Input: float stream, 24 kHz. It is the clock of a live receiver.

    Args:
        kind: `sound_card`, `file`, or `auto`: the file where no sound card opens.
        wav_file: WAV file to write for `file` and `auto`, 24 kHz and 16 bit; empty for none. It
            holds the last run.
        device: name of the sound card, empty for the default one.

    Raises:
        ValueError: ``kind`` is unknown.
        RuntimeError: `sound_card` and there is none, or the file cannot be written.
    """

    def __init__(self, *, kind: str = "auto", wav_file: str = "", device: str = "") -> None:
        gr.hier_block2.__init__(
            self, "speech_sink", gr.io_signature(1, 1, gr.sizeof_float), gr.io_signature(0, 0, 0)
        )
        card = card_or_none(kind, audio.sink, device)
        if card is not None:
            self.connect(self, resampler(SAMPLE_RATE_HZ, CARD_RATE_HZ), card)
            return
        if wav_file:
            end = wav_sink(path=wav_file)
            self.connect(self, real_time(), holder(end), end)
        else:
            self.connect(self, real_time(), blocks.null_sink(gr.sizeof_float))
