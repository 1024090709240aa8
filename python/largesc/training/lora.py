# SPDX-License-Identifier: GPL-3.0-or-later
"""Adapts a pre-trained language model for concealment, by LoRA with peft.

    largesc train lora --config lora.yaml --work WORK --base MODEL --output ADAPTER

In the link the model never sees what was lost: its context holds what it put there itself. So each
step first fills the gaps of a crop with samples of the model as it is, and then asks for the true
tokens in them. The text stream is padding.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from torch import nn

from ..models.loader import load_language_model, read_config, resolve, save_model, write_sha256
from .config import recipe_parser, start
from .lm import batch_of, logits_of, token_losses, weights_of
from .received import Receiver
from .run import Run, descend
from .tokens import load

DEFAULT_CONFIG = Path(__file__).parent / "lora.yaml"
CONFIG_KEYS = (
    "seed",
    "lora",
    "training",
    "codebook_weights",
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
    return get_peft_model(model, config)


class GapLosses(nn.Module):
    """Adapted model and its losses as one module that can be spread over processes."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model, self.temperature = model, temperature

    @torch.no_grad()
    def filled(self, codes: torch.Tensor, arrives: torch.Tensor) -> torch.Tensor:
        """``codes`` ``[B, 8, T]`` with samples of the model where they do not arrive.

        One pass, each gap sampled as if all before it were known.
        """
        logits = logits_of(self.model, codes)[0].nan_to_num(nan=0.0)
        chance = torch.softmax(logits / self.temperature, dim=-1)
        drawn = torch.multinomial(chance.flatten(0, 2), 1).reshape(codes.shape)
        return torch.where(arrives, codes, drawn)

    def forward(self, codes: torch.Tensor, arrives: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy in nats over gaps, or all tokens of a crop without, ``[8]``."""
        logits, known = logits_of(self.model, self.filled(codes, arrives))
        losses = token_losses(logits, codes)
        clean = arrives.flatten(1).all(dim=1)[:, None, None]
        counted = (known & (~arrives | clean)).to(losses)
        losses = torch.where(counted > 0, losses, 0.0)
        return losses.sum(dim=(0, 2)) / counted.sum(dim=(0, 2)).clamp(min=1.0)


def train(config: dict, work: Path, base: str, accelerator: Accelerator) -> nn.Module:
    """Trains for the config's minutes of computing in all and returns the adapted model."""
    train_set, dev_set = load(work / "tokens_train.npz"), load(work / "tokens_dev.npz")
    facts, seed, device = config["training"], config["seed"], accelerator.device
    model = load_language_model(base).model.to(getattr(torch, config["dtype"]))
    for part in (model.transformer, model.depformer):
        part.checkpointing = config["checkpointing"]
    model = adapted(model.to(device), config["lora"]).train()
    losses_of = GapLosses(model, config["temperature"])
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=facts["rate"], betas=(0.9, 0.95))
    network, optimiser = accelerator.prepare(losses_of, optimiser)
    run = Run(work / "lora.pt", config["lora"], facts["minutes"], accelerator)
    run.keep(adapter=Adapter(model), optimiser=optimiser)
    own_seed = seed + run.step + 1000 * accelerator.process_index
    rng, draws = np.random.default_rng(own_seed), Receiver(**config["received"], seed=own_seed)
    dev = batch_of(dev_set, 16, facts["frames"], np.random.default_rng(99)).to(device)
    dev_arrives = torch.from_numpy(
        Receiver(**config["received"], seed=99).draw(16, facts["frames"])
    ).to(device)
    weights = weights_of(config, device)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        with torch.random.fork_rng():
            torch.manual_seed(99)
            return {f"dev_{k}": float(v) for k, v in enumerate(losses_of(dev, dev_arrives))}

    for _ in run.steps(optimiser, facts["rate"], evaluate):
        codes = batch_of(train_set, facts["batch"], facts["frames"], rng).to(device)
        arrives = torch.from_numpy(draws.draw(*codes.shape[::2])).to(device)
        loss = (network(codes, arrives) * weights).sum()
        descend(optimiser, loss, accelerator)
        run.now = {"loss": float(loss.detach())}
    return model.eval()


def main(arguments: list[str] | None = None) -> None:
    parser = recipe_parser("lora", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    parser.add_argument("--base", default="embedded", help="model source of the language model")
    parser.add_argument("--output", type=Path, required=True, help="folder for the adapter")
    parser.add_argument("--merged", type=Path, help="model folder for the adapted model, 8 bit")
    parser.add_argument("--minutes", type=float, help="in place of the config's")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    if args.minutes is not None:
        config["training"]["minutes"] = args.minutes
    accelerator = Accelerator()
    model = train(config, args.work, args.base, accelerator)
    if not accelerator.is_main_process:
        return
    base = args.base if args.base == "embedded" or "://" in args.base else Path(args.base).resolve()
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(args.output)
    if args.merged:
        facts = read_config(resolve(args.base, "lm"), "lm")
        save_model(model.merge_and_unload(), facts, args.merged, "lm", int8=True)
        write_sha256(args.merged)


if __name__ == "__main__":
    main()
