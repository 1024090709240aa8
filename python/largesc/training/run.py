# SPDX-License-Identifier: GPL-3.0-or-later
"""A training run that may be killed at any time: checkpoint, learning curve, time left."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError

import torch

from ..files import replacing

# The tests cannot wait so long.
SAVE_EVERY_S = float(os.environ.get("LARGESC_SAVE_EVERY_S", "180"))
PRINT_EVERY_S = 30


class Run:
    """State of one stage of training, resumed from ``path`` where that exists.

    Args:
        path: checkpoint; replaced in one step, so that a kill leaves the old one whole.
        config: what the checkpoint must have been made with.
        minutes: computing time of the stage in all, resumed time included.
        accelerator: where several processes train together: the first one keeps time for all of
            them, prints and saves.

    Raises:
        ValueError: the checkpoint was made with another config, or cannot be read.
    """

    def __init__(
        self, path: Path, config: dict, minutes: float, accelerator: object | None = None
    ) -> None:
        self.path, self.config, self.minutes = path, config, minutes
        self.accelerator = accelerator
        self.main = accelerator is None or accelerator.is_main_process
        self._log = None
        self.step, self.seconds, self.curve = 0, 0.0, []
        # What the next line of progress says of the step.
        self.now: dict[str, float] = {}
        self.parts: dict = {}
        self.state: dict = {}
        if path.exists():
            self.state = read_checkpoint(path)
            if self.state["config"] != config:
                raise ValueError(f"{path} was made with another config: move it away first")
            self.step, self.seconds = self.state["step"], self.state["seconds"]
            self.curve = self.state["curve"]
        self._last_save = self._last_print = self._last_step = time.monotonic()
        self._print_every_s = PRINT_EVERY_S

    def keep(self, **parts: object) -> None:
        """Names modules and optimisers whose ``state_dict`` belongs to the checkpoint."""
        self.parts |= parts
        for name, part in parts.items():
            if self.state.get(name) is not None:
                part.load_state_dict(self.state[name])

    def over(self) -> bool:
        """Whether the computing time is used up."""
        return self.seconds >= self.minutes * 60

    def rate_factor(self, warm_up_steps: int = 100) -> float:
        """Factor of the learning rate: short warm-up, then a linear fall to a twentieth."""
        left = 1.0 - self.seconds / (self.minutes * 60)
        return min(1.0, (self.step + 1) / warm_up_steps) * max(0.05, left)

    def begin(self) -> None:
        """Starts the clock: what came before is not training."""
        self._last_step = time.monotonic()

    def end_step(self) -> bool:
        """Counts a step, saves when it is time; returns whether progress is due."""
        now = time.monotonic()
        self.step += 1
        self.seconds = self._agreed(self.seconds + now - self._last_step)
        self._last_step = now
        if now - self._last_save > SAVE_EVERY_S:
            self._last_save = now
            self.save()
        due = self.main and now - self._last_print > self._print_every_s
        if due:
            self._last_print = now
        return due

    def steps(
        self,
        optimiser: torch.optim.Optimizer,
        rate: float,
        evaluate: Callable[[], dict[str, float]] = dict,
    ) -> Iterator[None]:
        """One turn a step, with its learning rate set, until the time is used up; then saves.

        Args:
            optimiser: whose learning rate is set.
            rate: the highest learning rate; of a group with a ``share``, that of it.
            evaluate: what a line of progress says beside ``now``.
        """
        self.begin()
        first = self.step
        while not self.over():
            for group in optimiser.param_groups:
                group["lr"] = rate * group.get("share", 1.0) * self.rate_factor()
            yield
            if self.end_step():
                began = time.monotonic()
                found = evaluate()
                # It counts as training time, of which it takes a tenth at most.
                self._print_every_s = max(PRINT_EVERY_S, 9.0 * (time.monotonic() - began))
                self.report(**self.now, **found)
                self._last_print = time.monotonic()
        if self.step > first or not self.state:
            self.save()

    def _agreed(self, seconds: float) -> float:
        # All processes must end after the same step.
        if self.accelerator is None or self.accelerator.num_processes == 1:
            return seconds
        from accelerate.utils import broadcast

        device = self.accelerator.device
        return float(broadcast(torch.tensor(seconds, dtype=torch.float32, device=device)))

    def report(self, **values: float) -> None:
        """Prints one line of progress and adds it to the learning curve and to TensorBoard."""
        self.curve.append({"step": self.step, "seconds": self.seconds, **values})
        if self._log is None:
            from torch.utils.tensorboard import SummaryWriter

            self._log = SummaryWriter(self.path.parent / "tensorboard" / self.path.stem)
        for name, value in values.items():
            self._log.add_scalar(name, value, self.step)
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        left = self.minutes - self.seconds / 60
        speed = self.step / max(self.seconds, 1e-9)
        print(
            f"{self.path.stem} step {self.step} {shown} {speed:.2f} steps/s {left:.1f} min left",
            flush=True,
        )

    def save(self) -> None:
        """Writes the checkpoint beside the old one, then replaces that.

        Raises:
            OSError: it could not be written; the old one is whole.
        """
        if not self.main:
            return
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"config": self.config, "step": self.step, "seconds": self.seconds}
        with replacing(self.path) as partial:
            torch.save(state | {"curve": self.curve}, partial)


class CountedRun(Run):
    """A run of so many steps: what is compared must not depend on what else the machine does."""

    def __init__(self, path: Path, config: dict, steps: int) -> None:
        super().__init__(path, config, minutes=0.0)
        self.most = steps

    def over(self) -> bool:
        # What is left, as far as that can be known.
        self.minutes = self.seconds / max(self.step, 1) * self.most / 60
        return self.step >= self.most

    def rate_factor(self, warm_up_steps: int = 100) -> float:
        left = 1.0 - self.step / self.most
        return min(1.0, (self.step + 1) / warm_up_steps) * max(0.05, left)


@torch.no_grad()
def average_into(average: torch.nn.Module, model: torch.nn.Module, share: float) -> None:
    """Moves a running mean of a model's weights by ``share`` to what they are now."""
    states = zip(average.state_dict().values(), model.state_dict().values(), strict=True)
    for mean, now in states:
        mean.lerp_(now, share) if mean.is_floating_point() else mean.copy_(now)


def read_checkpoint(path: Path) -> dict:
    """What :meth:`Run.save` wrote.

    Raises:
        ValueError: the file is none, or is damaged.
    """
    try:
        state = torch.load(path, weights_only=False, map_location="cpu")
        if not {"config", "step", "seconds", "curve"} <= set(state):
            raise ValueError("parts are missing")
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, UnpicklingError) as error:
        raise ValueError(
            f"{path} is no checkpoint that can be read ({error}): move it away first"
        ) from error
    return state


def descend(
    optimiser: torch.optim.Optimizer, loss: torch.Tensor, accelerator: object | None = None
) -> None:
    """One step down the gradient of ``loss``, whose norm is clipped to 1.

    Raises:
        ValueError: the loss is not finite; the checkpoint is older and still is good.
    """
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss became {float(loss)}: run it again to go on from the last checkpoint, with "
            "a lower rate in the config if it happens again"
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward() if accelerator is None else accelerator.backward(loss)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimiser.step()
