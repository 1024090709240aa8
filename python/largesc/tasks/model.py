# SPDX-License-Identifier: GPL-3.0-or-later
"""The model of the task link: encoder, adaptive module, codebook, receiver and labels in one."""

from dataclasses import dataclass

import torch
from torch import nn

from ..channel_codec.snr_adaptive import AdaptiveConfig, SnrAdaptiveCodec
from ..features.student import LogMel, StudentConfig, StudentEncoder
from ..models.store import ModelError, load_weights, made_by_others, read_config, resolve

UNKNOWN, SILENCE = "_unknown_", "_silence_"


@dataclass(frozen=True)
class TaskConfig:
    """What ``task.json`` holds.

    Attributes:
        labels: the commands, then :data:`UNKNOWN` and :data:`SILENCE`.
        student: sizes of the encoder.
        codec: sizes of what lies about the channel.
    """

    labels: tuple[str, ...]
    student: StudentConfig
    codec: AdaptiveConfig

    def as_dict(self) -> dict:
        """Returns the values that ``task.json`` keeps."""
        parts = {"student": self.student.as_dict(), "codec": self.codec.as_dict()}
        return {"labels": list(self.labels)} | parts


class TaskModel(nn.Module):
    """Encoder and codec of a task link.

    Args:
        config: labels and sizes.

    Raises:
        ValueError: labels and sizes do not fit.
    """

    def __init__(self, config: TaskConfig) -> None:
        super().__init__()
        classes = len(config.labels)
        if {config.student.labels, config.codec.classes} != {classes}:
            raise ValueError(f"{classes} labels do not fit to the sizes of the config")
        if classes < 3 or tuple(config.labels[-2:]) != (UNKNOWN, SILENCE):
            raise ValueError(f"the labels are commands, then {UNKNOWN} and {SILENCE}")
        self.config = config
        self.mel = LogMel(config.student.bands, config.student.fft)
        self.student = StudentEncoder(config.student)
        self.codec = SnrAdaptiveCodec(config.codec)


def task_config(facts: dict) -> TaskConfig:
    """The config as it was read from ``task.json``."""
    codec = dict(facts["codec"])
    codec["symbols"] = tuple(codec["symbols"])
    student = facts["student"] | {"channels": tuple(facts["student"]["channels"])}
    return TaskConfig(tuple(facts["labels"]), StudentConfig(**student), AdaptiveConfig(**codec))


def load_task(source: str = "embedded") -> TaskModel:
    """The model of a task link from ``embedded``, a folder or ``hf://owner/name``.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    folder = resolve(source, "task")
    facts = read_config(folder, "task")
    with made_by_others(source):
        model = TaskModel(task_config(facts))
    load_weights(model, folder, "task")
    if not all(torch.isfinite(p).all() for p in model.state_dict().values()):
        raise ModelError(f"{source!r} has weights that are no numbers: train it again")
    return model.requires_grad_(False).eval()
