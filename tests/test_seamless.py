# SPDX-License-Identifier: GPL-3.0-or-later
"""SeamlessM4T v2 through the whole translation link, with tiny random weights."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.channel_codec.linear import BLOCK_FRAMES
from gnuradio.largesc.channel_codec.load import load_channel_code, save_channel_code
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.cli.translate_edge import Edge, SpeakerSide
from gnuradio.largesc.features.filter_bank import FilterBank, as_kaldi, as_seamless
from gnuradio.largesc.features.fronts import FRONTS, open_front
from gnuradio.largesc.features.load import large_model, loaded
from gnuradio.largesc.features.log_mel import LEAST, as_bytes
from gnuradio.largesc.features.model import LargeModel
from gnuradio.largesc.features.text import SemanticDecoder
from gnuradio.largesc.features.window import Features, SemanticEncoder
from gnuradio.largesc.models.packaged import absent
from gnuradio.largesc.models.store import ModelError, write_sha256
from gnuradio.largesc.models.whisper import most_tokens
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.packets.pieces import Whole
from gnuradio.largesc.speech.files import resampled, write_audio
from gnuradio.largesc.tasks.translation import SpeakerDevice
from gnuradio.largesc.tasks.translation_loopback import TranslationLoopback
from gnuradio.largesc.tasks.translation_packets import (
    FRONT_BYTES,
    SEGMENT,
    read_segment,
    segment_bytes,
)
from test_translation import quiet
from test_translation_blocks import Listener, text_of
from test_translation_edges import Air, Mail
from tiny_seamless import WIDTH, murmur, write_tiny_seamless

if lacking := absent(["transformers", "sentencepiece"]):
    pytest.skip(f"{lacking[0]} is not installed", allow_module_level=True)

from gnuradio.largesc.features.seamless import Seamless  # noqa: E402
from gnuradio.largesc.training.large_model import variables_of  # noqa: E402
from gnuradio.largesc.training.recipes.channel_code import features_of, fit  # noqa: E402

SYMBOLS = 8


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Of a model that is sure of what it says."""
    found = tmp_path_factory.mktemp("models") / "seamless"
    write_tiny_seamless(found, sure=30.0)
    return found


@pytest.fixture(scope="session")
def model(folder) -> LargeModel:
    return large_model(str(folder))


@pytest.fixture(scope="session")
def code(model, tmp_path_factory) -> str:
    """Folder of a channel code that was fitted to its features, as the recipe does."""
    found = tmp_path_factory.mktemp("models") / "code"
    features = [features_of(model, murmur(15.0) * gain, 24000) for gain in (0.3, 0.6, 1.0, 2.0)]
    rng = np.random.default_rng(0)
    features += [f + 0.3 * rng.normal(size=f.shape).astype(np.float32) for f in features]
    statistics = fit(features, variables_of(model), 128)
    save_channel_code(statistics, {"width": WIDTH, "directions": 4 * WIDTH}, found)
    write_sha256(found)
    return str(found)


# What a device sends


@pytest.mark.parametrize(("rate_hz", "most_db"), [(16000, 0.01), (24000, 1.5)])
def test_the_filter_bank_is_that_of_transformers(rate_hz, most_db):
    from transformers import SeamlessM4TFeatureExtractor

    speech = murmur(1.0, rate_hz)
    at_16k = speech if rate_hz == 16000 else resampled(speech, rate_hz, 16000)
    theirs = SeamlessM4TFeatureExtractor()(
        at_16k, sampling_rate=16000, do_normalize_per_mel_bins=False, return_tensors="np"
    )["input_features"][0].reshape(-1, 80)
    front = FilterBank(rate_hz)
    # Theirs begins with the first sample, ours half a window before.
    front._rest = front._rest[:0]
    pieces = [front.push(piece) for piece in np.array_split(speech, 13)]
    own = as_kaldi(np.concatenate(pieces))
    count = min(len(own), len(theirs))
    away_db = 10.0 / np.log(10.0) * np.abs(own[:count] - theirs[:count])
    # The lowest two are 40 Hz wide, and bands above 7 kHz hang on how speech came to 16 kHz.
    assert away_db[:, 2:-6].max() < most_db
    with pytest.raises(ValueError, match="rate_hz 44100 is none that can be used: use 16000 or 24"):
        FilterBank(44100)


def test_what_the_model_takes_is_that_of_transformers():
    from transformers import SeamlessM4TFeatureExtractor

    speech = murmur(1.0, 16000)
    theirs = SeamlessM4TFeatureExtractor()(speech, sampling_rate=16000, return_tensors="np")
    front = FilterBank(16000)
    front._rest = front._rest[:0]
    own = front.push(speech)
    own = as_seamless(own[: len(own) // 2 * 2])
    assert np.abs(own - theirs["input_features"][0][: len(own)]).max() < 0.01
    # With silence behind nothing before it changes.
    quiet_frames = np.full((50, 80), LEAST, dtype=np.float32)
    front.reset()
    frames = front.push(speech)[:96]
    behind = as_seamless(np.concatenate([frames, quiet_frames]))
    assert np.allclose(behind[:48], as_seamless(frames), atol=1e-4)
    assert np.isfinite(behind).all() and np.abs(behind).max() < 20.0
    assert not as_seamless(quiet_frames).any() and as_seamless(frames[:0]).shape == (0, 160)


def test_fronts_are_named():
    assert {*FRONTS} == {*FRONT_BYTES}
    with pytest.raises(ValueError, match="front 'x' is unknown: use one of whisper, whisper-128"):
        open_front("x", 24000)
    for name, bands in FRONTS.items():
        assert open_front(name, 24000).push(murmur(0.5)).shape == (49, bands)


# The model


def test_features_are_of_the_encoder(model):
    frames = np.concatenate([FilterBank(24000).push(murmur(3.0)), np.full((50, 80), LEAST)])
    found = model.encode(frames.astype(np.float32))
    assert (model.width, model.stride, model.features_per_s) == (WIDTH, 16, 6.25)
    assert found.shape[1] == WIDTH and len(found) >= len(frames) // 16
    assert model.encode(frames[:1]).shape == (0, WIDTH)
    scale, shift = (variables_of(model)[f"encoder/layer_norm/{n}"] for n in ("gamma", "beta"))
    plain = (found - shift) / scale
    assert np.abs(plain.mean(axis=1)).max() < 1e-3 and np.allclose(
        plain.std(axis=1), 1.0, atol=0.01
    )


def test_text_is_bounded_and_follows_what_is_forced(model):
    features = model.encode(FilterBank(24000).push(murmur(4.0)))
    for beam in (1, 5):
        found = model.decode(features, "fra", beam=beam)
        assert 0 < len(found.tokens) <= most_tokens(len(features) / 6.25)
        assert -10.0 < found.confidence <= 0.0
        assert model.text(found.tokens).strip() and "__" not in model.text(found.tokens)
        behind = model.decode(features, "fra", found.tokens[:4], beam=beam)
        assert len(behind.tokens) <= most_tokens(len(features) / 6.25) - 4
    # Greedily the same comes behind the same.
    whole = model.decode(features, "fra")
    assert model.decode(features, "fra", whole.tokens[:2]).tokens[:3] == whole.tokens[2:5]


def test_a_word_has_its_space_in_front(model):
    words = model._words("the quick fox").input_ids
    assert model.text(tuple(words)) == " the quick fox"
    assert model.text(()) == ""


def test_an_unknown_language_is_refused(model):
    with pytest.raises(
        ValueError, match=r"language 'fr' is unknown to Seamless .*: use one of eng"
    ):
        SemanticDecoder(model, "fr")


def test_noise_is_not_said_but_counted(tmp_path):
    write_tiny_seamless(tmp_path / "unsure")
    decoder = SemanticDecoder(loaded(str(tmp_path / "unsure")), "fra")
    noise = np.random.default_rng(1).normal(size=(12, WIDTH)).astype(np.float32)
    (text,) = decoder.push(Features(noise, 0, 0, True))
    assert (text.committed, text.doubtful, text.last) == ("", True, True)
    assert decoder.counters["doubtful"] == 1


def test_what_is_no_number_or_too_long_is_survived(model):
    decoder = SemanticDecoder(model, "fra")
    nothing = np.full((8, WIDTH), np.nan, dtype=np.float32)
    assert decoder.push(Features(nothing, 0, 0, True))[0].last
    assert decoder.push(Features(nothing[:, :3], 1, 0, False)) == []
    assert decoder.push(Features(np.ones((157, WIDTH), dtype=np.float32), 1, 0, False)) == []
    assert decoder.counters["refused"] == 2


# The window


def test_each_frame_is_sent_once_in_whole_blocks(model):
    encoder, found = SemanticEncoder(model), []
    compressed = as_bytes(FilterBank(24000).push(murmur(4.0)))
    for number in range(4):
        found += encoder.push(compressed[100 * number : 100 * number + 100], last=number == 3)
    ends = np.cumsum([len(f.frames) for f in found])
    assert all(len(f.frames) % BLOCK_FRAMES == 0 for f in found)
    assert [f.first for f in found] == [0, *ends[:-1]]
    assert 25 <= ends[-1] <= 28
    assert [f.last for f in found] == [False] * (len(found) - 1) + [True]


def test_windows_are_bounded_without_a_pause(model):
    encoder = SemanticEncoder(model)
    compressed = as_bytes(FilterBank(24000).push(murmur(1.0)))
    found = [f for _ in range(30) for f in encoder.push(compressed, last=False)]
    assert max(f.window for f in found) >= 1
    assert max(f.first + len(f.frames) for f in found) <= 100
    assert sum(len(f.frames) for f in found) * 16 <= 30 * len(compressed)


# Both ends


@pytest.mark.parametrize(
    "air",
    [{"channel": "none"}, {"channel": "awgn"}, {"channel": "rayleigh"}, {"radio": "medium"}],
    ids=lambda air: next(iter(air.values())),
)
def test_speech_becomes_text_that_stays(folder, code, air):
    options = TranslationOptions(
        language="fra", model=str(folder), channel_code=code, symbols=SYMBOLS, snr_db=15.0, **air
    )
    link, said = TranslationLoopback(options, voiced=False), ""
    pieces = np.array_split(np.concatenate([murmur(4.0), quiet(1.0), murmur(1.5)]), 60)
    for step in link.run(pieces):
        before = said
        said += step.text.committed
        assert said.startswith(before)
    assert len(said) > 10 and link.receiver.counters["windows"] == 2
    assert link.receiver.counters["refused"] == link.receiver.counters["refused_bursts"] == 0


def test_the_channel_code_holds_up(model, code):
    linear = load_channel_code(code, SYMBOLS)
    features = model.encode(FilterBank(24000).push(murmur(9.0)))[:48]
    symbols, gain = linear.encode(features)
    assert symbols.shape == (12, BLOCK_FRAMES * SYMBOLS)
    clean = linear.decode(symbols, np.ones((12, 1)), 60.0, gain)
    assert np.abs(clean - features).mean() < 0.1
    with pytest.raises(ValueError, match="symbols 9 is out of range: use 1 to 8"):
        load_channel_code(code, 9)


def test_a_code_of_another_model_is_refused(folder):
    options = TranslationOptions(language="fra", model=str(folder))
    with pytest.raises(ValueError, match=rf"takes 512 numbers a frame, Seamless {folder} gives 16"):
        TranslationLoopback(options, voiced=False)


def test_it_goes_over_the_blocks(folder, code):
    speech = np.concatenate([murmur(2.5), quiet(1.0)])
    tb, listener = gr.top_block(), Listener()
    given = {"model": str(folder), "channel_code": code, "symbols": SYMBOLS}
    tx, air = largesc.translation_tx(**given), largesc.symbol_channel(snr_db=20.0)
    rx = largesc.translation_rx(**given, language="fra", voice="", mode="offline")
    source, sink = blocks.vector_source_f(speech.tolist()), blocks.vector_sink_f()
    tb.connect(source, tx)
    tb.msg_connect(tx, "symbols", air, "symbols")
    tb.msg_connect(air, "symbols", rx, "symbols")
    tb.msg_connect(rx, "text", listener, "in")
    tb.connect(rx, sink)
    tb.run()
    assert text_of(listener.messages).strip()
    assert rx.statistics()["windows"] == 1 and rx.statistics()["refused_bursts"] == 0


def test_the_command_translates(folder, code, tmp_path, capsys):
    write_audio(tmp_path / "in.wav", murmur(2.0))
    given = ["--model", str(folder), "--channel-code", code, "--symbols", "8", "--language", "fra"]
    assert main(["translate", "loopback", str(tmp_path / "in.wav"), *given, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "".join(line.get("committed", "") for line in lines).strip()
    assert lines[-1]["statistics"]["windows"] == 1


def test_segments_of_another_front_are_counted(folder, code, capsys):
    """A device that was not told which model its edge has: both have 80 bands."""
    options = TranslationOptions(model=str(folder), channel_code=code, symbols=SYMBOLS)
    sounds = {
        front: list(SpeakerDevice(options, front).push(np.concatenate([murmur(2.0), quiet(1.0)])))
        for front in ("whisper", "seamless")
    }
    for front, own in sounds.items():
        assert read_segment(segment_bytes(own[0])).front == front
    air = Air()
    messages = [
        Whole(1, SEGMENT, segment_bytes(sound), time.monotonic(), 0)
        for sound in sounds["whisper"] + sounds["seamless"]
    ]
    edge = Edge(lambda call: SpeakerSide(options), Mail(*messages), air)
    for _ in messages:
        edge.step()
    assert edge.counters["unusable"] == len(sounds["whisper"]) and air.told
    assert "the model takes that of `largesc translate device --front seamless`" in (
        capsys.readouterr().err
    )


# Folders that are no model


def test_kinds_are_told_by_what_lies_in_the_folder(model, tmp_path):
    assert isinstance(model, Seamless)
    with pytest.raises(ModelError, match="Whisper model .* has no model.bin"):
        loaded(str(tmp_path))
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ModelError, match="config.json is no config: expected a JSON object"):
        loaded(str(tmp_path))
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="config.json is no config: expected a JSON object"):
        loaded(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "seamless_m4t"}')
    with pytest.raises(ModelError, match="is a seamless_m4t: give a seamless_m4t_v2"):
        loaded(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.safetensors", "is no model that can be used"),
        ("sentencepiece.bpe.model", "is no model that can be used"),
        ("generation_config.json", "generation_config.json is missing"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder, tmp_path, name, said):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / name).unlink()
    with pytest.raises(ModelError, match=said):
        loaded(str(broken))


def test_a_folder_that_names_no_languages_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "broken")
    (tmp_path / "broken" / "generation_config.json").write_text("{}")
    with pytest.raises(ModelError, match="names no English in text_decoder_lang_to_code_id"):
        loaded(str(tmp_path / "broken"))


def test_weights_that_are_missing_are_not_drawn(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    state = load_file(broken / "model.safetensors")
    del state[min(name for name in state if "ffn" in name)]
    save_file(state, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights, as"):
        loaded(str(broken))
