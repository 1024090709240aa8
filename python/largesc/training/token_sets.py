# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech as tokens of a codec, made once and kept in a file."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

from ..codec.speech_encoder import SILENCE_DBFS
from ..files import replacing
from ..speech.files import from_pcm16
from ..speech.format import FRAME_SAMPLES


@dataclass(frozen=True)
class TokenSet:
    """Tokens of many utterances, one after the other.

    Attributes:
        tokens: uint16 ``[frames, 8]``.
        latents: float16 ``[frames, dimension]``.
        starts: int64 ``[utterances + 1]``, first frame of each utterance, then the end.
        text: int32 ``[frames]``, text tokens and placeholders, see ``text``; or None.
        text_pieces: tokens that the text's tokenizer has; 0 without text.
        levels: float16 ``[frames]``, RMS in dBFS; None in older files.
    """

    tokens: np.ndarray
    latents: np.ndarray
    starts: np.ndarray
    text: np.ndarray | None = None
    text_pieces: int = 0
    levels: np.ndarray | None = None


@torch.inference_mode()
def encode_all(codec, samples: np.ndarray, utterances: list) -> TokenSet:
    """Encodes whole utterances offline.

    Raises:
        ValueError: none is as long as a frame.
    """
    tokens, latents, levels, starts = [], [], [], [0]
    for number, u in enumerate(utterances):
        count = u.samples // FRAME_SAMPLES
        if count == 0:
            continue
        pcm = from_pcm16(samples[u.start : u.start + count * FRAME_SAMPLES])
        latent = codec.model._encode_to_unquantized_latent(torch.from_numpy(pcm)[None, None])
        codes = codec.model.quantizer.encode(latent)
        tokens.append(codes[0, :8].T.numpy().astype(np.uint16))
        latents.append(latent[0].T.numpy().astype(np.float16))
        levels.append(levels_dbfs(pcm.reshape(count, FRAME_SAMPLES)))
        starts.append(starts[-1] + count)
        if number % 500 == 0:
            print(f"tokens: {number} of {len(utterances)} utterances", flush=True)
    if not tokens:
        raise ValueError(f"none of {len(utterances)} utterances is as long as a frame of 80 ms")
    return TokenSet(
        np.concatenate(tokens),
        np.concatenate(latents),
        np.array(starts),
        levels=np.concatenate(levels),
    )


def levels_dbfs(frames: np.ndarray) -> np.ndarray:
    """RMS of ``frames`` ``[n, samples]``, float16 ``[n]``; as ``EncodedFrame.level_dbfs``."""
    power = np.square(frames, dtype=np.float64).mean(axis=1)
    return np.maximum(20.0 * np.log10(np.sqrt(power) + 1e-12), SILENCE_DBFS).astype(np.float16)


def save(found: TokenSet, path: Path) -> None:
    """Writes a token set as npz; ``path`` is replaced as a whole."""
    parts = {"tokens": found.tokens, "latents": found.latents, "starts": found.starts}
    if found.levels is not None:
        parts["levels"] = found.levels
    if found.text is not None:
        parts |= {"text": found.text, "text_pieces": found.text_pieces}
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(file, **parts)


def load(path: Path) -> TokenSet:
    """Reads what :func:`save` wrote.

    Raises:
        ValueError: the file is not there yet, or is none.
    """
    if not path.exists():
        raise ValueError(f"{path} is missing: run `largesc train tokens` first")
    try:
        with np.load(path) as data:
            text = (data["text"], int(data["text_pieces"])) if "text" in data else (None, 0)
            levels = data["levels"] if "levels" in data else None
            return TokenSet(data["tokens"], data["latents"], data["starts"], *text, levels)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} holds no tokens that can be read ({error}): run `largesc train tokens` again"
        ) from error
