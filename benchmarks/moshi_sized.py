# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes a language model of official Moshi's form and size (7.7 B weights, 15.4 GB), all random.

    python benchmarks/moshi_sized.py FOLDER
    /usr/bin/time -v largesc train lora --base FOLDER --config lora.yaml ...

For time and memory of the adaptation where the official weights are not at hand. What comes out
says nothing.
"""

import argparse
import json
import struct
from pathlib import Path

import torch
from moshi.models.lm import LMModel
from moshi.models.loaders import _lm_kwargs

DEVIATION = 0.02


def shapes() -> dict[str, torch.Size]:
    """Name and shape of each tensor of an ``LMModel`` of Moshi's form."""
    state = LMModel(device="meta", **_lm_kwargs).state_dict()
    return {name: value.shape for name, value in state.items()}


def write_random(path: Path, wanted: dict[str, torch.Size], seed: int = 1) -> None:
    """Writes bfloat16 tensors, norms 1, all else normal, one at a time: safetensors' own writer
    holds them all twice."""
    generator = torch.Generator().manual_seed(seed)
    header, end = {}, 0
    for name, shape in wanted.items():
        begin, end = end, end + 2 * shape.numel()
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in wanted.items():
            value = torch.ones(shape)
            if "norm" not in name:
                value.normal_(0.0, DEVIATION, generator=generator)
            value.bfloat16().view(torch.int16).numpy().tofile(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if (folder / "model.safetensors").exists():
        parser.error(f"{folder} holds a model already: move it away, or give another folder")
    wanted = shapes()
    folder.mkdir(parents=True, exist_ok=True)
    write_random(folder / "model.safetensors", wanted)
    count = sum(shape.numel() for shape in wanted.values())
    print(f"{count / 1e9:.2f} B weights in {folder}")


if __name__ == "__main__":
    main()
