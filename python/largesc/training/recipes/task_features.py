# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the layers of the task link's encoder to find in any speech what a large model hears.

    largesc train task-features --speech TABLE_OR_FOLDER --commands FOLDER --work WORK

``WORK/task_features.pt`` is for ``--layers`` of ``task``, with the same sizes of the student.
"""

import copy
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import nn

from ...evaluation.recogniser import JUDGE, SECOND
from ...features.student import LogMel, StudentConfig, StudentEncoder, padded
from ...files import replacing
from ...speech.activity import MOST_STEPS
from ...tasks.model import load_task
from ..command_batches import Roughened
from ..command_teacher import WhisperFeatures
from ..command_views import Varied
from ..config import recipe_parser, start
from ..heard_speech import Heard, prepare_heard
from ..run import CountedRun, average_into, descend
from .task_teacher import add_speech

DEFAULT_CONFIG = Path(__file__).parent / "task_features.yaml"
CONFIG_KEYS = ("seed", "student", "pieces", "directions", "training")
AVERAGE_SHARE = 0.01
# Of the pieces, that the directions are found by, and that development looks at.
FITTED, LOOKED_AT, PIECE = 4000, 1000, 250
# Steps of 10 ms for each of the layers' steps.
STUDENT_STEP = 8
NOISES = 400


class Directions:
    """The strongest directions of the teacher's features, as numbers of variance 1.

    Args:
        features: float16 ``[n, steps, width]``.
        rows: that they are found by.
        count: of the directions.

    Attributes:
        weight: of each one's error, its standard deviation, of mean 1.
    """

    def __init__(self, features: np.ndarray, rows: np.ndarray, count: int) -> None:
        self._features = features
        heard = normal(features[rows]).reshape(-1, features.shape[2])
        self._mean = heard.mean(axis=0)
        values, vectors = np.linalg.eigh(np.cov((heard - self._mean).T))
        deviation = np.sqrt(np.maximum(values[::-1][:count], 1e-6))
        self._turn = (vectors[:, ::-1][:, :count] / deviation).astype(np.float32)
        self.weight = torch.from_numpy((deviation / deviation.mean()).astype(np.float32))

    def of(self, rows: np.ndarray) -> torch.Tensor:
        """Float32 ``[rows, steps, count]``."""
        return torch.from_numpy((normal(self._features[rows]) - self._mean) @ self._turn)


def normal(features: np.ndarray) -> np.ndarray:
    """Each frame's features with mean 0 and variance 1."""
    found = features.astype(np.float32)
    found -= found.mean(axis=-1, keepdims=True)
    return found / (found.std(axis=-1, keepdims=True) + 1e-6)


class FramesHeard(nn.Module):
    """Layers of a student, and what they say of the teacher's features, a step of 80 ms each."""

    def __init__(self, student: StudentEncoder, count: int) -> None:
        super().__init__()
        self.layers = student.layers
        self.said = nn.Conv1d(student.config.channels[-1], count, 3, padding=1)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        return self.said(self.layers(mel)).transpose(1, 2)


@torch.no_grad()
def development(model: FramesHeard, heard: Heard, rows: np.ndarray, target: Directions) -> dict:
    """Error on ``rows``, where all that is not known is 1."""
    model.eval()
    errors = [
        error_of(model, torch.from_numpy(heard.mel[part].astype(np.float32)), part, target)
        for part in np.split(rows, range(PIECE, len(rows), PIECE))
    ]
    return {"dev_error": float(torch.stack(errors).mean())}


def noise_spectra(count: int, spectrum: LogMel, rng: np.random.Generator) -> np.ndarray:
    """Spectra of noise alone, float32 ``[count, bands, 160]``."""
    varied = Varied([], [])
    drawn = (torch.from_numpy(padded(varied.silence(rng)))[None] for _ in range(count))
    return torch.cat([spectrum(noise) for noise in drawn]).numpy()


def error_of(
    model: FramesHeard, mel: torch.Tensor, rows: np.ndarray, target: Directions
) -> torch.Tensor:
    """Mean squared error, each direction by its weight."""
    return ((model(mel) - target.of(rows)).square() * target.weight).mean()


def train(config: dict, work: Path) -> FramesHeard:
    """Trains for the config's steps in all; returns the running mean of the weights."""
    heard, facts = Heard(work), config["training"]
    learned, kept = np.flatnonzero(~heard.kept), np.flatnonzero(heard.kept)[:LOOKED_AT]
    kept = kept if len(kept) else learned[:LOOKED_AT]
    target = Directions(heard.features, learned[:FITTED], config["directions"])
    sizes = config["student"] | {"channels": tuple(config["student"]["channels"])}
    model = FramesHeard(StudentEncoder(StudentConfig(1, **sizes)), config["directions"])
    average = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=facts["rate"], weight_decay=1e-2)
    told = config | {"heard": heard.sum}
    run = CountedRun(work / "task_features_run.pt", told, facts["steps"])
    run.keep(model=model, average=average, optimiser=optimiser)
    rng = np.random.default_rng(config["seed"] + run.step)
    rough = Roughened(noise_spectra(NOISES, LogMel(heard.bands, heard.fft), rng), rng)

    def look() -> dict:
        return development(average, heard, kept, target)

    for _ in run.steps(optimiser, facts["rate"], look):
        rows = np.sort(rng.choice(learned, facts["batch"]))
        mel = torch.from_numpy(rough(heard.mel[rows].astype(np.float32)))
        loss = error_of(model, mel, rows, target)
        descend(optimiser, loss)
        average_into(average, model, max(AVERAGE_SHARE, 1.0 / (run.step + 2)))
        run.now = {"error": float(loss.detach())}
    print(look(), flush=True)
    state = {"student": config["student"], "layers": average.layers.state_dict()}
    with replacing(work / "task_features.pt") as partial:
        torch.save(state, partial)
    return average


def load_layers(source: str, student: StudentEncoder) -> None:
    """Puts layers that :func:`train` wrote, or those of a model, into a student.

    Raises:
        ValueError: there are none, or of other sizes.
    """
    sizes = sizes_of(student)
    if not source.endswith(".pt"):
        found = load_task(source).student
        theirs, layers = sizes_of(found), found.layers.state_dict()
    elif Path(source).is_file():
        theirs, layers = read_layers(Path(source))
    else:
        raise ValueError(f"--layers {source} is missing: run `largesc train task-features`")
    if theirs != sizes:
        raise ValueError(f"--layers {source} has sizes {theirs}, the config {sizes}")
    student.layers.load_state_dict(layers)


def read_layers(path: Path) -> tuple[dict, dict]:
    """Sizes and weights that :func:`train` wrote.

    Raises:
        ValueError: the file is of something else, or damaged.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        return state["student"], state["layers"]
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, UnpicklingError) as error:
        raise ValueError(
            f"--layers {path} is no file of task-features: give WORK/task_features.pt"
        ) from error


def sizes_of(student: StudentEncoder) -> dict:
    """All sizes but the number of labels."""
    return {k: v for k, v in student.config.as_dict().items() if k != "labels"}


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train task-features`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("task-features", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    parser.add_argument("--speech", type=Path, required=True, help="any speech, folder or table")
    add_speech(parser, other=False)
    parser.add_argument("--steps", type=int, help="in place of the config's")
    parser.add_argument(
        "--recogniser", default=SECOND, help="that is listened to, never the judge [%(default)s]"
    )
    args = parser.parse_args(arguments)
    if args.recogniser == JUDGE:
        parser.error(f"--recogniser {JUDGE} judges and must not teach: use {SECOND}, or a folder")
    config = start(args, CONFIG_KEYS)
    if args.steps is not None:
        config["training"]["steps"] = args.steps
    told = config | {name: config["student"][name] for name in ("bands", "fft")}
    whisper = WhisperFeatures(args.recogniser, MOST_STEPS, MOST_STEPS // STUDENT_STEP)
    prepare_heard(args.work, args.speech, args.commands, told, whisper)
    train(config, args.work)


if __name__ == "__main__":
    main()
