# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models with random weights, and a flowgraph around them."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> str:
    """A model folder: codec, language model and controller with random weights."""
    import torch
    from gnuradio.largesc.codec.build import build_codec
    from gnuradio.largesc.concealment.build_lm import build_language_model
    from gnuradio.largesc.control.network import ControllerNetwork
    from gnuradio.largesc.models.store import save_model, write_sha256
    from gnuradio.largesc.tasks.model import TaskModel, task_config
    from gnuradio.largesc.training.config import read_config
    from gnuradio.largesc.training.recipes.lm import CONFIG_KEYS, DEFAULT_CONFIG
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    codec = {
        "kind": "source_filter",
        "delay_samples": 480,
        "encoder": {"dimension": 16, "channels": 16, "n_mels": 20, "blocks": [1, 1], "lags": 16},
        "decoder": {"dimension": 16, "channels": 16, "bands": 20, "blocks": [1, 1, 1]},
        "quantizer": {"dimension": 16, "n_q": 8, "bins": 2048},
    }
    model = build_codec(codec)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embedding_sum.normal_()
    save_model(model, codec, folder, "codec")
    lm = dict(read_config(DEFAULT_CONFIG, CONFIG_KEYS)["model"])
    lm |= {"dim": 32, "num_heads": 2, "num_layers": 2, "depformer_dim": 16}
    lm |= {"depformer_num_heads": 2, "depformer_num_layers": 1, "depformer_dim_feedforward": 32}
    save_model(build_language_model(lm), lm, folder, "lm")
    save_model(ControllerNetwork(16), {"dimension": 16}, folder, "controller")
    task = {
        "labels": ["on", "off", "_unknown_", "_silence_"],
        "student": {"labels": 4, "bands": 10, "channels": 8, "blocks": 2, "kernel": 3, "steps": 2},
        "codec": {"classes": 4, "symbols": [8, 32], "hidden": 8, "adaptive": True},
    }
    save_model(TaskModel(task_config(task)), task, folder, "task")
    # As before where nothing else is known, between both frames where the one behind is.
    on = np.vstack([np.eye(16), np.zeros((1, 16))]).astype(np.float32)
    between = np.vstack([np.eye(16) / 2, np.eye(16) / 2, np.zeros((1, 16))]).astype(np.float32)
    cases = {"count0": on, "count0_made_up": on, "count0_following": between}
    save_file(cases | {"mean": np.zeros(16, np.float32)}, str(folder / "estimator.safetensors"))
    write_sha256(folder)
    return str(folder)


@pytest.fixture
def speech() -> np.ndarray:
    """Four seconds that rise and fall like syllables, with a pause, 24 kHz."""
    t = np.arange(4 * 24000) / 24000
    tone = np.sin(2 * np.pi * 140 * t) + 0.5 * np.sin(2 * np.pi * 560 * t)
    envelope = np.maximum(0.0, np.sin(2 * np.pi * 3 * t)) * (t < 2.5)
    noise = np.random.default_rng(0).standard_normal(len(t)) * 0.001
    return (0.2 * tone * envelope + noise).astype(np.float32)


@pytest.fixture
def run_link(models):
    """Runs speech through the loopback flowgraph; returns (top block, observer)."""
    from gnuradio.largesc.cli.link import loopback_of
    from gnuradio.largesc.cli.main import parser
    from gnuradio.largesc.flowgraphs.observer import observed

    def run(samples: np.ndarray, *options: str):
        common = ["--codec", models, "--model", models, "--controller", models]
        args = parser().parse_args(["loopback", "-", "-", *common, *options])
        tb = loopback_of(samples, args)
        observer, packets = observed(tb)
        tb.start()
        tb.wait()
        return tb, observer

    return run
