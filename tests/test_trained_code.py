# SPDX-License-Identifier: GPL-3.0-or-later
"""The trained channel code and the paper's dense one: shapes, bad input, windows, and figures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from gnuradio.largesc.channel.symbols import SymbolChannel
from gnuradio.largesc.channel_codec import load
from gnuradio.largesc.channel_codec.dense import DenseCode
from gnuradio.largesc.channel_codec.linear import BLOCK_FRAMES, LinearCode
from gnuradio.largesc.channel_codec.load import (
    DENSE_PART,
    TRAINED_PART,
    load_channel_code,
    load_dense,
    save_channel_code,
)
from gnuradio.largesc.channel_codec.network import CodeNetwork, NetworkConfig
from gnuradio.largesc.channel_codec.trained import TrainedCode
from gnuradio.largesc.models.store import EMBEDDED, ModelError, save_model, write_sha256
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.tasks.translation import Air, TranslationReceiver
from test_translation import WIDTH, SmallModel, code_of, sent

BLOCKS, SYMBOLS = 30, 2
SIZES = NetworkConfig(hidden=8, layers=2, reach=2)


def network_of(changed: bool = False) -> CodeNetwork:
    """A network that begins as the linear code of :func:`code_of`, or a changed one."""
    torch.manual_seed(1)
    network = CodeNetwork(SIZES, code_of()._of)
    if changed:
        for value in network.parameters():
            value.data += 0.05 * torch.randn(value.shape)
    return network


def trained_of(changed: bool = False) -> TrainedCode:
    return TrainedCode(network_of(changed), code_of()._of, SYMBOLS)


def frames(blocks: int = BLOCKS, seed: int = 0) -> np.ndarray:
    """Features on the sphere of a layer norm."""
    found = np.random.default_rng(seed).normal(size=(BLOCK_FRAMES * blocks, WIDTH))
    found -= found.mean(axis=1, keepdims=True)
    return (found / found.std(axis=1, keepdims=True)).astype(np.float32)


def received(symbols: np.ndarray, kind: str, snr_db: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    y, h = SymbolChannel(kind, snr_db, 5)(torch.from_numpy(symbols))
    return y.numpy(), h.numpy()


@pytest.mark.parametrize("kind", ["awgn", "rayleigh"])
def test_it_begins_as_the_linear_code(kind):
    linear, trained = code_of(symbols=SYMBOLS), trained_of()
    symbols, gain = linear.encode(frames())
    same, same_gain = trained.encode(frames())
    assert gain == same_gain and np.allclose(symbols, same, atol=1e-4)
    y, h = received(symbols, kind)
    assert np.allclose(linear.decode(y, h, 10.0, gain), trained.decode(y, h, 10.0, gain), atol=1e-3)
    # Behind a radio each symbol has a gain of its own.
    each = np.broadcast_to(h, y.shape)
    found = trained.decode(y, each, 10.0, gain)
    assert np.allclose(found, trained.decode(y, h, 10.0, gain), atol=1e-4)


def test_symbols_have_mean_power_1_and_features_lie_on_the_sphere():
    code = trained_of(changed=True)
    symbols, gain = code.encode(frames())
    assert symbols.shape == (BLOCKS, BLOCK_FRAMES * SYMBOLS) and symbols.dtype == np.complex64
    assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1.0, abs=0.05)
    found = code.decode(*received(symbols, "awgn", 0.0), 0.0, gain)
    assert found.shape == (BLOCK_FRAMES * BLOCKS, WIDTH) and found.dtype == np.float32
    assert np.allclose(found.mean(axis=1), 0.0, atol=1e-5)
    assert np.allclose(found.std(axis=1), 1.0, atol=1e-4)


def test_without_noise_the_network_is_a_mixed_linear_code():
    """What training computes is what is sent and received later."""
    network, code = network_of(changed=True), trained_of(changed=True)
    features = torch.from_numpy(frames())[None]
    air = (torch.ones(1, 1, 1), torch.full((1, 1, 1), 90.0))
    with torch.no_grad():
        found = network.through(features, 2 * BLOCK_FRAMES * SYMBOLS, *air)[0].numpy()
    symbols, gain = code.encode(frames())
    heard = code.decode(symbols, np.ones((BLOCKS, 1)), 90.0, gain)
    # The gain travels in steps of 0.25 dB.
    assert np.abs(found - heard).mean() < 0.02


def test_input_of_a_wrong_size_or_snr_is_refused():
    code = trained_of()
    with pytest.raises(ValueError, match=r"features of shape \(8, 5\): use \[4 n, 6\]"):
        code.encode(np.zeros((8, 5), dtype=np.float32))
    with pytest.raises(ValueError, match=r"symbols of shape \(2, 5\): use \[n, 8\]"):
        code.decode(np.zeros((2, 5)), np.ones((2, 1)), 10.0, 0)
    with pytest.raises(ValueError, match=r"fading of shape \(2, 3\): use one a block, or one a s"):
        code.decode(np.zeros((2, 8)), np.ones((2, 3)), 10.0, 0)
    for snr_db in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"snr_db {snr_db} is no finite number"):
            code.decode(np.zeros((2, 8)), np.ones((2, 1)), snr_db, 0)
    with pytest.raises(ValueError, match="symbols 4 is out of range: use 1 to 3 a frame of 20 ms"):
        TrainedCode(network_of(), code_of()._of, 4)
    nothing = np.full((2, 8), np.nan, dtype=np.complex64)
    for h in (np.ones((2, 1)), np.zeros((2, 1)), np.full((2, 1), np.nan)):
        assert np.isfinite(code.decode(nothing, h, 10.0, 0)).all()


class Listening(SmallModel):
    """Keeps the features that it decodes."""

    def decode(self, features, *args, **settings):
        self.last = features
        return super().decode(features, *args, **settings)


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
def test_a_window_that_came_in_bursts_is_what_it_is_as_a_whole(channel):
    options, code = TranslationOptions(channel=channel, symbols=SYMBOLS), trained_of(changed=True)
    model, air = Listening(), Air(options)
    bursts = [air(burst) for burst in sent(options, code, 6.0)]
    assert len(bursts) > 4
    receiver = TranslationReceiver(options, model, code)
    texts = [text for burst in bursts for text in receiver.push(burst)]
    assert texts[-1].last and receiver.counters["refused"] == 0
    heard = [code.heard(b.symbols, b.h, options.snr_db, b.gain_steps) for b in bursts]
    whole = code.features(np.concatenate(heard))
    assert np.allclose(model.last[: len(whole)], whole, atol=1e-5)
    # The next window begins with nothing.
    again = [replace(b, index=b.index + len(bursts), window=b.window + 1) for b in bursts]
    assert [text for burst in again for text in receiver.push(burst)][-1].last
    assert np.allclose(model.last[: len(whole)], whole, atol=1e-5)


def test_windows_that_are_too_long_take_no_memory():
    options, code = TranslationOptions(symbols=SYMBOLS), trained_of()
    burst = Air(options)(sent(options, code)[0])
    receiver = TranslationReceiver(options, SmallModel(), code)
    for number in range(400):
        receiver.push(replace(burst, index=number, last=False))
    assert receiver.counters["refused"] > 100
    assert BLOCK_FRAMES * sum(map(len, receiver._heard)) <= 1250


def saved(folder, changed: bool = True):
    """A folder as `largesc train trained-code` writes it."""
    found = code_of()._of
    save_channel_code(found, {"width": WIDTH, "directions": 24}, folder)
    network = CodeNetwork(SIZES, load.load_statistics(folder, str(folder)))
    network.load_state_dict(network_of(changed).state_dict())
    save_model(network, network.config.as_dict(), folder, TRAINED_PART, int8=True)
    write_sha256(folder)
    return folder


def test_a_folder_gives_what_is_in_it(tmp_path):
    folder = saved(tmp_path)
    code = load_channel_code(str(folder), SYMBOLS)
    assert code.name == "trained" and code.width == WIDTH
    symbols, gain = trained_of(changed=True).encode(frames())
    same, same_gain = code.encode(frames())
    assert abs(gain - same_gain) <= 1 and np.abs(symbols - same).mean() < 0.05
    path = folder / "trained_code.json"
    path.write_text(json.dumps(SIZES.as_dict() | {"hidden": 9}))
    with pytest.raises(ModelError, match="weights and config do not belong together"):
        load_channel_code(str(folder), SYMBOLS)
    path.unlink()
    assert load_channel_code(str(folder), SYMBOLS).name == "linear"


def test_the_linear_code_alone_can_be_chosen():
    code = load_channel_code("linear", 64)
    assert type(code) is LinearCode and code.name == "linear" and code.width == 512


def test_the_dense_code_takes_and_gives_blocks(tmp_path):
    torch.manual_seed(0)
    save_model(
        DenseCode(WIDTH, SYMBOLS, 16), {"width": WIDTH, "symbols": SYMBOLS, "units": 16}, tmp_path,
        DENSE_PART,
    )  # fmt: skip
    code = load_dense(tmp_path)
    symbols, gain = code.encode(frames())
    assert symbols.shape == (BLOCKS, BLOCK_FRAMES * SYMBOLS) and gain == 0
    assert np.mean(np.abs(symbols) ** 2) == pytest.approx(1.0, abs=1e-3)
    for kind in ("awgn", "rayleigh"):
        heard = code.heard(*received(symbols, kind), 10.0, gain)
        assert code.features(heard).shape == (BLOCK_FRAMES * BLOCKS, WIDTH)
    with pytest.raises(ModelError, match=r"dense_code.json is missing"):
        load_dense(tmp_path / "nowhere")


def test_the_sender_of_the_dense_code_knows_one_frame_at_a_time():
    torch.manual_seed(0)
    code = DenseCode(WIDTH, SYMBOLS, 16)
    one = frames()
    other = one.copy()
    other[BLOCK_FRAMES:] = other[BLOCK_FRAMES:][::-1]
    a, b = code.encode(one)[0], code.encode(other)[0]
    # All frames together have mean power 1, in whatever order.
    assert np.allclose(a[0], b[0], atol=1e-5) and not np.allclose(a[1:], b[1:], atol=1e-2)


@pytest.mark.skipif(
    not (EMBEDDED / "trained_code.safetensors").exists(), reason="no trained code is embedded"
)
def test_the_embedded_code_is_not_behind_the_linear_one():
    """Two prompts, in white noise at 0 dB and in fading: less of the weighted error is left."""
    from gnuradio.largesc.features.whisper import Whisper
    from gnuradio.largesc.models.packaged import MODELS, absent
    from gnuradio.largesc.speech.prompts import RATE_HZ, PromptsError, prompts, speech_of
    from gnuradio.largesc.training.feature_windows import windows_of

    wanted = ["ctranslate2", "faster_whisper", "av", *MODELS["base"].packages]
    if lacking := absent(wanted):
        pytest.skip(f"{lacking[0]} is not installed")
    try:
        chosen = prompts("fr", fitted=True)[:2]
    except PromptsError as error:
        pytest.skip(str(error))
    model = Whisper("base")
    found = [f for p in chosen for f in windows_of(model, speech_of(p), RATE_HZ)]
    linear, trained = load_channel_code("linear", 64), load_channel_code("embedded", 64)
    assert trained.name == "trained"
    for kind, snr_db in (("awgn", 0.0), ("rayleigh", 5.0)):
        left = {}
        for code in (linear, trained):
            errors = []
            for features in found:
                symbols, gain = code.encode(features)
                heard = code.decode(*received(symbols, kind, snr_db), snr_db, gain)
                errors.append(np.square((heard - features) @ linear._of.weight).mean())
            left[code.name] = np.mean(errors)
        assert left["trained"] < 0.95 * left["linear"]
