# SPDX-License-Identifier: GPL-3.0-or-later
"""Large models from their source: what lies in a folder tells the kind."""

import json
from pathlib import Path

from ..models.packaged import WHISPER
from ..models.store import ModelError, download
from .model import LargeModel

# Of a repository on the hub, both kinds: weights, tokenizer, configs.
FILES = ("*.json", "*.model", "*.txt", "model.bin", "model*.safetensors")
_MODELS: dict[str, LargeModel] = {}


def large_model(source: str) -> LargeModel:
    """The model of ``source``, loaded once a process.

    Args:
        source: ``base``; a folder of Whisper in CTranslate2's format or of SeamlessM4T v2 as
            transformers saves it; or ``hf://owner/name`` of one of these on the hub.

    Raises:
        ModelError: a package or a file is missing, or it is neither.
    """
    if source not in _MODELS:
        _MODELS[source] = loaded(source)
    return _MODELS[source]


def loaded(source: str) -> LargeModel:
    """The model of ``source``, loaded anew; see :func:`large_model`."""
    name = str(download(source, FILES)) if source.startswith("hf://") else source
    kind = "" if name in WHISPER else model_type(Path(name).expanduser())
    if not kind.startswith("seamless"):
        from .whisper import Whisper

        return Whisper(name)
    from .seamless import KIND, Seamless

    if kind != KIND:
        raise ModelError(f"{source!r} is a {kind}: give a {KIND}, as seamless-m4t-v2-large")
    return Seamless(Path(name).expanduser(), source)


def model_type(folder: Path) -> str:
    """What transformers calls the model of a folder; empty where it says nothing.

    Raises:
        ModelError: its config is no JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return ""
    try:
        return str(json.loads(path.read_text()).get("model_type", ""))
    except (OSError, AttributeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no config: expected a JSON object") from error
