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
from torch import nn

from ...channel.loss_patterns import LossPatterns
from ...concealment.load import WITH_TEXT, load_language_model
from ...models.store import read_config, resolve, save_model, write_sha256
from ..adapters import Adapter, GapLosses, absolute, adapted, save_adapter
from ..config import recipe_parser, start
from ..run import Run, descend
from ..text import TextIds
from ..token_losses import batch_of, weights_of
from ..token_sets import TokenSet, load

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
    """Runs ``largesc train lora`` with ``arguments``; None: those of the process."""
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


def note_text(folder: Path, text: bool) -> None:
    """Tells the loader whether the text stream of the model in ``folder`` holds text."""
    if text:
        (folder / WITH_TEXT).touch()
    else:
        (folder / WITH_TEXT).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
