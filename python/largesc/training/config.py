# SPDX-License-Identifier: GPL-3.0-or-later
"""What all recipes share on their command line: a YAML config, a work folder, threads."""

import argparse
from pathlib import Path

import torch
import yaml

from ..files import writable_folder


def recipe_parser(
    name: str, description: str, config: Path, minutes: bool = False
) -> argparse.ArgumentParser:
    """Parser of ``largesc train NAME`` with the options that every recipe has.

    Args:
        name: of the recipe.
        description: one line.
        config: the default.
        minutes: with an option for the config's minutes, of each stage where there are several.
    """
    parser = argparse.ArgumentParser(prog=f"largesc train {name}", description=description)
    parser.add_argument("--config", type=Path, default=config, help="YAML [%(default)s]")
    parser.add_argument("--work", type=Path, required=True, help="folder for cache and checkpoints")
    parser.add_argument("--threads", type=int, default=2, help="of torch [%(default)s]")
    if minutes:
        parser.add_argument("--minutes", type=float, help="in place of the config's")
    return parser


def start(args: argparse.Namespace, keys: tuple[str, ...]) -> dict:
    """Reads the config of a recipe (see :func:`read_config`) and sets threads and seed.

    Folders for models are made and tried, so that hours of training do not end at one.

    Raises:
        ValueError: a folder cannot be written, or see :func:`read_config`.
    """
    config = read_config(args.config, keys)
    for name in ("output", "merged"):
        if getattr(args, name, None) is not None:
            writable_folder(getattr(args, name))
    if getattr(args, "minutes", None) is not None:
        for facts in config["stages"].values() if "stages" in config else [config["training"]]:
            if "minutes" in facts:
                facts["minutes"] = args.minutes
    torch.set_num_threads(args.threads)
    torch.manual_seed(config["seed"])
    return config


def read_config(path: Path, keys: tuple[str, ...]) -> dict:
    """The config as a dict with exactly ``keys`` at its top.

    Raises:
        ValueError: the file is missing, no YAML, or has other keys.
    """
    if not path.is_file():
        raise ValueError(f"config {path} is missing: give the path of a YAML file")
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"config {path} is no valid YAML: {error}") from error
    if not isinstance(found, dict) or set(found) != set(keys):
        have = sorted(found) if isinstance(found, dict) else type(found).__name__
        raise ValueError(f"config {path} has {have}: expected {sorted(keys)}")
    return found
