# SPDX-License-Identifier: GPL-3.0-or-later
"""LoRA adapters (peft) of a language model, and its losses in the gaps of what arrives."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from torch.nn import functional as F

from .text import TextIds
from .token_losses import outputs_of, token_losses


class Adapter:
    """The adapter's part of a model's state, for the checkpoint."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state_dict(self) -> dict:
        return get_peft_model_state_dict(self.model)

    def load_state_dict(self, state: dict) -> None:
        set_peft_model_state_dict(self.model, state)


def adapted(model: nn.Module, facts: dict) -> nn.Module:
    """``model`` with trainable LoRA layers, all else frozen.

    Raises:
        ValueError: the targets match no layer.
    """
    config = LoraConfig(
        r=facts["rank"],
        lora_alpha=facts["alpha"],
        target_modules=facts["targets"],
        lora_dropout=0.0,
    )
    model = get_peft_model(model, config)
    for module in model.modules():
        # A slice through frozen weights becomes a product for each row, with copies of the weights.
        if isinstance(module, nn.Linear) and not module.weight.requires_grad:
            module.register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))
    return model


class GapLosses(nn.Module):
    """Adapted model and its losses as one module that can be spread over processes.

    Args:
        model: moshi ``LMModel``, adapted.
        temperature: of what it puts into gaps.
        text_ids: for a text stream of words, else it is padding.
    """

    def __init__(
        self, model: nn.Module, temperature: float, text_ids: TextIds | None = None
    ) -> None:
        super().__init__()
        self.model, self.temperature, self.text_ids = model, temperature, text_ids

    @torch.no_grad()
    def filled(
        self, codes: torch.Tensor, arrives: torch.Tensor, ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """``codes`` ``[B, 8, T]`` with samples of the model where they do not arrive.

        One pass, each gap sampled as if all before it, and the text ``ids`` ``[B, T]``, were known.
        """
        missing = ~arrives
        if not missing.any():
            return codes
        logits = outputs_of(self.model, codes, ids).logits
        chance = torch.softmax(logits[missing].float().nan_to_num(nan=0.0) / self.temperature, -1)
        heard = codes.clone()
        heard[missing] = torch.multinomial(chance, 1)[:, 0]
        return heard

    def forward(
        self, codes: torch.Tensor, arrives: torch.Tensor, text: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean cross-entropy in nats over gaps, or all tokens of a crop without, ``[8]``.

        With ``text_ids`` that of the ``text`` ``[B, T]`` comes behind them, ``[9]``.
        """
        ids, spoken = (None, None) if self.text_ids is None else self.text_ids.of(text)
        result = outputs_of(self.model, self.filled(codes, arrives, ids), ids)
        losses = token_losses(result.logits.float(), codes)
        clean = arrives.flatten(1).all(dim=1)[:, None, None]
        counted = (result.mask & (~arrives | clean)).to(losses)
        losses = torch.where(counted > 0, losses, 0.0)
        found = losses.sum(dim=(0, 2)) / counted.sum(dim=(0, 2)).clamp(min=1.0)
        if ids is None:
            return found
        logits = result.text_logits[:, 0].float()
        said = F.cross_entropy(logits.transpose(1, 2), ids, reduction="none")
        return torch.cat([found, (said * spoken).sum()[None] / spoken.sum().clamp(min=1)])


def save_adapter(model: nn.Module, base: str, folder: Path) -> None:
    """Writes the adapter of ``model`` in peft's format, with the source of its ``base``."""
    model.peft_config["default"].base_model_name_or_path = base
    # Else peft looks for a config of the base model, on the hub if need be.
    model.save_pretrained(folder, save_embedding_layers=False)


def absolute(source: str) -> str:
    """A model source that means the same from any folder."""
    return source if source == "embedded" or "://" in source else str(Path(source).resolve())
