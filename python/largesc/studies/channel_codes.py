# SPDX-License-Identifier: GPL-3.0-or-later
"""Channel codes that studies of the translation link compare, from where they lie."""

from functools import cache
from pathlib import Path

from ..channel_codec.dense import DenseCode
from ..channel_codec.linear import LinearCode
from ..channel_codec.load import (
    DENSE_PART,
    LINEAR,
    PART,
    TRAINED_PART,
    load_channel_code,
    load_dense,
)
from ..models.packaged import sha256_of
from ..models.store import ModelError, resolve


@cache
def load_code(source: str, symbols: int) -> LinearCode | DenseCode:
    """Loads a channel code for ``symbols`` a frame.

    Raises:
        ModelError: it is not there, or the paper's code is of another number of symbols.
    """
    if not (Path(source) / f"{DENSE_PART}.json").is_file():
        return load_channel_code(source, symbols)
    code = load_dense(Path(source))
    if code.symbols != symbols:
        raise ModelError(f"{source} is of {code.symbols} symbols a frame, not {symbols}")
    return code


@cache
def code_sum(source: str) -> str:
    """Of a channel code: what was found with another one does not count."""
    if (Path(source) / f"{DENSE_PART}.json").is_file():
        return sha256_of(Path(source) / f"{DENSE_PART}.safetensors")
    folder = resolve("embedded" if source == LINEAR else source, PART)
    parts = [PART] if source == LINEAR else [PART, TRAINED_PART]
    paths = [folder / f"{part}.safetensors" for part in parts]
    return "".join(sha256_of(path) for path in paths if path.is_file())
