# SPDX-License-Identifier: GPL-3.0-or-later
"""Small models with random weights, and a flowgraph around them."""

import ctypes
import gc
import os
import resource
import sys
from collections import Counter
from pathlib import Path

# Before torch is loaded: two workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from helpers import SMALL_CODEC, seconds_are_steps, small_lm, small_lm_config  # noqa: E402

MOST_MEMORY_MB = 4096
MOST_LEFT_MB = 150
# Half a minute and more, most of which is waiting or other processes.
LONG_FILES = [
    "test_tutorial.py",
    "test_two_hosts.py",
    "test_evaluation.py",
    "test_stream_batch.py",
    "test_examples.py",
    "test_translation_edges.py",
    "test_rig.py",
    "test_endurance.py",
    "test_studies.py",
]
LEFT_MB = pytest.StashKey[float]()
PEAKS_MB = pytest.StashKey[list[float]]()


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> str:
    """A model folder: codec, language model and controller with random weights."""
    import torch
    from gnuradio.largesc.codec.build import build_codec
    from gnuradio.largesc.control.network import ControllerNetwork
    from gnuradio.largesc.models.store import save_model, write_sha256
    from gnuradio.largesc.tasks.model import TaskModel, task_config
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    model = build_codec(SMALL_CODEC)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embedding_sum.normal_()
    save_model(model, SMALL_CODEC, folder, "codec")
    layers = {"depformer_num_layers": 1}
    save_model(small_lm(**layers), small_lm_config(**layers), folder, "lm")
    save_model(ControllerNetwork(16), {"dimension": 16}, folder, "controller")
    task = {
        "labels": ["on", "off", "_unknown_", "_silence_"],
        "student": {"labels": 4, "bands": 10, "channels": [4, 4, 4, 4, 4], "steps": 2},
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


@pytest.fixture(scope="session")
def spoken() -> np.ndarray:
    """Four seconds that rise and fall like syllables, with a pause, 24 kHz; read only."""
    t = np.arange(4 * 24000) / 24000
    tone = np.sin(2 * np.pi * 140 * t) + 0.5 * np.sin(2 * np.pi * 560 * t)
    envelope = np.maximum(0.0, np.sin(2 * np.pi * 3 * t)) * (t < 2.5)
    noise = np.random.default_rng(0).standard_normal(len(t)) * 0.001
    samples = (0.2 * tone * envelope + noise).astype(np.float32)
    samples.setflags(write=False)
    return samples


@pytest.fixture
def speech(spoken) -> np.ndarray:
    """The same, for a test that may change it."""
    return spoken.copy()


@pytest.fixture
def tb():
    """A flowgraph that is stopped behind the test."""
    from gnuradio import gr

    top = gr.top_block(catch_exceptions=False)
    yield top
    top.stop()
    top.wait()


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


@pytest.fixture(scope="module")
def minutes_of_steps():
    """Trains for as many steps as the config's minutes have seconds, however fast the machine."""
    with seconds_are_steps():
        yield


def memory_mb() -> float:
    """What this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def give_memory_back() -> None:
    """Flowgraphs and models refer to each other in circles; each thread had its own free memory."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def memory_comes_back(request):
    """Behind tests that have left much; behind each it would take too long."""
    yield
    stash = request.config.stash
    if memory_mb() > stash.get(LEFT_MB, 0.0) + MOST_LEFT_MB:
        give_memory_back()
        stash[LEFT_MB] = memory_mb()


def settle() -> None:
    """What is there now, as modules, is not looked through each time that memory is collected."""
    gc.unfreeze()
    give_memory_back()
    gc.freeze()


def pytest_collection_modifyitems(items) -> None:
    """Files that take long come first, then those of many tests: no worker ends alone with one."""
    counts = Counter(item.path.name for item in items)
    rank = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: (rank.get(item.path.name, len(rank)), -counts[item.path.name]))


def pytest_collection_finish() -> None:
    settle()


@pytest.fixture(scope="module", autouse=True)
def memory_of_a_file_comes_back(request):
    """Models that the package keeps for its next call are no longer needed."""
    yield
    for name, module in list(sys.modules.items()):
        if name.startswith("gnuradio.largesc."):
            for value in vars(module).values():
                if hasattr(value, "cache_clear") and hasattr(value, "__wrapped__"):
                    value.cache_clear()
    settle()
    request.config.stash[LEFT_MB] = memory_mb()


def peak_mb() -> float:
    """The most memory that this process had, not counted what it started."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def pytest_configure(config) -> None:
    config.stash[PEAKS_MB] = []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    node.config.stash[PEAKS_MB].append(getattr(node, "workeroutput", {}).get("peak_mb", 0.0))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session) -> None:
    """The memory of the tests' own processes together has a limit."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["peak_mb"] = peak_mb()
        return
    peaks = session.config.stash[PEAKS_MB]
    peaks.append(peak_mb())
    if sum(peaks) > MOST_MEMORY_MB and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config) -> None:
    peaks = config.stash[PEAKS_MB]
    each = " + ".join(f"{peak:.0f}" for peak in peaks)
    said = f"memory at most {sum(peaks):.0f} MB ({each}) of {MOST_MEMORY_MB}"
    terminalreporter.write_line(said, red=sum(peaks) > MOST_MEMORY_MB)
