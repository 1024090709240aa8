# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of the language model and its adapter on a tiny model and made-up tokens."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from gnuradio.largesc.channel.loss_patterns import LossPatterns
from gnuradio.largesc.concealment.load import load_language_model
from gnuradio.largesc.control.load import load_controller
from gnuradio.largesc.training import adapters, token_losses
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.recipes import controller, lm, lora
from gnuradio.largesc.training.token_sets import TokenSet, save
from helpers import SMALL_LM

pytestmark = pytest.mark.usefixtures("minutes_of_steps")


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Tokens of a made-up language: each frame follows from the one before."""
    folder = tmp_path_factory.mktemp("work")
    for name, count in (("train", 1500), ("dev", 300)):
        first = np.arange(count) % 7
        tokens = np.stack([first * (k + 1) + k for k in range(8)], axis=1).astype(np.uint16)
        found = TokenSet(tokens, np.zeros((count, 64), np.float16), np.array([0, count]))
        save(found, folder / f"tokens_{name}.npz")
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory, models) -> tuple[Path, Path]:
    """Configs of both recipes, for a model of a few thousand weights."""
    folder = tmp_path_factory.mktemp("config")
    config = read_config(lm.DEFAULT_CONFIG, lm.CONFIG_KEYS)
    config["model"] |= SMALL_LM
    config["training"] = {"minutes": 2, "batch": 4, "frames": 30, "rate": 3e-3, "corrupted": 0.1}
    (folder / "lm.yaml").write_text(yaml.safe_dump(config))
    config = read_config(lora.DEFAULT_CONFIG, lora.CONFIG_KEYS)
    config["training"] = {"minutes": 0.3, "batch": 4, "frames": 30, "rate": 1e-3}
    (folder / "lora.yaml").write_text(yaml.safe_dump(config))
    return folder / "lm.yaml", folder / "lora.yaml"


@pytest.fixture(scope="module")
def base(work, tiny, models, minutes_of_steps, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    common = ["--work", str(work), "--codec", models, "--threads", "1"]
    lm.main(["--config", str(tiny[0]), "--output", str(folder), *common])
    return folder


def test_language_model_learns(base, work):
    curve = torch.load(work / "lm.pt", weights_only=False)["curve"]
    model = load_language_model(str(base)).model
    codes = torch.from_numpy(np.load(work / "tokens_dev.npz")["tokens"][:60].astype(np.int64))
    with torch.no_grad():
        losses = token_losses.CodebookLosses(model)(codes.T[None])
    assert losses[0] < 5.0 and len(curve) >= 2


def test_adapter_alone_and_merged(base, work, tiny, tmp_path):
    common = ["--config", str(tiny[1]), "--work", str(work), "--base", str(base), "--threads", "1"]
    output = ["--output", str(tmp_path / "adapter"), "--merged", str(tmp_path / "merged")]
    lora.main([*common, *output])
    facts = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert facts["peft_type"] == "LORA" and facts["r"] == 8
    names = [n for n, _ in load_language_model(str(base)).model.named_modules()]
    adapted = adapters.adapted(
        load_language_model(str(base)).model,
        {"rank": 8, "alpha": 16}
        | {"targets": read_config(lora.DEFAULT_CONFIG, lora.CONFIG_KEYS)["lora"]["targets"]},
    )
    layers = [n for n, m in adapted.named_modules() if hasattr(m, "lora_A") and n]
    # Attention and gated layers of both transformers, eight sets of them in the depth transformer.
    assert len(layers) == 2 * 4 + 8 * 4 and len(names) > len(layers)
    codes = torch.randint(0, 2048, (1, 8, 20))
    models = [load_language_model(str(tmp_path / n)).model for n in ("adapter", "merged")]
    models.append(load_language_model(str(base)).model)
    with torch.no_grad():
        alone, merged, before = (token_losses.logits_of(m, codes)[0] for m in models)
    assert (alone - before).abs().max() > 1e-3
    # The merged one is stored in 8 bit.
    assert (alone - merged).abs().mean() < 0.1 * alone.std()
    # A finished run is not trained further.
    lora.main([*common, *output])


def test_model_starts_from_codebooks_of_mimi(base):
    """Mimi's quantiser is in two parts, each with projections of its own."""
    from types import SimpleNamespace

    from moshi.quantization import SplitResidualVectorQuantizer

    torch.manual_seed(0)
    quantizer = SplitResidualVectorQuantizer(
        dimension=8, n_q=8, bins=2048, input_dimension=24, output_dimension=24
    ).eval()
    for part in (quantizer.rvq_first, quantizer.rvq_rest):
        for layer in part.vq.layers:
            layer._codebook.embedding_sum.normal_()
            layer._codebook._embedding = None
    # Speech that is too simple leaves nothing for the last codebook.
    quantizer.rvq_rest.vq.layers[-1]._codebook.embedding_sum.zero_()
    model = load_language_model(str(base)).model
    before = model.emb[6].weight.clone()
    lm.start_from_codebooks(model, SimpleNamespace(quantizer=quantizer, cardinality=2048), 1)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    weights = model.emb[6].weight[:2048]
    assert not torch.equal(weights, before[:2048])
    # Entries that are near each other stay so: the embedding is linear in them.
    book = torch.from_numpy(lm.codebooks_of(SimpleNamespace(quantizer=quantizer, cardinality=2048)))
    fitted = book[6] @ torch.linalg.lstsq(book[6], weights).solution
    assert torch.allclose(fitted, weights, atol=1e-3)


def test_adapter_sees_what_the_link_gives(base):
    model = load_language_model(str(base)).model
    losses = adapters.GapLosses(model, 0.7)
    codes = torch.randint(0, 2048, (2, 8, 20))
    arrives = torch.rand(2, 8, 20) < 0.6
    filled = losses.filled(codes, arrives)
    assert torch.equal(filled[arrives], codes[arrives])
    assert (filled != codes)[~arrives].float().mean() > 0.5
    assert filled.min() >= 0 and filled.max() < 2048


def test_controller_in_two_stages(base, work, tmp_path):
    config = read_config(controller.DEFAULT_CONFIG, controller.CONFIG_KEYS)
    config["stages"]["frozen"] |= {"minutes": 0.05, "batch": 8}
    config["stages"]["joint"] |= {"minutes": 0.05, "batch": 2}
    (tmp_path / "controller.yaml").write_text(yaml.safe_dump(config))
    common = ["--config", str(tmp_path / "controller.yaml"), "--work", str(work)]
    common += ["--lm", str(base), "--output", str(tmp_path / "model"), "--threads", "1"]
    with pytest.raises(ValueError, match="--adapter"):
        controller.main(common)
    controller.main([*common, "--adapter", str(tmp_path / "adapter")])
    for name in ("controller", "controller_joint"):
        assert torch.load(work / f"{name}.pt", weights_only=False)["step"] > 0
    network = load_controller(str(tmp_path / "model"))
    assert all(0.0 <= i <= 1.0 for i in network.step(np.zeros(64, np.float32), 0.2))
    load_language_model(str(tmp_path / "adapter"))


def test_patterns_have_the_asked_rates(tmp_path):
    lost = ~LossPatterns({"burst": 1.0}, prefix_share=0.0, seed=3).draw(400, 200)[:, 0]
    edges = np.diff(np.pad(lost, ((0, 0), (1, 1))).astype(int), axis=1)
    assert abs(lost.mean() - 0.25) < 0.02
    # Crops cut the bursts at their ends.
    assert 2.7 < lost.sum() / (edges == 1).sum() < 3.1
    clean = LossPatterns({"clean": 1.0}).draw(3, 40)
    assert clean.shape == (3, 8, 40) and clean.all()
    packets = LossPatterns({"packet": 1.0}, prefix_share=0.0).draw(200, 50)
    assert np.array_equal(packets.any(axis=1), packets.all(axis=1))
    assert abs(packets.mean() - 0.75) < 0.03
    prefixes = LossPatterns({"packet": 1.0}, most_lost=0.0, prefix_share=1.0).draw(200, 50)
    assert prefixes[:, 0].all() and not prefixes[:, 7].any()
    (tmp_path / "trace").write_text("1\n0\n0\n0\n" * 5)
    trace = LossPatterns({"trace": 1.0}, prefix_share=0.0, trace=str(tmp_path / "trace"))
    # Of the four places of a packet in the trace, a crop takes one.
    crops = trace.draw(400, 30)[:, 0]
    assert np.array_equal(crops.any(axis=1), crops.all(axis=1))
    assert abs(crops.mean() - 0.75) < 0.08
    assert np.array_equal(
        LossPatterns({"burst": 1.0}).draw(4, 9), LossPatterns({"burst": 1.0}).draw(4, 9)
    )


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"shares": {"hail": 1.0}}, "hail"),
        ({"shares": {"trace": 1.0}}, "no trace"),
        ({"shares": {"clean": 0.0}}, "all zero"),
        ({"shares": {"clean": -1.0, "burst": 2.0}}, "negative"),
    ],
)
def test_bad_patterns_are_named(facts, said):
    with pytest.raises(ValueError, match=said):
        LossPatterns(**facts)


def test_bad_input_is_named(work, tiny, models, base, tmp_path):
    with pytest.raises(ValueError, match="trace"):
        LossPatterns({"trace": 1.0}, trace=str(tmp_path / "nothing"))
    (tmp_path / "few").mkdir()
    few = TokenSet(np.zeros((5, 8), np.uint16), np.zeros((5, 64), np.float16), np.array([0, 5]))
    for name in ("train", "dev"):
        save(few, tmp_path / "few" / f"tokens_{name}.npz")
    common = ["--config", str(tiny[0]), "--codec", models, "--output", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="too few"):
        lm.main([*common, "--work", str(tmp_path / "few")])
    with pytest.raises(ValueError, match=r"tokens_train\.npz is missing"):
        lm.main([*common, "--work", str(tmp_path)])
    config = read_config(tiny[1], lora.CONFIG_KEYS)
    config["lora"]["targets"] = "no_such_layer"
    (tmp_path / "lora.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "w").mkdir()
    for name in ("train", "dev"):
        (tmp_path / "w" / f"tokens_{name}.npz").symlink_to(work / f"tokens_{name}.npz")
    with pytest.raises(ValueError, match="no_such_layer"):
        lora.main(
            ["--config", str(tmp_path / "lora.yaml"), "--work", str(tmp_path / "w")]
            + ["--base", str(base), "--output", str(tmp_path / "a")]
        )
