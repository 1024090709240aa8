# SPDX-License-Identifier: GPL-3.0-or-later
"""Readers of what others made: audio, packets on a pipe, addresses, keys and traces.

None raises anything but one clear line, none grows, and what can be read is read.
"""

import io
import os
import random
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from gnuradio import blocks, gr
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.concealment.load import load_estimator, load_language_model
from gnuradio.largesc.control.load import load_controller
from gnuradio.largesc.flowgraphs.packet_pipe import MOST_BYTES, packet_reader, packet_writer
from gnuradio.largesc.flowgraphs.parts import make_channel
from gnuradio.largesc.flowgraphs.speech_reader import speech_reader
from gnuradio.largesc.flowgraphs.speech_writer import speech_writer
from gnuradio.largesc.models.store import ModelError
from gnuradio.largesc.options import ChannelOptions
from gnuradio.largesc.packets.address import address, resolved
from gnuradio.largesc.packets.key_file import read_key
from gnuradio.largesc.speech.files import AudioError, Resampler, read_audio, resampled
from gnuradio.largesc.speech.reader import SpeechReader

ROUNDS = 300


def tone(rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate_hz * seconds)) / rate_hz)


def wav(samples: np.ndarray, rate_hz: int = 24000, form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form)
    return file.getvalue()


def through_pipe(data: bytes) -> int:
    """A descriptor that gives the data in odd pieces."""
    read, write = os.pipe()

    def feed() -> None:
        with open(write, "wb", buffering=0) as out:
            for at in range(0, len(data), 777):
                out.write(data[at : at + 777])

    threading.Thread(target=feed, daemon=True).start()
    return read


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 44099, 48000, 96000])
def test_stream_is_resampled_as_a_whole_file_is(rate_hz):
    whole = np.random.default_rng(rate_hz).uniform(-1, 1, rate_hz + 7).astype(np.float32)
    resampler = Resampler(rate_hz)
    cuts = np.sort(np.random.default_rng(1).integers(0, len(whole), 20))
    pieces = [resampler.push(piece) for piece in np.split(whole, cuts)]
    out = np.concatenate([*pieces, resampler.flush()])
    assert np.array_equal(out, resampled(whole, rate_hz))


@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF", "AU", "OGG", "RF64", "CAF", "W64"])
def test_file_and_pipe_give_the_same(tmp_path, form):
    stereo = np.stack([tone(16000), 0.1 * tone(16000)], axis=1)
    path = tmp_path / "x"
    path.write_bytes(wav(stereo, 16000, form))
    whole = read_audio(path)
    assert len(whole) == 12000
    for source in (str(path), through_pipe(path.read_bytes()), os.open(path, os.O_RDONLY)):
        reader = SpeechReader(source)
        assert (reader.rate_hz, reader.channels) == (16000, 2)
        assert np.array_equal(reader.read(), whole) and reader.samples == 12000


def test_raw_samples_come_back_bit_for_bit(tmp_path):
    pcm = np.array([-32768, 32767, -32767, 32766, 0, 1, -1], dtype="<i2").repeat(999)
    for source in (str(tmp_path / "in.raw"), None):
        (tmp_path / "in.raw").write_bytes(pcm.tobytes())
        reader = SpeechReader(source or through_pipe(pcm.tobytes()), 24000)
        tb = gr.top_block(catch_exceptions=False)
        begin = speech_reader(pieces=reader)
        end = speech_writer(target=str(tmp_path / "out.raw"), raw=True)
        tb.connect(begin, end)
        tb.run()
        assert (tmp_path / "out.raw").read_bytes() == pcm.tobytes() and end.ended()


@pytest.mark.parametrize("raw", [False, True])
def test_live_pipe_is_read_as_it_comes(raw):
    pcm = (20000 * tone(24000, 0.3)).astype("<i2")
    data = pcm.tobytes() if raw else wav(pcm)
    read, write = os.pipe()
    os.write(write, data[: len(data) // 2])
    # The writer goes on, and has nothing to say for now.
    pieces, heard = iter(SpeechReader(read, 24000 if raw else None)), 0
    while heard < len(pcm) // 2 - 1500:
        heard += len(next(pieces))
    os.write(write, data[len(data) // 2 :])
    os.close(write)
    assert heard + sum(len(piece) for piece in pieces) == len(pcm)


def test_flowgraph_ends_though_its_source_says_nothing():
    read, write = os.pipe()
    os.write(write, bytes(4800))
    source, sink = speech_reader(pieces=SpeechReader(read, 24000)), blocks.vector_sink_f()
    tb = gr.top_block(catch_exceptions=False)
    tb.connect(source, sink)
    tb.start()
    while len(sink.data()) < 2400:
        pass
    tb.stop()
    tb.wait()
    os.close(write)


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31, 100])
@pytest.mark.parametrize("pipe", [False, True])
def test_header_that_counts_wrong(tmp_path, size, pipe):
    data = bytearray(wav(tone(24000)))
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    data[4:8] = struct.pack("<I", size)
    (tmp_path / "x.wav").write_bytes(data)
    reader = SpeechReader(through_pipe(bytes(data)) if pipe else str(tmp_path / "x.wav"))
    # A recorder that was killed counts nothing; what is behind a right count is no speech.
    assert len(reader.read()) == (12000 if size != 100 else 50)


def form_chunk(**changed: int) -> bytes:
    facts = {"tag": 1, "channels": 1, "rate": 24000, "bytes": 48000, "align": 2, "bits": 16}
    return struct.pack("<HHIIHH", *(facts | changed).values())


@pytest.mark.parametrize(
    "changed",
    [
        {"rate": 0}, {"rate": 1}, {"rate": 2**31 - 1}, {"rate": 2**32 - 1}, {"rate": 3999},
        {"channels": 0}, {"channels": 65535}, {"bits": 0}, {"bits": 3}, {"bits": 999},
        {"tag": 0}, {"tag": 99}, {"align": 0}, {"align": 7}, {"bytes": 0},
    ],
)  # fmt: skip
def test_odd_wav_header_is_read_or_named(tmp_path, changed):
    form = form_chunk(**changed)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", 9600)
    data = b"RIFF" + struct.pack("<I", len(body) + 9600) + body + bytes(9600)
    path = tmp_path / "odd.wav"
    path.write_bytes(data)
    for source in (str(path), through_pipe(data)):
        try:
            assert len(SpeechReader(source).read()) <= 6 * 4800
        except AudioError as error:
            assert ("odd.wav" in str(error) or "stdin" in str(error)) and "\n" not in str(error)
            assert set(changed) & {"rate", "channels", "bits", "tag", "align"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no audio file"),
        (b"R", "no audio file"),
        (b"RIFF", "no audio file"),
        (b"this is text, and it is longer than any header\n" * 200, "no audio file"),
        (wav(np.zeros(0)), "empty"),
        (bytes(100000), "no audio file"),
    ],
)
def test_what_is_no_audio_is_named(tmp_path, content, words):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    for source in (str(path), through_pipe(content)):
        with pytest.raises(AudioError, match=words):
            SpeechReader(source)


def test_paths_that_are_no_files(tmp_path):
    for path, words in (
        (tmp_path, "folder|directory"),
        (tmp_path / "nothing.wav", "does not exist"),
        (tmp_path / "in.wav" / "x", "does not exist|Not a directory"),
        ("x" * 5000, "cannot be read"),
        ("a\0b", "null"),
    ):
        with pytest.raises(AudioError, match=words):
            SpeechReader(str(path))
    (tmp_path / "x.raw").write_bytes(bytes(100))
    with pytest.raises(AudioError, match="--raw"):
        SpeechReader(str(tmp_path / "x.raw"))
    with pytest.raises(AudioError, match="empty"):
        SpeechReader("/dev/null", 24000)


@pytest.mark.parametrize(
    "name", ["Grüße.wav", "発話.wav", os.fsdecode(b"\xff\xfe.wav"), "a b'\".wav"]
)
def test_names_in_any_encoding(tmp_path, name):
    path = str(tmp_path / name)
    Path(path).write_bytes(wav(tone(24000)))
    assert len(SpeechReader(path).read()) == len(read_audio(Path(path))) == 12000
    out = str(tmp_path / ("out" + name))
    writer = speech_writer(target=out)
    writer.work([np.zeros(100, dtype=np.float32)], [])
    writer.stop()
    assert Path(out).stat().st_size == 244
    trace = str(tmp_path / ("trace" + name))
    Path(trace).write_text("0 1 1 0\n")
    make_channel(ChannelOptions(model="trace", trace=trace))
    Path(trace).write_text("0 1 2\n")
    with pytest.raises(ValueError, match="trace .* flags 0 and 1"):
        make_channel(ChannelOptions(model="trace", trace=trace))


@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF", "AU", "OGG"])
def test_fuzzed_audio(tmp_path, form):
    good, draw = wav(tone(16000, 0.2), 16000, form), random.Random(form)
    path = tmp_path / "fuzzed"
    read = 0
    for number in range(ROUNDS // 5):
        data = bytearray(good)
        for _ in range(draw.randrange(1, 6)):
            data[draw.randrange(min(len(data), 120))] = draw.randrange(256)
        data = bytes(data[: draw.randrange(len(data))] if number % 4 == 0 else data)
        path.write_bytes(data)
        source = str(path) if number % 2 else through_pipe(data)
        try:
            # At most 4000 Hz, 8 bit and one channel are made of it; 4 bit where it is packed.
            for piece in SpeechReader(source):
                read += len(piece)
                assert np.all(np.isfinite(piece)) and len(piece) < 6 * len(good) * 12
        except AudioError as error:
            assert "\n" not in str(error)
        except RuntimeError as error:
            # Within the file: the flowgraph ends there, and says so.
            assert isinstance(error, soundfile.LibsndfileError)
    # Pages of Ogg are protected by checksums.
    assert read > 4800 or form == "OGG"


def test_error_within_a_file_ends_the_stream():
    def pieces():
        yield np.ones(1000, dtype=np.float32)
        raise soundfile.LibsndfileError(1)

    source, sink = speech_reader(pieces=pieces()), blocks.vector_sink_f()
    tb = gr.top_block(catch_exceptions=False)
    tb.connect(source, sink)
    tb.run()
    assert len(sink.data()) == 1000 and "cannot be read any further" in source.error


def read_packets(data: bytes) -> tuple[list[bytes], str]:
    """What a packet reader makes of the bytes of a pipe, and its error."""
    reader = packet_reader(descriptor=through_pipe(data))
    found = []
    while packet := reader._next():
        found.append(packet)
    return found, reader.error


def test_fuzzed_packets_on_a_pipe():
    draw = random.Random(1)
    packets = [draw.randbytes(draw.randrange(1, 60)) for _ in range(20)]
    good = b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)
    assert read_packets(good) == (packets, "")
    for cut in range(len(good)):
        found, error = read_packets(good[:cut])
        assert found == packets[: len(found)]
        whole = sum(2 + len(packet) for packet in found)
        assert error == ("" if whole == cut else "stdin ends within a packet")
    for _ in range(ROUNDS):
        found, error = read_packets(draw.randbytes(draw.randrange(3000)))
        assert all(0 < len(packet) <= MOST_BYTES for packet in found) and "\n" not in error


def test_writer_writes_what_a_reader_reads(tmp_path):
    import pmt

    with open(tmp_path / "p", "wb") as file:
        writer = packet_writer(descriptor=file.fileno())
        for data in (b"", b"a" * MOST_BYTES, b"b", bytes(70000)):
            vector = pmt.init_u8vector(len(data), list(data))
            writer._on_packet(pmt.cons(pmt.make_dict(), vector))
        for odd in (pmt.PMT_NIL, pmt.intern("x"), pmt.cons(pmt.PMT_NIL, pmt.PMT_NIL)):
            writer._on_packet(odd)
    assert writer.statistics() == {"packets": 2, "bytes": MOST_BYTES + 1, "refused": 5}
    assert read_packets((tmp_path / "p").read_bytes()) == ([b"a" * MOST_BYTES, b"b"], "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("[::1]:5000", ("::1", 5000)),
        ("::1:5000", ("::1", 5000)),
        ("fe80::1%lo:5000", ("fe80::1%lo", 5000)),
        ("*:1", ("*", 1)),
        ("host.example:65535", ("host.example", 65535)),
        *(
            (bad, None)
            for bad in ("", ":", ":5000", "host", "host:", "host:0", "host:65536", "host:-1")
        ),
        *(
            (bad, None)
            for bad in ("host:5e3", "host:５０００", "host:²", "h:" + "9" * 5000, "h:1 ")
        ),
    ],
)
def test_addresses(text, found):
    if found is None:
        with pytest.raises(ValueError, match="is not of the form host:port"):
            address(text)
    else:
        assert address(text) == found


@pytest.mark.parametrize("host", ["a" * 300, "a..b", "\udcff", "a\0b", "ü" * 80, "[", "1.2.3.4.5 "])
def test_hosts_that_are_none(host):
    with pytest.raises(ValueError, match="host") as caught:
        resolved(f"{host}:5000", False)
    assert "\n" not in str(caught.value)


def test_numeric_addresses_are_resolved():
    assert resolved("127.0.0.1:9", False) == (socket.AF_INET, ("127.0.0.1", 9))
    if socket.has_ipv6:
        family, where = resolved("[::1]:9", False)
        assert family == socket.AF_INET6 and where[:2] == ("::1", 9)


def test_fuzzed_addresses():
    draw = random.Random(2)
    for _ in range(ROUNDS):
        text = "".join(draw.choices("[]:*%.019afz-/\\ \0ü\udcff٣", k=draw.randrange(12)))
        try:
            host, port = address(text)
            assert host and 0 < port < 65536
        except ValueError as error:
            assert "host:port" in str(error)


def test_fuzzed_keys(tmp_path):
    draw, path = random.Random(3), tmp_path / "key"
    for _ in range(ROUNDS):
        path.write_bytes(draw.randbytes(draw.choice([0, 1, 31, 32, 33, 64, 65])))
        path.chmod(0o600)
        try:
            assert len(read_key(path)) == 32
        except ValueError as error:
            assert "bytes: use 32 bytes or 64 hex digits" in str(error)
    path.write_text(bytes(range(32)).hex() + "\n")
    assert read_key(path) == bytes(range(32))


def test_fuzzed_traces(tmp_path):
    draw, path = random.Random(4), tmp_path / "trace"
    for number in range(ROUNDS):
        if number % 2:
            path.write_bytes(draw.randbytes(draw.randrange(50)))
        else:
            path.write_text("".join(draw.choices("01 \n\t2", k=draw.randrange(30))))
        try:
            make_channel(ChannelOptions(model="trace", trace=str(path)))
        except ValueError as error:
            assert "trace" in str(error) and "\n" not in str(error)
    for device in ("/dev/zero", "/dev/urandom"):
        with pytest.raises(ValueError, match="something else as its flag"):
            make_channel(ChannelOptions(model="trace", trace=device))


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{}", b'{"encoder": 3, "dim": "x"}', b"\xff\xfe", b"[" * 99999],
)
def test_odd_model_configs(tmp_path, content):
    for part, load in (
        ("codec", load_codec),
        ("lm", load_language_model),
        ("controller", load_controller),
    ):
        (tmp_path / f"{part}.json").write_bytes(content)
        (tmp_path / f"{part}.safetensors").write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load(str(tmp_path))
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_odd_weights(tmp_path):
    for name, content in (("a", b""), ("b", b"text" * 99), ("c", struct.pack("<Q", 2**60))):
        (tmp_path / name).write_bytes(content)
        (tmp_path / "estimator.safetensors").write_bytes(content)
        for load, source in (
            (load_codec, tmp_path / name),
            (load_language_model, tmp_path / name),
            (load_estimator, tmp_path),
        ):
            with pytest.raises(ModelError) as caught:
                load(str(source))
            assert str(source) in str(caught.value) and "\n" not in str(caught.value)


def test_memory_does_not_grow_with_the_file(tmp_path):
    """An hour of raw speech, of which a flowgraph takes a second."""
    import tracemalloc

    with open(tmp_path / "long.raw", "wb") as file:
        file.truncate(2 * 24000 * 3600)
    tracemalloc.start()
    head = blocks.head(gr.sizeof_float, 24000)
    tb = gr.top_block(catch_exceptions=False)
    source = speech_reader(pieces=SpeechReader(str(tmp_path / "long.raw"), 24000))
    tb.connect(source, head, blocks.null_sink(gr.sizeof_float))
    tb.run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6
