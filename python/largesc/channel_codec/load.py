# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel codes from their source: ``embedded``, ``linear``, or a folder of `largesc train`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..models.store import (
    ModelError,
    check_sha256,
    load_weights,
    made_by_others,
    pack,
    read_config,
    resolve,
    unpack,
)
from .linear import LinearCode, Statistics

if TYPE_CHECKING:
    from .dense import DenseCode

PART, TRAINED_PART, DENSE_PART = "channel_code", "trained_code", "dense_code"
# Of the embedded ones, the closed form alone.
LINEAR = "linear"


def load_channel_code(source: str = "embedded", symbols: int = 64) -> LinearCode:
    """The channel code of a model's features.

    Args:
        source: ``embedded``, for Whisper base; ``linear``, the one that it began as; or a folder
            of `largesc train channel-code` or `largesc train trained-code`.
        symbols: complex symbols a feature frame of 20 ms.

    Raises:
        ModelError: nothing usable is there.
        ValueError: ``symbols`` is out of range.
    """
    name = "embedded" if source == LINEAR else source
    folder = resolve(name, PART)
    found = load_statistics(folder, name)
    if source == LINEAR or not (folder / f"{TRAINED_PART}.json").is_file():
        return LinearCode(found, symbols)
    return load_trained(folder, name, found, symbols)


def load_statistics(folder: Path, source: str) -> Statistics:
    """What the linear code of a folder is made from.

    Raises:
        ModelError: nothing usable is there.
    """
    from safetensors.numpy import load_file

    config, path = read_config(folder, PART), folder / f"{PART}.safetensors"
    if not path.is_file():
        raise ModelError(f"{path} is missing: is {folder} a complete model folder?")
    check_sha256(path)
    with made_by_others(source):
        import torch

        stored = {name: torch.from_numpy(value) for name, value in load_file(str(path)).items()}
        found = Statistics(**{name: value.numpy() for name, value in unpack(stored).items()})
        if found.basis.shape != (4 * config["width"], config["directions"]):
            raise ModelError(f"{path} and {PART}.json do not belong together")
    return found


def load_trained(folder: Path, source: str, found: Statistics, symbols: int) -> LinearCode:
    """The trained code of a folder.

    Raises:
        ModelError: nothing usable is there.
        ValueError: ``symbols`` is out of range.
    """
    # The linear code does without torch's modules.
    from .network import CodeNetwork, NetworkConfig
    from .trained import TrainedCode

    config = read_config(folder, TRAINED_PART)
    with made_by_others(source):
        network = CodeNetwork(NetworkConfig(**config), found)
        load_weights(network, folder, TRAINED_PART)
    if not all(value.isfinite().all() for value in network.state_dict().values()):
        raise ModelError(f"{source!r} has weights that are no numbers: train it again")
    return TrainedCode(network, found, symbols)


def load_dense(folder: Path) -> "DenseCode":
    """The paper's code, of ``WORK/dense`` of `largesc train trained-code`.

    Raises:
        ModelError: nothing usable is there.
    """
    from .dense import DenseCode

    config = read_config(folder, DENSE_PART)
    with made_by_others(str(folder)):
        code = DenseCode(**config)
        load_weights(code, folder, DENSE_PART)
    return code.requires_grad_(False).eval()


def save_channel_code(found: Statistics, config: dict, folder: Path) -> None:
    """Writes ``channel_code.json`` and ``channel_code.safetensors``, matrices in 8 bit."""
    import json

    import torch
    from safetensors.torch import save_file

    from ..files import replacing

    folder.mkdir(parents=True, exist_ok=True)
    state = {name: torch.from_numpy(np.float32(value)) for name, value in vars(found).items()}
    with replacing(folder / f"{PART}.safetensors") as partial:
        save_file(pack(state, int8=True), partial)
    with replacing(folder / f"{PART}.json") as partial:
        partial.write_text(json.dumps(config, indent=2) + "\n")
