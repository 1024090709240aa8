# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of analogue speech, from its source: ``embedded`` or a folder of `largesc train`."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..files import replacing
from ..models.store import (
    ModelError,
    check_sha256,
    made_by_others,
    pack,
    read_config,
    resolve,
    unpack,
)
from .refiner import LatentRefiner, RefinerConfig
from .spread import LatentStatistics

PART = "analogue"
OF_CODE = ("mean", "basis", "variance")


@dataclass(frozen=True)
class AnalogueCode:
    """Statistics of the channel code, and the network behind it."""

    statistics: LatentStatistics
    refiner: LatentRefiner


def load_analogue_code(source: str = "embedded") -> AnalogueCode:
    """The channel code of analogue speech.

    Args:
        source: ``embedded``, for the embedded codec, or a folder.

    Raises:
        ModelError: nothing usable is there.
    """
    from safetensors.torch import load_file

    folder = resolve(source, PART)
    config, path = read_config(folder, PART), folder / f"{PART}.safetensors"
    if not path.is_file():
        raise ModelError(f"{path} is missing: is {folder} a complete model folder?")
    check_sha256(path)
    with made_by_others(source):
        state = unpack(load_file(path))
        statistics = LatentStatistics(**{name: state.pop(name).numpy() for name in OF_CODE})
        refiner = LatentRefiner(RefinerConfig(**config))
        refiner.load_state_dict({n.removeprefix("refiner."): v for n, v in state.items()})
        size = len(statistics.variance)
        if statistics.basis.shape != (size, size) or len(refiner.mean) != statistics.dimension:
            raise ModelError(f"{path} and {PART}.json do not belong together")
    if not all(torch.isfinite(value).all() for value in refiner.state_dict().values()):
        raise ModelError(f"{source!r} has weights that are no numbers: train it again")
    return AnalogueCode(statistics, refiner.requires_grad_(False).eval())


def save_analogue_code(found: AnalogueCode, folder: Path) -> None:
    """Writes ``analogue.json`` and ``analogue.safetensors``, matrices in 8 bit."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    fitted = {name: np.float32(getattr(found.statistics, name)) for name in OF_CODE}
    state = {name: torch.from_numpy(value.copy()) for name, value in fitted.items()}
    state |= {f"refiner.{name}": value for name, value in found.refiner.state_dict().items()}
    with replacing(folder / f"{PART}.safetensors") as partial:
        save_file(pack(state, int8=True), partial)
    with replacing(folder / f"{PART}.json") as partial:
        partial.write_text(json.dumps(found.refiner.config.as_dict(), indent=2) + "\n")
