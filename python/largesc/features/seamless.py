# SPDX-License-Identifier: GPL-3.0-or-later
"""SeamlessM4T v2 as the large model of both edges, by transformers.

Its speech encoder gives a frame of features each 160 ms, its text decoder the text. Units and
vocoder are left out: what is said at the end is Piper's. It hears by itself which language is
spoken.
"""

from pathlib import Path

import numpy as np

from ..models.store import ModelError, made_by_others, read_config
from ..models.whisper import most_tokens
from .filter_bank import as_seamless
from .model import Hypothesis, LargeModel
from .whisper import NO_REPEAT

INSTALL = "install it: pip install -c requirements.txt transformers sentencepiece"
KIND = "seamless_m4t_v2"
ENGLISH = "eng"
# Frames of the front that the encoder takes together before it makes one of eight of them.
STACKED = 2


class Seamless(LargeModel):
    """A folder of SeamlessM4T v2, as transformers saves it.

    It computes on the graphics processor, where torch knows of one, else on the CPU.

    Args:
        folder: with ``config.json``, ``generation_config.json``, weights and tokenizer.
        name: for messages; empty: the folder.

    Raises:
        ModelError: a package is not installed, a file is not there, or not what it should be.

    Attributes are those of every :class:`LargeModel`.
    """

    kind, front = "Seamless", "seamless"

    def __init__(self, folder: Path, name: str = "") -> None:
        self.name = name or str(folder)
        try:
            import sentencepiece  # noqa: F401
            from transformers import SeamlessM4TTokenizer, SeamlessM4Tv2ForSpeechToText
        except ImportError as error:
            raise ModelError(f"{error.name} is not installed; {INSTALL}") from error
        import torch

        with made_by_others(self.name):
            self._model, found = SeamlessM4Tv2ForSpeechToText.from_pretrained(
                folder, output_loading_info=True, local_files_only=True
            )
            # What is missing would be drawn at random.
            if missing := [*found["missing_keys"], *found["mismatched_keys"]]:
                raise ModelError(f"{self.name!r} lacks weights, as {missing[0]}: fetch it again")
            self._words = SeamlessM4TTokenizer.from_pretrained(folder, local_files_only=True)
            # Read here, since transformers leaves it out where the file says that it was made.
            codes = read_config(folder, "generation_config").get("text_decoder_lang_to_code_id", {})
            if ENGLISH not in codes:
                raise ModelError(
                    f"generation_config.json of {self.name!r} names no English in "
                    "text_decoder_lang_to_code_id: fetch it again"
                )
            self._codes, config = dict(codes), self._model.config
            self.languages = tuple(sorted(self._codes))
            # The adapter of the speech encoder has layers of one stride.
            self.stride = STACKED * config.adaptor_stride**config.num_adapter_layers
            self.width = config.hidden_size
            self._begin = config.decoder_start_token_id
            self._special = frozenset(self._words.all_special_ids)
            self._suppressed = sorted(self._special - {config.eos_token_id})
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = self._model.eval().requires_grad_(False).to(self._device)
        # It was trained on utterances that end where speech ends.
        self.silence = np.zeros((0, self.width), dtype=np.float32)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        """Features of frames, see :meth:`LargeModel.encode`."""
        import torch

        even = frames[: len(frames) // STACKED * STACKED]
        if not len(even):
            return np.zeros((0, self.width), dtype=np.float32)
        given = torch.from_numpy(as_seamless(even)[None]).to(self._device)
        with torch.inference_mode():
            found = self._model.speech_encoder(given).last_hidden_state
        return found[0].float().cpu().numpy()

    def decode(
        self,
        features: np.ndarray,
        language: str,
        forced: tuple[int, ...] = (),
        beam: int = 1,
        task: str = "translate",
    ) -> Hypothesis:
        """Text of features, see :meth:`LargeModel.decode`; with no silence behind them."""
        import torch
        from transformers import GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        heard = torch.from_numpy(np.ascontiguousarray(features[None], np.float32))
        heard = heard.to(self._device)
        code = self._codes[ENGLISH if task == "translate" else language]
        start = torch.tensor([[self._begin, code, *forced]], device=self._device)
        longest = max(2, most_tokens(len(features) / self.features_per_s) - len(forced))
        with torch.inference_mode():
            # The model's own way in takes no features.
            written = GenerationMixin.generate(
                self._model,
                encoder_outputs=BaseModelOutput(heard),
                decoder_input_ids=start,
                num_beams=beam,
                do_sample=False,
                max_new_tokens=longest,
                no_repeat_ngram_size=NO_REPEAT,
                suppress_tokens=self._suppressed,
            )
            confidence = self._confidence(heard, written, start.shape[1])
        new = written[0, start.shape[1] :].tolist()
        return Hypothesis(tuple(t for t in new if t not in self._special), confidence)

    def _confidence(self, heard: object, written: object, before: int) -> float:
        """Mean log probability of what was written behind so many tokens; 0 of nothing."""
        if written.shape[1] <= before:
            return 0.0
        decoder = self._model.text_decoder
        hidden = decoder(input_ids=written[:, :-1], encoder_hidden_states=heard, use_cache=False)
        logits = self._model.lm_head(hidden.last_hidden_state[0, before - 1 :]).float()
        found = logits.log_softmax(dim=-1).gather(1, written[0, before:, None])
        return float(found.mean())

    def state(self) -> dict[str, object]:
        """Returns the weights by their names in transformers, for what is fitted to them."""
        return self._model.state_dict()

    def text(self, tokens: tuple[int, ...]) -> str:
        """Returns the text that tokens stand for, by its pieces of words."""
        plain = [t for t in tokens if t not in self._special]
        return "".join(self._words.convert_ids_to_tokens(plain)).replace("\u2581", " ")
