# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the YAML config of a recipe."""

from pathlib import Path

import yaml


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
