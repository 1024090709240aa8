# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech as tokens of a codec, made once and kept in a file."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

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
    """

    tokens: np.ndarray
    latents: np.ndarray
    starts: np.ndarray
    text: np.ndarray | None = None
    text_pieces: int = 0


@torch.inference_mode()
def encode_all(codec, samples: np.ndarray, utterances: list) -> TokenSet:
    """Encodes whole utterances offline.

    Raises:
        ValueError: none is as long as a frame.
    """
    tokens, latents, starts = [], [], [0]
    for number, u in enumerate(utterances):
        count = u.samples // FRAME_SAMPLES
        if count == 0:
            continue
        pcm = from_pcm16(samples[u.start : u.start + count * FRAME_SAMPLES])
        latent = codec.model._encode_to_unquantized_latent(torch.from_numpy(pcm)[None, None])
        codes = codec.model.quantizer.encode(latent)
        tokens.append(codes[0, :8].T.numpy().astype(np.uint16))
        latents.append(latent[0].T.numpy().astype(np.float16))
        starts.append(starts[-1] + count)
        if number % 500 == 0:
            print(f"tokens: {number} of {len(utterances)} utterances", flush=True)
    if not tokens:
        raise ValueError(f"none of {len(utterances)} utterances is as long as a frame of 80 ms")
    return TokenSet(np.concatenate(tokens), np.concatenate(latents), np.array(starts))


def save(found: TokenSet, path: Path) -> None:
    """Writes a token set as npz."""
    parts = {"tokens": found.tokens, "latents": found.latents, "starts": found.starts}
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
            text = (data["text"], int(data["text_pieces"])) if "text" in data else ()
            return TokenSet(data["tokens"], data["latents"], data["starts"], *text)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(
            f"{path} holds no tokens that can be read ({error}): run `largesc train tokens` again"
        ) from error
