# SPDX-License-Identifier: GPL-3.0-or-later
"""How far what a recogniser reads in decoded speech is from what it reads in the original.

The teacher is Whisper. Two distances: of the words that its decoder expects behind those that it
wrote down from the original, and of the features that this decoder reads, that is their keys and
values in all layers.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..speech.files import from_pcm16
from ..speech.format import FRAME_SAMPLES
from .speech import Utterance, open_samples
from .whisper_mel import WhisperMel
from .whisper_weights import encoded, token_logits, whisper_of

START, TRANSCRIBE, NO_TIMES, END = (
    "<|startoftranscript|>",
    "<|transcribe|>",
    "<|notimestamps|>",
    "<|endoftext|>",
)
# Cut exactly at the end of speech, Whisper loses the last word.
SILENT_FRAMES = 6
TOKENS_PER_FRAME = 0.67


@dataclass(frozen=True)
class Lesson:
    """What Whisper makes of a crop.

    Attributes:
        rows: numbers of its frames and of the one behind, ``[T + 1]``.
        tokens: prompt, what it wrote down, and end, int64 ``[n]``.
        words: log-probabilities of each token behind the prompt, from the original speech.
        read: what its decoder reads in the speech that is decoded from the true latent.
    """

    rows: np.ndarray
    tokens: torch.Tensor
    words: torch.Tensor
    read: torch.Tensor


class Teacher(nn.Module):
    """Whisper and a codec's decoder, both frozen.

    Args:
        folder: of a faster-whisper model, with ``tokenizer.json``.
        decoder: latent ``[B, dimension, T]`` to speech ``[B, 1, samples]``.

    Raises:
        ValueError: the model or its tokenizer is missing, or another kind.
    """

    def __init__(self, folder: Path, decoder: nn.Module) -> None:
        super().__init__()
        import ctranslate2
        from tokenizers import Tokenizer

        if not (folder / "tokenizer.json").is_file():
            raise ValueError(f"{folder} has no tokenizer.json: give a folder of faster-whisper")
        self.whisper = whisper_of(folder)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # Writes down many times faster than torch does.
        self._writer = ctranslate2.models.Whisper(str(folder), compute_type="int8", intra_threads=1)
        self.mel = WhisperMel(self.whisper.config.num_mel_bins)
        self.decoder = decoder.requires_grad_(False)
        self.register_buffer("reading", reading_of(self.whisper))

    def heard(self, speech: torch.Tensor) -> torch.Tensor:
        """Features ``[B, n, width]`` of speech ``[B, samples]``."""
        silence = speech.new_zeros(speech.shape[0], SILENT_FRAMES * FRAME_SAMPLES)
        return encoded(self.whisper, self.mel(torch.cat([speech, silence], dim=1)))

    def rendered(self, latent: torch.Tensor) -> torch.Tensor:
        """Features of the speech that is decoded from ``latent`` ``[B, T, dimension]``."""
        return self.heard(self.decoder(latent.transpose(1, 2))[:, 0])

    def word_chances(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities ``[n, vocabulary]`` of each token behind the prompt."""
        prompt = int((tokens == self._id(NO_TIMES)).nonzero()[0, 0])
        logits = token_logits(self.whisper, features[None], tokens[None, :-1])
        return F.log_softmax(logits[0, prompt:], dim=-1)

    @torch.no_grad()
    def lesson(
        self, rows: np.ndarray, speech: torch.Tensor, latent: torch.Tensor, language: str
    ) -> Lesson:
        """Takes a crop's speech ``[samples]`` and true latents ``[T, dimension]``."""
        features = self.heard(speech[None])
        tokens = self._written(features, language, len(latent))
        words = self.word_chances(features[0], tokens)
        return Lesson(rows, tokens, words, self.rendered(latent[None])[0] @ self.reading)

    def losses(self, latent: torch.Tensor, lessons: list[Lesson]) -> dict[str, torch.Tensor]:
        """Mean losses of latents ``[B, T, dimension]`` by name.

        ``words``: divergence of the expected words in nats a token. ``features``: squared error of
        what is read, as a share of its variance.
        """
        features = self.rendered(latent)
        read = torch.stack([lesson.read for lesson in lessons])
        variance = (read - read.mean(dim=1, keepdim=True)).square().sum(dim=-1).mean()
        error = (features @ self.reading - read).square().sum(dim=-1).mean()
        apart = []
        for found, lesson in zip(features, lessons, strict=True):
            chances = self.word_chances(found, lesson.tokens)
            apart.append((lesson.words.exp() * (lesson.words - chances)).sum(dim=-1).mean())
        return {"words": torch.stack(apart).mean(), "features": error / variance}

    def _written(self, features: torch.Tensor, language: str, frames: int) -> torch.Tensor:
        from ctranslate2 import StorageView

        names = (START, f"<|{language}|>", TRANSCRIBE, NO_TIMES)
        # Models for English alone know neither language nor task.
        prompt = [i for name in names if (i := self._id(name)) is not None]
        heard = StorageView.from_array(np.ascontiguousarray(features.numpy()))
        most = len(prompt) + int(TOKENS_PER_FRAME * frames)
        found = self._writer.generate(heard, [prompt], beam_size=1, max_length=most)[0]
        return torch.tensor([*prompt, *found.sequences_ids[0], self._id(END)])

    def _id(self, name: str) -> int | None:
        return self.tokenizer.token_to_id(name)


class Lessons:
    """Crops of whole utterances, drawn in proportion to their length.

    Args:
        teacher: Whisper.
        cache: of ``speech.prepare``.
        places: utterance, its first frame in the tokens, and its frames.
        latents: of all frames, ``[frames, dimension]``.
        frames: frames a crop.
        languages: of each corpus that is not English, as Whisper names them.
        seed: of the crops.

    Raises:
        ValueError: no utterance is as long as a crop.
    """

    def __init__(
        self,
        teacher: Teacher,
        cache: Path,
        places: list[tuple[Utterance, int, int]],
        latents: np.ndarray,
        frames: int,
        languages: dict[str, str],
        seed: int,
    ) -> None:
        self.teacher, self.samples, self.latents = teacher, open_samples(cache), latents
        self.frames, self.languages = frames, languages
        self.places = [place for place in places if place[2] > frames]
        if not self.places:
            raise ValueError(f"no utterance has more than {frames} frames: set fewer in the config")
        weights = np.array([count for *_, count in self.places], dtype=float)
        self.weights = weights / weights.sum()
        self.rng = np.random.default_rng(seed)

    def draw(self) -> Lesson:
        """Draws a crop and returns the teacher's lesson on it."""
        utterance, begin, count = self.places[self.rng.choice(len(self.places), p=self.weights)]
        first = int(self.rng.integers(0, count - self.frames))
        start = utterance.start + first * FRAME_SAMPLES
        pcm = self.samples[start : start + self.frames * FRAME_SAMPLES]
        rows = begin + first + np.arange(self.frames + 1)
        latent = torch.from_numpy(self.latents[rows[:-1]].astype(np.float32))
        language = self.languages.get(utterance.corpus, "en")
        return self.teacher.lesson(rows, torch.from_numpy(from_pcm16(pcm)), latent, language)


def reading_of(whisper: nn.Module) -> torch.Tensor:
    """Root of what the decoder's keys and values weigh the features by, ``[width, width]``."""
    parts = []
    for layer in whisper.decoder.layers:
        parts += [layer.encoder_attn.k_proj.weight, layer.encoder_attn.v_proj.weight]
    stacked = torch.cat(parts).double()
    values, vectors = torch.linalg.eigh(stacked.T @ stacked)
    root = vectors @ torch.diag(values.clamp(min=0.0).sqrt()) @ vectors.T
    return (root / root.diagonal().mean()).float()
