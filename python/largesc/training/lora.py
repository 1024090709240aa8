# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapts a pre-trained language model for concealment, by LoRA with peft.

    largesc train lora --config lora.yaml --work WORK --base MODEL --output ADAPTER

In the link the model never sees what was lost: its context holds what it put there itself. So each
step first fills the gaps of a crop with samples of the model as it is, and then asks for the true
tokens in them. The text stream is padding, or, with ``text_weight``, aligned text, see ``text``.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn
from torch.nn import functional as F

from ..channel.loss_patterns import LossPatterns
from ..concealment.load import WITH_TEXT, load_language_model
from ..models.store import read_config, resolve, save_model, write_sha256
from .config import recipe_parser, start
from .lm import batch_of, outputs_of, token_losses, weights_of
from .run import Run, descend
from .text import TextIds
from .tokens import TokenSet, load

DEFAULT_CONFIG = Path(__file__).parent / "lora.yaml"
CONFIG_KEYS = (
    "seed",
    "lora",
    "training",
    "codebook_weights",
    "text_weight",
    "received",
    "temperature",
    "dtype",
    "checkpointing",
)


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


def train(config: dict, work: Path, base: str, accelerator: Accelerator) -> nn.Module:
    """Trains for the config's minutes of computing in all and returns the adapted model."""
    train_set, dev_set = load(work / "tokens_train.npz"), load(work / "tokens_dev.npz")
    facts, seed, device = config["training"], config["seed"], accelerator.device
    model = load_language_model(base).model.to(getattr(torch, config["dtype"]))
    for part in (model.transformer, model.depformer):
        part.checkpointing = config["checkpointing"]
    model = adapted(model.to(device), config["lora"]).train()
    text_ids = None
    if config["text_weight"] > 0.0:
        text_ids = TextIds(model, train_set.text_pieces)
        for name, found in (("training", train_set), ("development", dev_set)):
            if found.text is None or found.text_pieces != train_set.text_pieces:
                raise ValueError(
                    f"the {name} tokens have no words of this tokenizer: run `largesc train "
                    "tokens --text-tokenizer` anew, or set text_weight to 0"
                )
            text_ids.check(found.text)
    losses_of = GapLosses(model, config["temperature"], text_ids)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=facts["rate"], betas=(0.9, 0.95))
    network, optimiser = accelerator.prepare(losses_of, optimiser)
    made_with = config["lora"] | {"base": absolute(base), "text": text_ids is not None}
    run = Run(work / "lora.pt", made_with, facts["minutes"], accelerator)
    run.keep(adapter=Adapter(model), optimiser=optimiser)
    own_seed = seed + run.step + 1000 * accelerator.process_index
    rng, draws = np.random.default_rng(own_seed), LossPatterns(**config["received"], seed=own_seed)
    weights, names = weights_of(config, device), [f"dev_{k}" for k in range(8)]
    if text_ids is not None:
        weights = torch.cat([weights, weights.new_tensor([config["text_weight"]])])
        names.append("dev_text")

    def batch(found: TokenSet, size: int, rng: np.random.Generator, draws: LossPatterns) -> tuple:
        codes, text = batch_of(found, size, facts["frames"], rng)
        arrives = torch.from_numpy(draws.draw(size, facts["frames"]))
        return codes.to(device), arrives.to(device), text.to(device)

    dev = batch(dev_set, 16, np.random.default_rng(99), LossPatterns(**config["received"], seed=99))

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        with torch.random.fork_rng():
            torch.manual_seed(99)
            return {n: float(v) for n, v in zip(names, losses_of(*dev), strict=True)}

    for _ in run.steps(optimiser, facts["rate"], evaluate):
        loss = (network(*batch(train_set, facts["batch"], rng, draws)) * weights).sum()
        descend(optimiser, loss, accelerator)
        run.now = {"loss": float(loss.detach())}
    return model.eval()


def main(arguments: list[str] | None = None) -> None:
    parser = recipe_parser("lora", __doc__.split("\n\n")[0], DEFAULT_CONFIG, minutes=True)
    parser.add_argument("--base", default="embedded", help="model source of the language model")
    parser.add_argument("--output", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--merged", type=Path, help="model folder for the adapted model, 8 bit")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    accelerator = Accelerator()
    model = train(config, args.work, args.base, accelerator)
    if not accelerator.is_main_process:
        return
    save_adapter(model, absolute(args.base), args.output)
    note_text(args.output, config["text_weight"] > 0.0)
    if args.merged:
        facts = read_config(resolve(args.base, "lm"), "lm")
        save_model(model.merge_and_unload(), facts, args.merged, "lm", int8=True)
        note_text(args.merged, config["text_weight"] > 0.0)
        write_sha256(args.merged)


def save_adapter(model: nn.Module, base: str, folder: Path) -> None:
    """Writes the adapter of ``model`` in peft's format, with the source of its ``base``."""
    model.peft_config["default"].base_model_name_or_path = base
    # Else peft looks for a config of the base model, on the hub if need be.
    model.save_pretrained(folder, save_embedding_layers=False)


def absolute(source: str) -> str:
    """A model source that means the same from any folder."""
    return source if source == "embedded" or "://" in source else str(Path(source).resolve())


def note_text(folder: Path, text: bool) -> None:
    """Tells the loader whether the text stream of the model in ``folder`` holds text."""
    if text:
        (folder / WITH_TEXT).touch()
    else:
        (folder / WITH_TEXT).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
