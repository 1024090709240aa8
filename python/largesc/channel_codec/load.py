# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel codes from their source: ``embedded``, or a folder of `largesc train channel-code`."""

from pathlib import Path

import numpy as np

from ..models.store import (
    ModelError,
    check_sha256,
    made_by_others,
    pack,
    read_config,
    resolve,
    unpack,
)
from .linear import LinearCode, Statistics

PART = "channel_code"


def load_channel_code(source: str = "embedded", symbols: int = 64) -> LinearCode:
    """The linear code of a model's features.

    Args:
        source: ``embedded``, for Whisper base, or a folder.
        symbols: complex symbols a feature frame of 20 ms.

    Raises:
        ModelError: nothing usable is there.
        ValueError: ``symbols`` is out of range.
    """
    from safetensors.numpy import load_file

    folder = resolve(source, PART)
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
    return LinearCode(found, symbols)


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
