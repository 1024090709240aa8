# SPDX-License-Identifier: GPL-3.0-or-later
"""Recordings that others made: what can be read is read, the rest is refused in one line."""

import json
import math
import resource
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from gnuradio import blocks, gr

EXAMPLES = Path(__file__).parent.parent / "examples"
SAMPLES = np.exp(2j * np.pi * np.arange(400) / 16).astype(np.complex64) * 0.5


@pytest.fixture
def sigmf_files(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import sigmf_files

    return sigmf_files


def write(folder: Path, facts: dict, captures: list[dict], data: bytes) -> Path:
    """A recording of these global facts, captures and bytes; returns its metadata's path."""
    told = {"core:datatype": "cf32_le", "core:version": "1.0.0", "core:sample_rate": 7200} | facts
    meta = {"global": told, "captures": captures, "annotations": []}
    (folder / "x.sigmf-meta").write_text(json.dumps(meta))
    (folder / "x.sigmf-data").write_bytes(data)
    return folder / "x.sigmf-meta"


def played(recording) -> np.ndarray:
    tb = gr.top_block("play", catch_exceptions=False)
    sink = blocks.vector_sink_c()
    tb.connect(recording.source, sink)
    tb.run()
    return np.array(sink.data())


START = [{"core:sample_start": 0}]


def test_every_complex_type_is_played(sigmf_files, tmp_path):
    for datatype, kind, scale, middle in (
        ("cf32_le", "<f4", 1, 0),
        ("cf32_be", ">f4", 1, 0),
        ("cf64_le", "<f8", 1, 0),
        ("ci16_le", "<i2", 32768, 0),
        ("ci16_be", ">i2", 32768, 0),
        ("ci8", "i1", 128, 0),
        ("cu8", "u1", 128, 128),
    ):
        data = (SAMPLES.view(np.float32) * scale + middle).astype(kind).tobytes()
        meta = write(tmp_path, {"core:datatype": datatype}, START, data)
        recording = sigmf_files.open_recording(meta)
        assert recording.notes == [] and recording.sample_rate == 7200
        assert np.allclose(played(recording), SAMPLES, atol=1.5 / scale), datatype


def test_the_first_of_two_channels_is_played(sigmf_files, tmp_path):
    both = np.stack([SAMPLES, -2 * SAMPLES], axis=1)
    meta = write(tmp_path, {"core:num_channels": 2}, START, both.tobytes())
    recording = sigmf_files.open_recording(meta)
    assert "has 2 channels: the first is played" in recording.notes[0]
    assert np.array_equal(played(recording), SAMPLES)


def test_headers_and_trailers_are_left_out(sigmf_files, tmp_path):
    data = b"HEAD" + SAMPLES[:300].tobytes() + b"head" + SAMPLES[300:].tobytes() + b"tail..."
    captures = [
        {"core:sample_start": 0, "core:header_bytes": 4},
        {"core:sample_start": 300, "core:header_bytes": 4},
    ]
    (tmp_path / "other.bin").write_bytes(data)
    facts = {"core:trailing_bytes": 7, "core:dataset": "other.bin"}
    recording = sigmf_files.open_recording(write(tmp_path, facts, captures, b""))
    assert "headers among the samples: they are left out" in recording.notes[0]
    assert np.array_equal(played(recording), SAMPLES)
    # A flowgraph that runs again plays all of it again.
    assert np.array_equal(played(recording), SAMPLES)


def test_frequency_and_profile_are_told(sigmf_files, tmp_path):
    path = tmp_path / "y.sigmf-data"
    sink = sigmf_files.recording_sink(path, 48e3, 433.5e6, "a test", "narrow")
    tb = gr.top_block("record", catch_exceptions=False)
    tb.connect(blocks.vector_source_c(SAMPLES.tolist()), sink)
    tb.run()
    recording = sigmf_files.open_recording(path)
    assert (recording.profile, recording.frequency) == ("narrow", 433.5e6)
    assert recording.sample_rate == 48e3 and recording.notes == []
    assert np.array_equal(played(recording), SAMPLES)
    parts = [
        sigmf_files.Marked(0.001, 0.002, 1000.0, 200.0, "packet", "Es/N0 9.0 dB"),
        sigmf_files.Marked(-1.0, math.inf, 0.0, 400.0, "over"),
        sigmf_files.Marked(1e6, 1.0, 0.0, 400.0, "beyond"),
    ]
    sigmf_files.describe(path, "ssb", parts)
    assert sigmf_files.open_recording(path).profile == "ssb"
    told = json.loads(path.with_suffix(".sigmf-meta").read_text())
    assert next(a for a in told["annotations"] if a["core:label"] == "packet") == {
        "core:sample_start": 48,
        "core:sample_count": 96,
        "core:freq_lower_edge": 433.5009e6,
        "core:freq_upper_edge": 433.5011e6,
        "core:label": "packet",
        "core:comment": "Es/N0 9.0 dB",
    }
    spans = {a["core:label"]: a["core:sample_count"] for a in told["annotations"]}
    assert spans == {"packet": 96, "over": len(SAMPLES), "beyond": 0}


def test_time_and_frequency_are_told_where_they_are_known(sigmf_files, tmp_path):
    before = datetime.now(UTC)
    sigmf_files.recording_sink(tmp_path / "a.sigmf-data", 48e3, 0.0, "a test")
    told = json.loads((tmp_path / "a.sigmf-meta").read_text())["captures"]
    assert set(told[0]) == {"core:sample_start", "core:datetime"}
    assert before <= datetime.fromisoformat(told[0]["core:datetime"]) <= datetime.now(UTC)
    # Bare samples have nothing beside them.
    sigmf_files.describe(tmp_path / "bare.cf32", "ssb", [])


BROKEN = {
    "empty": b"",
    "cut off": b'{"global": {"core:datatype": "cf32',
    "no text": bytes(range(256)),
    "other text": "\ufeff{}".encode("utf-16"),
    "nested": b"[" * 100_000,
    "a list": b"[]",
    "a number": b"1",
    "no sections": b'{"global": 1}',
    "no captures": b'{"global": {"core:datatype": "cf32_le", "core:version": "1.0.0"}}',
    "long": b'{"global": "' + b"x" * (1 << 21) + b'"}',
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_metadata_are_refused_in_a_line(sigmf_files, tmp_path, name):
    write(tmp_path, {}, START, SAMPLES.tobytes()).write_bytes(BROKEN[name])
    with pytest.raises(ValueError, match="cannot be read as SigMF") as error:
        sigmf_files.open_recording(tmp_path / "x.sigmf-data")
    said = str(error.value)
    assert "\n" not in said and len(said) < 400 + len(str(tmp_path))


ODD_FACTS = [
    ({"core:datatype": "rf32_le"}, START, "real samples"),
    ({"core:datatype": "cf31_le"}, START, "cannot be read as SigMF: global.core:datatype"),
    ({"core:datatype": 7}, START, "cannot be read as SigMF: global.core:datatype"),
    ({"core:sample_rate": -1}, START, "cannot be read as SigMF: global.core:sample_rate"),
    ({"core:sample_rate": "x"}, START, "cannot be read as SigMF: global.core:sample_rate"),
    ({"core:sample_rate": float("nan")}, START, "nan samples a second"),
    ({"core:sample_rate": 1e6}, START, r"1e\+06 samples a second: leave --sample-rate out"),
    ({"core:num_channels": 0}, START, "cannot be read as SigMF: global.core:num_channels"),
    ({"core:num_channels": 2**62}, START, "holds no sample"),
    ({"core:trailing_bytes": 2**62}, START, "holds no sample"),
    ({"core:metadata_only": True}, START, "its samples are not kept"),
    ({"core:dataset": "../../etc/passwd"}, START, "cannot be read|is not there"),
    ({}, [{"core:sample_start": 2**60}], "holds no sample"),
    ({}, [{"core:sample_start": 0, "core:header_bytes": 2**60}], "holds no sample"),
    ({}, [{"core:sample_start": -1}], "cannot be read as SigMF: captures.0"),
    ({}, [{"core:sample_start": 9}, {"core:sample_start": 3}], "incorrect sample start"),
    ({}, [7], "cannot be read as SigMF: captures.0"),
]


@pytest.mark.parametrize("facts, captures, message", ODD_FACTS)
def test_what_cannot_be_played_is_refused_in_a_line(
    sigmf_files, tmp_path, facts, captures, message
):
    meta = write(tmp_path, facts, captures, SAMPLES.tobytes())
    with pytest.raises(ValueError, match=message) as error:
        sigmf_files.open_recording(meta, 7200.0)
    assert "\n" not in str(error.value)


def test_files_that_are_not_there_or_empty(sigmf_files, tmp_path):
    meta = write(tmp_path, {}, START, b"1234567")
    with pytest.raises(ValueError, match="holds no sample"):
        sigmf_files.open_recording(meta)
    (tmp_path / "x.sigmf-data").unlink()
    with pytest.raises(ValueError, match="is not there"):
        sigmf_files.open_recording(meta)
    (tmp_path / "bare.cf32").write_bytes(b"1234567")
    with pytest.raises(ValueError, match="holds no sample"):
        sigmf_files.open_recording(tmp_path / "bare.cf32")
    with pytest.raises(ValueError, match="nothing.sigmf-data is not there"):
        sigmf_files.open_recording(tmp_path / "nothing.sigmf-meta")
    (tmp_path / "alone.sigmf-data").write_bytes(SAMPLES.tobytes())
    with pytest.raises(ValueError, match="alone.sigmf-meta cannot be read as SigMF: No such file"):
        sigmf_files.open_recording(tmp_path / "alone.sigmf-data")


def test_what_is_odd_but_harmless_is_played(sigmf_files, tmp_path):
    facts = {"core:sample_rate": 7200.0, "theirs:key": [1], "largesc:profile": "am"}
    meta = write(tmp_path, facts, [], SAMPLES.tobytes() + b"odd")
    recording = sigmf_files.open_recording(meta)
    assert recording.profile == "" and "'am' that is not known here" in recording.notes[0]
    assert np.array_equal(played(recording), SAMPLES)
    many = [{"core:sample_start": n} for n in range(400)]
    recording = sigmf_files.open_recording(write(tmp_path, {}, many, SAMPLES.tobytes()))
    assert np.array_equal(played(recording), SAMPLES)


def test_a_file_that_becomes_shorter_ends_early(sigmf_files, tmp_path):
    recording = sigmf_files.open_recording(write(tmp_path, {}, START, SAMPLES.tobytes()))
    (tmp_path / "x.sigmf-data").write_bytes(SAMPLES[:100].tobytes())
    assert len(played(recording)) <= 100


def test_long_recordings_take_no_memory(sigmf_files, tmp_path):
    meta = write(tmp_path, {"core:datatype": "ci16_le"}, START, b"")
    with open(tmp_path / "x.sigmf-data", "wb") as file:
        file.truncate(400_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tb = gr.top_block("play", catch_exceptions=False)
    count = blocks.head(gr.sizeof_gr_complex, 1_000_000)
    recording = sigmf_files.open_recording(meta)
    tb.connect(recording.source, count, blocks.null_sink(8))
    tb.run()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
