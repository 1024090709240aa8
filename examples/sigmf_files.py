# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings of complex samples: SigMF, or bare samples under any other name."""

import json
from pathlib import Path

import numpy as np
from gnuradio import blocks, gr

DATA, META = ".sigmf-data", ".sigmf-meta"
# The first version of the standard has all that is written here.
VERSION = "1.0.0"
DATATYPE = "cf32_le"


def is_sigmf(path: Path) -> bool:
    """Whether the name is that of a SigMF recording."""
    return path.suffix in (DATA, META)


def recording_sink(path: Path, sample_rate: float, frequency: float, description: str) -> object:
    """Block that writes complex samples, and beside them what they are.

    Args:
        path: FILE.sigmf-data, or another name for samples alone.
        sample_rate: in samples a second.
        frequency: of the centre, in Hz.
        description: for whoever finds the file.

    Raises:
        ValueError: the folder is not there.
    """
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is no folder: make it first")
    if is_sigmf(path):
        meta = {
            "global": {
                "core:datatype": DATATYPE,
                "core:sample_rate": sample_rate,
                "core:version": VERSION,
                "core:description": description,
                "core:recorder": "gr-largesc",
            },
            "captures": [{"core:sample_start": 0, "core:frequency": frequency}],
            "annotations": [],
        }
        path.with_suffix(META).write_text(json.dumps(meta, indent=2) + "\n")
        path = path.with_suffix(DATA)
    sink = blocks.file_sink(gr.sizeof_gr_complex, str(path))
    # What is recorded until a crash is kept.
    sink.set_unbuffered(True)
    return sink


def append_silence(path: Path, samples: int) -> None:
    """Zeros behind a recording that is closed."""
    with open(path.with_suffix(DATA) if is_sigmf(path) else path, "ab") as file:
        np.zeros(samples, dtype=np.complex64).tofile(file)


def recording_source(path: Path, sample_rate: float) -> tuple[object, float]:
    """Block that plays a recording, and its sample rate.

    Args:
        path: FILE.sigmf-data or FILE.sigmf-meta, or bare complex samples of 2 x 32 bit.
        sample_rate: of bare samples; of SigMF, 0 or what the recording says.

    Raises:
        ValueError: the recording is not there, or of another kind.
    """
    data = path.with_suffix(DATA) if is_sigmf(path) else path
    if not data.is_file():
        raise ValueError(f"{data} is not there: record it first, with 'radio.py tx --to'")
    if is_sigmf(path):
        sample_rate = sigmf_rate(path.with_suffix(META), sample_rate)
    return blocks.file_source(gr.sizeof_gr_complex, str(data), False), sample_rate


def sigmf_rate(meta: Path, wanted: float) -> float:
    """Sample rate by the metadata.

    Raises:
        ValueError: they cannot be read, tell of other samples, or of another rate.
    """
    try:
        told = json.loads(meta.read_text())["global"]
        datatype, rate = told["core:datatype"], float(told["core:sample_rate"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{meta} cannot be read as SigMF: {error!r}") from error
    if datatype != DATATYPE:
        raise ValueError(f"{meta} tells of samples {datatype}: only {DATATYPE} are played")
    if wanted not in (0, rate):
        raise ValueError(f"{meta} has {rate:g} samples a second: leave --sample-rate out")
    return rate
