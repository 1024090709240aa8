# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns the checkpoint of a finished codec stage into a model folder.

largesc train export --work DIR --output FOLDER
"""

import argparse
from pathlib import Path

from ...codec.build import build_codec
from ...models.store import save_model, write_sha256
from ..run import read_checkpoint
from .codec import STAGES


def checkpoint(work: Path, stage: str) -> dict:
    """The checkpoint of a stage, or a ValueError that names it."""
    path = work / f"{stage}.pt"
    if not path.exists():
        raise ValueError(
            f"{path} is missing: run the stage {stage!r} of `largesc train codec` first"
        )
    return read_checkpoint(path)


def export_codec(work: Path, output: Path, stage: str = "decoder", share: float = 1.0) -> dict:
    """Writes ``codec.json``, ``codec.safetensors`` and ``sha256.json``; returns what was trained.

    Args:
        work: folder of the checkpoints.
        output: model folder to write.
        stage: the last one to take.
        share: of this stage in the mean with the stage before.

    Raises:
        ValueError: the stage has not been run.
    """
    state = checkpoint(work, stage)
    model = build_codec(state["config"])
    model.load_state_dict(state["model"])
    if share < 1.0:
        before = checkpoint(work, STAGES[STAGES.index(stage) - 1])["model"]
        for name, value in model.named_parameters():
            value.data.lerp_(before[name], 1.0 - share)
    if "average" in state:
        model.decoder.load_state_dict(state["average"])
    save_model(model, state["config"], output, "codec")
    write_sha256(output)
    return {"steps": state["step"], "minutes": state["seconds"] / 60, "curve": state["curve"]}


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train export`` with ``arguments``; None: those of the process."""
    parser = argparse.ArgumentParser(
        prog="largesc train export", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="folder of the checkpoints")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--stage", default="decoder", choices=STAGES)
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the stage, in the mean with the one before"
    )
    args = parser.parse_args(arguments)
    facts = export_codec(args.work, args.output, args.stage, args.share)
    print(f"{args.output}: {facts['steps']} steps in {facts['minutes']:.0f} minutes")


if __name__ == "__main__":
    main()
