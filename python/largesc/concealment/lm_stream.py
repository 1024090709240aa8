# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps moshi's ``LMModel`` frame by frame with any subset of the tokens given.

moshi's own ``LMGen`` replaces all tokens of a step or none, so the loop over the depth transformer
is here: received tokens are forced, the others sampled.
"""

import numpy as np
import torch
from moshi.modules.transformer import StreamingMultiheadAttention, StreamingTransformer

from .._core import ERASED_TOKEN

HISTORY_FRAMES = 32


class LanguageModelStream:
    """One stream of token frames through an ``LMModel`` with acoustic delay 0.

    Each frame is one step: the temporal transformer has seen all frames before, the depth
    transformer then goes through the 8 tokens of this one.

    Args:
        model: moshi ``LMModel`` with ``dep_q`` of 8, all delays 0.
        temperature: of the sampling; 0 takes the most likely token.
        top_k: tokens to choose among.
        other_tokens: tokens that audio streams beyond the eighth carry, ``[n_q - 8]``; none: zero
            tokens, which the model leaves out.
        seed: of the sampling.
    """

    def __init__(
        self,
        model: object,
        temperature: float = 0.7,
        top_k: int = 50,
        other_tokens: list[int] | None = None,
        seed: int = 1,
    ) -> None:
        if max(model.delays) != 0:
            raise ValueError(
                f"acoustic delay {max(model.delays)} is not supported yet: use a language model "
                "with all delays 0"
            )
        if temperature < 0.0 or top_k < 1:
            raise ValueError(f"temperature {temperature} below 0 or top_k {top_k} below 1")
        self.model, self.temperature, self.top_k = model, temperature, top_k
        others = model.n_q - model.dep_q
        self.other_tokens = other_tokens or [model.zero_token_id] * others
        self._generator = torch.Generator().manual_seed(seed)
        self._attention = [
            m for m in model.transformer.modules() if isinstance(m, StreamingMultiheadAttention)
        ]
        self._temporal = [
            m for m in model.transformer.modules() if isinstance(m, StreamingTransformer)
        ]
        model.streaming_forever(1)
        # Its own cycle within one frame: begun anew for each, without new caches.
        model.depformer.streaming_forever(1)
        self.reset()

    @torch.inference_mode()
    def reset(self) -> None:
        """Forgets everything; the next frame is the first."""
        self.model.reset_streaming()
        start = torch.full((1, 1 + self.model.n_q, 1), self.model.initial_token_id)
        start[0, 0] = self.model.text_initial_token_id
        self._inputs = [start]
        self._hidden, _ = self.model.forward_text(start)

    @torch.inference_mode()
    def step(self, tokens: np.ndarray) -> np.ndarray:
        """Completes one frame, uint16 ``[8]`` with 0xFFFF where a token is missing."""
        tokens = np.asarray(tokens, dtype=np.int64).copy()
        if np.any(tokens == ERASED_TOKEN):
            tokens = self._fill(tokens)
        self._advance(self._input_of(tokens))
        return tokens.astype(np.uint16)

    @torch.inference_mode()
    def replace(self, frames_ago: int, tokens: np.ndarray) -> bool:
        """Corrects the frame ``frames_ago`` (1: the newest) and replays all after it at once.

        Missing tokens keep what was filled in. Returns False when the frame is too long ago.
        """
        if not 1 <= frames_ago < len(self._inputs):
            return False
        tokens = np.asarray(tokens, dtype=np.int64)
        known = torch.from_numpy(np.flatnonzero(tokens != ERASED_TOKEN))
        corrected = self._inputs[-frames_ago].clone()
        corrected[0, 1 + known, 0] = torch.from_numpy(tokens)[known]
        self._inputs[-frames_ago] = corrected
        self._rewind(frames_ago)
        hidden, _ = self.model.forward_text(torch.cat(self._inputs[-frames_ago:], dim=2))
        self._hidden = hidden[:, -1:]
        return True

    def _input_of(self, tokens: np.ndarray) -> torch.Tensor:
        row = [self.model.text_padding_token_id, *tokens.tolist(), *self.other_tokens]
        return torch.tensor(row)[None, :, None]

    def _advance(self, step_input: torch.Tensor) -> None:
        self._hidden, _ = self.model.forward_text(step_input)
        self._inputs = [*self._inputs[-HISTORY_FRAMES:], step_input]

    def _rewind(self, steps: int) -> None:
        # By offsets: the caches hold what lies behind them, and it is written over.
        for module in self._attention:
            state = module._streaming_state
            state.offset -= steps
            state.offset_cpu -= steps
            state.kv_cache.end_offset -= steps
        for module in self._temporal:
            module._streaming_state.offsets -= steps

    def _fill(self, tokens: np.ndarray) -> np.ndarray:
        model = self.model
        previous = torch.full((1, 1, 1), model.text_padding_token_id)
        last_missing = int(np.flatnonzero(tokens == ERASED_TOKEN)[-1])
        model.depformer.reset_streaming()
        for k in range(last_missing + 1):
            logits = model.forward_depformer(k, previous, self._hidden)
            if tokens[k] == ERASED_TOKEN:
                tokens[k] = self._sample(logits[0, 0, 0])
            previous = torch.full((1, 1, 1), int(tokens[k]))
        return tokens

    def _sample(self, logits: torch.Tensor) -> int:
        logits = logits.float()
        if not torch.isfinite(logits).all():
            raise FloatingPointError("the language model gave logits that are not finite")
        if self.temperature == 0.0:
            return int(logits.argmax())
        best, where = torch.topk(logits / self.temperature, min(self.top_k, logits.shape[0]))
        chance = torch.softmax(best, dim=0)
        return int(where[torch.multinomial(chance, 1, generator=self._generator)])
