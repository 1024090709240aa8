# SPDX-License-Identifier: GPL-3.0-or-later
"""Where every model comes from: ``embedded``, a local path, or ``hf://owner/name[@revision]``.

A model folder holds ``<part>.json`` (the config), ``<part>.safetensors`` (the weights) and, where
the weights ship with the project, ``sha256.json``; ``<part>`` is ``codec``, ``lm`` or
``controller``. A folder with a LoRA adapter in peft's format names its base. Folders and
repositories in the form of the official checkpoints (Mimi's ``tokenizer-*.safetensors``, Moshi's
``model.safetensors``) are recognised as well. What
becomes of them is in ``load`` of the room that runs the model.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ..files import replacing

EMBEDDED = Path(__file__).parent / "embedded"
# Float32 in every file: an entry is a sum over its usage, both large.
CODEBOOK_BUFFERS = ("cluster_usage", "embedding_sum", "_initialized")
# Of a repository on the hub: configs and official checkpoints.
FILES = ("*.json", "tokenizer-*.safetensors", "model.safetensors", "*.model")
SCALE_SUFFIX = ".int8_scale"


class ModelError(ValueError):
    """A model cannot be loaded; the message says what is missing and how to get it."""


def resolve(source: str, part: str) -> Path:
    """Folder (or weights file) that ``source`` names, downloaded if it is on the hub."""
    if source == "embedded":
        if not (EMBEDDED / f"{part}.safetensors").exists():
            raise ModelError(
                f"the embedded {part} is not installed in {EMBEDDED}: reinstall the module, or "
                "give a folder or hf://owner/name"
            )
        return EMBEDDED
    if source.startswith("hf://"):
        return download(source)
    path = Path(source).expanduser()
    if not path.exists():
        raise ModelError(
            f"unknown model {source!r}: expected 'embedded', an existing path, or "
            "'hf://owner/name[@revision]'"
        )
    return path


def download(source: str, files: tuple[str, ...] = FILES) -> Path:
    """Snapshot of a hub repository, from the local cache when there is no network.

    Args:
        source: ``hf://owner/name[@revision]``.
        files: patterns of those that are wanted.

    Raises:
        ModelError: it cannot be fetched, or the source is of another form.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = source.removeprefix("hf://").partition("@")
    try:
        found = snapshot_download(name, revision=revision or None, allow_patterns=list(files))
        return Path(found)
    except HFValidationError as error:
        raise ModelError(f"{source!r} is not of the form hf://owner/name[@revision]") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{source!r} could not be fetched ({type(error).__name__}). With network access run "
            f"'huggingface-cli download {name}' once (gated models need 'huggingface-cli login'), "
            "or give the path of a folder that holds the files"
        ) from error


def official_file(path: Path, pattern: str, source: str) -> Path:
    """The weights file of an official checkpoint in a folder, or the file itself."""
    found = [path] if path.is_file() else sorted(path.glob(pattern))
    if not found:
        raise ModelError(
            f"{source!r} holds neither a config of this project (codec.json, lm.json) nor "
            f"{pattern}: check the path"
        )
    return found[0]


def check_weights(path: Path) -> None:
    """Raises :class:`ModelError` for what is no file of weights.

    moshi would find out behind building the whole model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} holds no weights ({error}): fetch it again") from error


@contextmanager
def made_by_others(source: str) -> Iterator[None]:
    """Makes a :class:`ModelError` of whatever a config or weights of ``source`` lead to."""
    try:
        yield
    except (ImportError, ModelError):
        raise
    # Classes of moshi, peft and this project are made from what the files say.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{source!r} is no model that can be used ({type(error).__name__}: {reason}): check "
            "the path, or fetch it again"
        ) from error


def read_config(folder: Path, part: str) -> dict:
    """Reads ``<part>.json`` of a model folder."""
    path = folder / f"{part}.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: is {folder} a model folder?") from error
    except (OSError, RecursionError, ValueError) as error:
        raise ModelError(f"{path} is no valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is no config: expected a JSON object")
    return config


def load_weights(model: object, folder: Path, part: str) -> None:
    """Loads ``<part>.safetensors`` into ``model`` after checking its sha256 where one is given."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / f"{part}.safetensors"
    if not path.exists():
        raise ModelError(f"{path} is missing: is {folder} a complete model folder?")
    check_sha256(path)
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is corrupt ({error}): fetch it again") from error
    state = unpack(state)
    own = model.state_dict()
    for name, value in state.items():
        if name in own and own[name].shape != value.shape:
            raise ModelError(
                f"{path}: {name} has shape {tuple(value.shape)}, the config asks for "
                f"{tuple(own[name].shape)}: weights and config do not belong together"
            )
    missing, unexpected = model.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise ModelError(
            f"{path} does not fit its config: missing {list(missing)[:3]}, "
            f"unexpected {list(unexpected)[:3]}"
        )


@cache
def known_sha256(folder: Path) -> dict[str, str]:
    """File name to sha256 of a folder that carries ``sha256.json``, else empty."""
    path = folder / "sha256.json"
    return json.loads(path.read_text()) if path.exists() else {}


def check_sha256(path: Path) -> None:
    """Raises :class:`ModelError` when the file is listed and differs."""
    expected = known_sha256(path.parent).get(path.name)
    if expected is None:
        return
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise ModelError(
            f"{path} is corrupt: sha256 {found[:12]}... instead of {expected[:12]}...: "
            "reinstall the module"
        )


def save_model(model: object, config: dict, folder: Path, part: str, int8: bool = False) -> None:
    """Writes ``<part>.json`` and ``<part>.safetensors``, half precision but for codebooks.

    Args:
        int8: matrices as 8-bit integers with one scale a row, half the size again.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{part}.safetensors") as partial:
        save_file(pack(model.state_dict(), int8), partial)
    with replacing(folder / f"{part}.json") as partial:
        partial.write_text(json.dumps(config, indent=2) + "\n")


def pack(state: dict, int8: bool) -> dict:
    """State as it is stored; :func:`unpack` is the way back."""
    packed = {}
    for name, value in state.items():
        if name.endswith(CODEBOOK_BUFFERS) or not value.is_floating_point():
            packed[name] = value.contiguous().clone()
        elif int8 and value.dim() == 2:
            scale = value.abs().amax(1, keepdim=True).clamp(min=1e-12).float() / 127.0
            packed[name] = (value / scale).round().char()
            packed[name + SCALE_SUFFIX] = scale
        else:
            packed[name] = value.half().contiguous()
    return packed


def unpack(state: dict) -> dict:
    """Returns a stored state as float32, 8-bit weights multiplied by their scales."""
    import torch

    found = {}
    for name, value in state.items():
        if name.endswith(SCALE_SUFFIX):
            continue
        if value.dtype == torch.int8 and name + SCALE_SUFFIX in state:
            value = value.float() * state[name + SCALE_SUFFIX]
        found[name] = value.float() if value.dtype == torch.float16 else value
    return found


def write_sha256(folder: Path) -> None:
    """Writes ``sha256.json`` over the safetensors files of a folder."""
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }
    with replacing(folder / "sha256.json") as partial:
        partial.write_text(json.dumps(sums, indent=2) + "\n")
