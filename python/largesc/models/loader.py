# SPDX-License-Identifier: GPL-3.0-or-later
"""One loader for every model: ``embedded``, a local path, or ``hf://owner/name[@revision]``.

A model folder holds ``<part>.json`` (the config), ``<part>.safetensors`` (the weights) and, where
the weights ship with the project, ``sha256.json``; ``<part>`` is ``codec``, ``lm`` or
``controller``. A folder with a LoRA adapter in peft's format names its base. Folders and
repositories in the form of the official checkpoints (Mimi's ``tokenizer-*.safetensors``, Moshi's
``model.safetensors``) are recognised as well. An empty file ``with_text`` beside a language model
says that it was adapted with text. Whatever the source, moshi's own classes come out.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..files import replacing

EMBEDDED = Path(__file__).parent / "embedded"
# Float32 in every file: an entry is a sum over its usage, both large.
CODEBOOK_BUFFERS = ("cluster_usage", "embedding_sum", "_initialized")
SCALE_SUFFIX = ".int8_scale"
# Lies beside a language model that was adapted with text; LMModel has no place for it.
WITH_TEXT = "with_text"


class ModelError(ValueError):
    """A model cannot be loaded; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class Codec:
    """A loaded codec.

    Attributes:
        model: moshi ``MimiModel``, 8 codebooks active, in evaluation mode.
        delay_samples: samples by which the decoded speech lags, beyond the frame itself.
        dimension: width of the unquantised latent.
        name: the source, for messages.
    """

    model: object
    delay_samples: int
    dimension: int
    name: str
    num_codebooks: int = 8


@dataclass(frozen=True)
class LanguageModel:
    """A loaded moshi ``LMModel``.

    Attributes:
        model: of moshi, in evaluation mode.
        acoustic_delay: 0 or 1 frames.
        name: the source, for messages.
        text: adapted with text, so that its text stream holds what it says; else padding.
    """

    model: object
    acoustic_delay: int
    name: str
    text: bool = False


def load_codec(source: str = "embedded") -> Codec:
    """Loads a codec.

    Args:
        source: ``embedded``, a folder, a Mimi weights file, or ``hf://owner/name[@revision]``.

    Raises:
        ModelError: nothing usable is there; the message gives the remedy.
    """
    folder = resolve(source, "codec")
    if (folder / "codec.json").exists():
        from .build import build_codec

        config = read_config(folder, "codec")
        model = build_codec(config)
        load_weights(model, folder, "codec")
        return Codec(model, config["delay_samples"], config["encoder"]["dimension"], source)
    from moshi.models import loaders

    weights = official_file(folder, "tokenizer-*.safetensors", source)
    try:
        model = loaders.get_mimi(weights, device="cpu", num_codebooks=8)
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{weights} does not hold Mimi weights: {error}") from error
    return Codec(model.eval(), 0, model.dimension, source)


def load_language_model(source: str = "embedded") -> LanguageModel:
    """Loads a token language model; sources as for :func:`load_codec`.

    Raises:
        ModelError: nothing usable is there, or memory does not suffice.
    """
    folder = resolve(source, "lm")
    if (folder / "adapter_config.json").exists():
        return load_adapted(folder, source)
    if (folder / "lm.json").exists():
        from .build_lm import build_language_model

        model = build_language_model(read_config(folder, "lm"))
        load_weights(model, folder, "lm")
        return LanguageModel(model.eval(), max(model.delays), source, (folder / WITH_TEXT).exists())
    import torch
    from moshi.models import loaders

    weights = official_file(folder, "model.safetensors", source)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    require_memory(weights, device)
    try:
        model = loaders.get_moshi_lm(weights, device=device)
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        raise ModelError(f"{weights} does not hold Moshi weights: {error}") from error
    return LanguageModel(model.eval(), max(model.delays), source)


def load_adapted(folder: Path, source: str) -> LanguageModel:
    """A language model with the LoRA adapter in ``folder`` (peft's format) merged into it."""
    from peft import PeftModel

    config = json.loads((folder / "adapter_config.json").read_text())
    base = load_language_model(config["base_model_name_or_path"])
    model = PeftModel.from_pretrained(base.model, str(folder)).merge_and_unload()
    return LanguageModel(model.eval(), base.acoustic_delay, source, (folder / WITH_TEXT).exists())


def load_estimator(source: str = "embedded") -> object | None:
    """Loads the ``LatentEstimator`` beside a model; None where there is none, as with Moshi."""
    path = resolve(source, "lm") / "estimator.safetensors"
    if not path.is_file():
        return None
    from safetensors.numpy import load_file

    from ..concealment.estimator import LatentEstimator

    check_sha256(path)
    try:
        return LatentEstimator(load_file(str(path)))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is no estimator that can be read: {error}") from error


def load_controller(source: str = "embedded") -> object:
    """Loads the learned controller network; ``embedded`` or a folder.

    Raises:
        ModelError: nothing usable is there.
    """
    from ..control.network import ControllerNetwork

    folder = resolve(source, "controller")
    config = read_config(folder, "controller")
    model = ControllerNetwork(**config)
    load_weights(model, folder, "controller")
    return model.eval()


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


def download(source: str) -> Path:
    """Snapshot of a hub repository, from the local cache when there is no network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = source.removeprefix("hf://").partition("@")
    patterns = ["*.json", "tokenizer-*.safetensors", "model.safetensors", "*.model"]
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
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
    if path.is_file():
        return path
    found = sorted(path.glob(pattern))
    if not found:
        raise ModelError(
            f"{source!r} holds neither a config of this project (codec.json, lm.json) nor "
            f"{pattern}: check the path"
        )
    return found[0]


def read_config(folder: Path, part: str) -> dict:
    """Reads ``<part>.json`` of a model folder."""
    path = folder / f"{part}.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing: is {folder} a model folder?") from error
    except json.JSONDecodeError as error:
        raise ModelError(f"{path} is no valid JSON: {error}") from error


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


def require_memory(weights: Path, device: str) -> None:
    """Raises :class:`ModelError` when the weights cannot fit into the memory of ``device``."""
    import torch

    needed = weights.stat().st_size
    if device == "cuda":
        free = torch.cuda.mem_get_info()[0]
    else:
        free = available_memory()
    if needed > free:
        raise ModelError(
            f"{weights} needs {needed / 2**30:.1f} GiB, {device} has {free / 2**30:.1f} GiB free: "
            "use a machine with more memory or a GPU, the model 'embedded', or the concealer "
            "'interpolate'"
        )


def available_memory() -> int:
    """Bytes of the machine that programs can have; the page cache is among them."""
    path = Path("/proc/meminfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable"):
            return 1024 * int(line.split()[1])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


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
    """Stored state as float32."""
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
