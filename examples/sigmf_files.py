# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of complex samples: SigMF, by its own package, or bare samples."""

import itertools
import json
import logging
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import numpy as np
import sigmf
from gnuradio import blocks, gr
from gnuradio.largesc.options import ANALOGUE_PROFILES
from gnuradio.largesc.radio.profiles import PROFILES
from sigmf.utils import get_sigmf_iso8601_datetime_now

DATA, META = ".sigmf-data", ".sigmf-meta"
PROFILE_KEY = "largesc:profile"
# In front of the profile of analogue speech.
ANALOGUE = "analogue_"
# Readers that do not know the profile may play the recording all the same.
EXTENSION = {"name": "largesc", "version": "1.0.0", "optional": True}
# Metadata of a recording are a few kilobytes; annotations may make them longer.
MOST_META_BYTES = 1 << 20
SAMPLE_BYTES = 8
log = logging.getLogger(__name__)


@dataclass
class Recording:
    """A recording that can be played.

    Attributes:
        source: block of complex samples.
        sample_rate: in samples a second; 0 where nothing tells.
        frequency: of the centre in Hz; 0 where nothing tells.
        profile: of the modem, by the metadata, with "analogue_" in front of one of analogue
            speech; empty where nothing tells.
        notes: what else the user should know, a line each.
    """

    source: object
    sample_rate: float
    frequency: float = 0.0
    profile: str = ""
    notes: list[str] = field(default_factory=list)


def is_sigmf(path: Path) -> bool:
    """Whether the name is that of a SigMF recording."""
    return path.suffix in (DATA, META)


def recording_sink(
    path: Path, sample_rate: float, frequency: float, description: str, profile: str = ""
) -> object:
    """Block that writes complex samples, and beside them what they are.

    Args:
        path: FILE.sigmf-data, or another name for samples alone.
        sample_rate: in samples a second.
        frequency: of the centre, in Hz; 0 where it is not known.
        description: for whoever finds the file.
        profile: of the modem whose bursts these are; empty where that is not known.

    Raises:
        ValueError: the folder is not there, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is no folder: make it first")
    if is_sigmf(path):
        about = sigmf.SigMFFile(
            global_info={
                sigmf.DATATYPE_KEY: "cf32_le",
                sigmf.SAMPLE_RATE_KEY: sample_rate,
                sigmf.DESCRIPTION_KEY: description,
                sigmf.RECORDER_KEY: "gr-largesc",
            }
        )
        if profile:
            about.set_global_field(sigmf.EXTENSIONS_KEY, [EXTENSION])
            about.set_global_field(PROFILE_KEY, profile)
        capture = {sigmf.FREQUENCY_KEY: frequency} if frequency else {}
        capture[sigmf.DATETIME_KEY] = get_sigmf_iso8601_datetime_now()
        about.add_capture(0, metadata=capture)
        about.validate()
        try:
            path.with_suffix(META).write_text(about.dumps() + "\n")
        except OSError as error:
            raise ValueError(f"{error.filename} cannot be written: {error.strerror}") from error
        path = path.with_suffix(DATA)
    try:
        sink = blocks.file_sink(gr.sizeof_gr_complex, str(path))
    except RuntimeError as error:
        raise ValueError(f"{path} cannot be written: {error}") from error
    # What is recorded until a crash is kept.
    sink.set_unbuffered(True)
    return sink


@dataclass
class Marked:
    """What lies where in a recording.

    Attributes:
        start_s, length_s: of the part.
        offset_hz, width_hz: of its band, from the recording's centre.
        label: in a word or two.
        comment: more of it; empty for nothing.
    """

    start_s: float
    length_s: float
    offset_hz: float
    width_hz: float
    label: str
    comment: str = ""


def describe(path: Path, profile: str, parts: list[Marked]) -> None:
    """Adds to a recording that is closed by which profile it is understood, and what lies where.

    What is bare samples, or became no recording, is left as it is.
    """
    if not is_sigmf(path):
        return
    about = _checked(path.with_suffix(META))
    if profile:
        about.set_global_field(sigmf.EXTENSIONS_KEY, [EXTENSION])
        about.set_global_field(PROFILE_KEY, profile)
    rate = about.get_global_field(sigmf.SAMPLE_RATE_KEY)
    centre = about.get_captures()[0].get(sigmf.FREQUENCY_KEY, 0.0)
    samples = path.with_suffix(DATA).stat().st_size // SAMPLE_BYTES
    for part in parts:
        first = min(max(0, round(part.start_s * rate)), samples)
        middle = centre + part.offset_hz
        notes = {
            sigmf.FREQ_LOWER_EDGE_KEY: middle - part.width_hz / 2,
            sigmf.FREQ_UPPER_EDGE_KEY: middle + part.width_hz / 2,
            sigmf.LABEL_KEY: part.label,
        }
        if part.comment:
            notes[sigmf.COMMENT_KEY] = part.comment
        count = round(min(part.length_s * rate, samples - first))
        about.add_annotation(first, count, metadata=notes)
    path.with_suffix(META).write_text(about.dumps() + "\n")


def append_silence(path: Path, samples: int) -> None:
    """Zeros behind a recording that is closed."""
    with open(path.with_suffix(DATA) if is_sigmf(path) else path, "ab") as file:
        np.zeros(samples, dtype=np.complex64).tofile(file)


def open_recording(path: Path, sample_rate: float = 0.0) -> Recording:
    """A recording to play.

    SigMF is read with every complex sample type, with headers and trailers; of several channels
    the first is played.

    Args:
        path: FILE.sigmf-data or FILE.sigmf-meta, or bare complex samples of 2 x 32 bit.
        sample_rate: of bare samples; of SigMF, 0 or what the recording says.

    Raises:
        ValueError: the recording is not there, or cannot be played.
    """
    if is_sigmf(path):
        data, meta = path.with_suffix(DATA), path.with_suffix(META)
        if not data.exists() and not meta.exists():
            raise ValueError(f"{data} is not there: record it first, with 'radio.py tx --to'")
        return _open_sigmf(meta, sample_rate)
    if not path.is_file():
        raise ValueError(f"{path} is not there: record it first, with 'radio.py tx --to'")
    if path.stat().st_size < SAMPLE_BYTES:
        raise ValueError(f"{path} holds no sample of {SAMPLE_BYTES} bytes: record it again")
    return Recording(blocks.file_source(gr.sizeof_gr_complex, str(path), False), sample_rate)


def _checked(meta: Path) -> sigmf.SigMFFile:
    """Metadata that fit the schema.

    Raises:
        ValueError: they are not there, too long, no JSON, or do not fit.
    """
    try:
        if meta.stat().st_size > MOST_META_BYTES:
            raise ValueError(f"more than {MOST_META_BYTES} bytes")
        told = json.loads(meta.read_bytes())
        with warnings.catch_warnings():
            # Extensions that nobody declared do no harm.
            warnings.simplefilter("ignore")
            sigmf.validate.validate(told)
            return sigmf.SigMFFile(told)
    except jsonschema.ValidationError as error:
        place = ".".join(str(part) for part in error.absolute_path) or "the top"
        what = f"{place}: {error.message}"
    except OSError as error:
        what = str(error.strerror)
    except (RecursionError, TypeError, ValueError, OverflowError) as error:
        what = str(error)
    shown = " ".join(what.split())[:200]
    raise ValueError(f"{meta} cannot be read as SigMF: {shown}")


def _open_sigmf(meta: Path, wanted_rate: float) -> Recording:
    about, notes = _checked(meta), []
    datatype = about.get_global_field(sigmf.DATATYPE_KEY)
    if not datatype.startswith("c"):
        raise ValueError(f"{meta} tells of real samples, {datatype}: only complex ones are played")
    rate = float(about.get_global_field(sigmf.SAMPLE_RATE_KEY, wanted_rate))
    if not math.isfinite(rate) or rate < 0:
        raise ValueError(f"{meta} has {rate:g} samples a second: correct it")
    if wanted_rate not in (0, rate):
        raise ValueError(f"{meta} has {rate:g} samples a second: leave --sample-rate out")
    if about.get_global_field(sigmf.METADATA_ONLY_KEY, False):
        raise ValueError(f"{meta} says that its samples are not kept: get the whole recording")
    data = meta.with_suffix(DATA)
    if (name := about.get_global_field(sigmf.DATASET_KEY)) is not None:
        # A path could lead anywhere.
        data = meta.parent / Path(name).name
    if not data.is_file():
        raise ValueError(f"{data} is not there: record it first, with 'radio.py tx --to'")
    if not about.get_captures():
        about.add_capture(0)
    channels = about.get_global_field(sigmf.NUM_CHANNELS_KEY)
    if channels > 1:
        notes.append(f"{meta} has {channels} channels: the first is played")
    spans = _spans(about, data)
    if not spans:
        raise ValueError(f"{data} holds no sample behind the headers that {meta} tells of")
    if any(capture.get(sigmf.HEADER_BYTES_KEY) for capture in about.get_captures()):
        notes.append(f"{meta} tells of headers among the samples: they are left out")
    frequencies = [c.get(sigmf.FREQUENCY_KEY, 0.0) for c in about.get_captures()]
    if (count := len(set(frequencies))) > 1:
        notes.append(f"{meta} was recorded at {count} frequencies, one after another")
    profile = about.get_global_field(PROFILE_KEY, "")
    if profile not in (*PROFILES, *(ANALOGUE + name for name in ANALOGUE_PROFILES), ""):
        notes.append(f"{meta} names a profile {str(profile)[:40]!r} that is not known here")
        profile = ""
    return Recording(SigMFSource(about, data, spans), rate, frequencies[0], profile, notes)


def _spans(about: sigmf.SigMFFile, data: Path) -> list[tuple[int, int]]:
    """First byte and number of bytes of each capture, as far as the file goes."""
    size = data.stat().st_size - about.get_global_field(sigmf.TRAILING_BYTES_KEY, 0)
    sample = about.get_sample_size() * about.get_global_field(sigmf.NUM_CHANNELS_KEY)
    captures = about.get_captures()
    starts = [capture[sigmf.SAMPLE_START_KEY] for capture in captures]
    headers = itertools.accumulate(c.get(sigmf.HEADER_BYTES_KEY, 0) for c in captures)
    spans = []
    for start, end, header in zip(starts, [*starts[1:], None], headers, strict=True):
        first = header + start * sample
        last = size if end is None else min(size, header + end * sample)
        if (count := (last - first) // sample * sample) > 0:
            spans.append((first, count))
    return spans


class SigMFSource(gr.sync_block):
    """Plays the captures of a recording one after another, as complex samples up to 1.

    Args:
        about: metadata that were checked.
        data: file of the samples.
        spans: first byte and number of bytes of each capture.
    """

    def __init__(self, about: sigmf.SigMFFile, data: Path, spans: list[tuple[int, int]]) -> None:
        gr.sync_block.__init__(self, "sigmf_source", None, [np.complex64])
        self._about, self._data, self._spans = about, data, spans

    def start(self) -> bool:
        self._span = self._place = -1
        self._left = 0
        return True

    def work(self, input_items: list, output_items: list) -> int:
        out = output_items[0]
        try:
            while not self._left:
                self._span += 1
                if self._span == len(self._spans):
                    return -1
                first, count = self._spans[self._span]
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self._about.set_data_file(
                        self._data, skip_checksum=True, offset=first, size_bytes=count
                    )
                self._place, self._left = 0, self._about.sample_count
            samples = self._about.read_samples(self._place, min(len(out), self._left))
        except (OSError, ValueError, sigmf.error.SigMFError) as error:
            # The file became shorter while it is played.
            log.warning("%s ends early: %s", self._data, error)
            return -1
        if samples.ndim > 1:
            samples = samples[:, 0]
        out[: len(samples)] = samples
        self._place += len(samples)
        self._left -= len(samples)
        return len(samples) or -1
