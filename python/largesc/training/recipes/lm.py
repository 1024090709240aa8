# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-trains the token language model on cached tokens.

    largesc train lm --config lm.yaml --work WORK --codec MODEL --output MODEL

The checkpoint in ``--work`` is resumed; ``--output`` receives ``lm.json`` and ``lm.safetensors``.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from ...codec.codebooks import codebooks_of
from ...codec.load import load_codec
from ...concealment.build_lm import build_language_model
from ...models.store import save_model, write_sha256
from ..config import recipe_parser, start
from ..run import Run, descend
from ..token_losses import CodebookLosses, batch_of, weights_of
from ..token_sets import load

DEFAULT_CONFIG = Path(__file__).parent / "lm.yaml"
CONFIG_KEYS = ("seed", "model", "training", "codebook_weights")


@torch.no_grad()
def start_from_codebooks(model: nn.Module, codec: nn.Module, seed: int) -> None:
    """Starts embeddings and output layers from the codec's codebooks ``[2048, dimension]``.

    Tokens that sound alike then begin alike: 2048 entries a codebook are too many to learn one by
    one from hours of speech. All codebooks share one random projection, so that the sum of their
    embeddings is a projection of the quantised latent.
    """
    generator = torch.Generator().manual_seed(seed)
    books = list(torch.from_numpy(codebooks_of(codec)))
    rms = torch.cat(books).square().sum(dim=1).mean().sqrt()
    dimension = books[0].shape[1]

    def project(book: torch.Tensor, width: int) -> torch.Tensor:
        projection = torch.randn(dimension, width, generator=generator) / width**0.5
        return book @ projection / rms

    state = generator.get_state()
    for k, book in enumerate(books[: model.n_q]):
        generator.set_state(state)
        model.emb[k].weight[: len(book)] = project(book, model.emb[k].weight.shape[1])
    state = generator.get_state()
    for k, book in enumerate(books[: model.dep_q]):
        generator.set_state(state)
        if k + 1 < model.dep_q:
            emb = model.depformer_emb[k].weight
            emb[: len(book)] = project(book, emb.shape[1])
        # A codebook that nothing was left for is all zero.
        own = book / book.square().sum(dim=1).mean().sqrt().clamp(min=1e-12) * rms
        model.linears[k].weight[:] = project(own, model.linears[k].weight.shape[1])


def corrupted(codes: torch.Tensor, share: float, seed: int) -> torch.Tensor:
    """``codes`` ``[B, 8, T]`` with ``share`` of the tokens from elsewhere in the same codebook.

    A context with wrong tokens is what the link gives, and it cannot be learnt by heart.
    """
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(codes.shape, generator=generator) < share
    flat = codes.transpose(0, 1).flatten(1)
    order = torch.randperm(flat.shape[1], generator=generator)
    other = flat[:, order.to(codes.device)].reshape(codes.transpose(0, 1).shape).transpose(0, 1)
    return torch.where(wrong.to(codes.device), other, codes)


def train(config: dict, work: Path, codec: str, accelerator: Accelerator) -> nn.Module:
    """Trains for the config's minutes of computing in all and returns the model."""
    train_set, dev_set = load(work / "tokens_train.npz"), load(work / "tokens_dev.npz")
    facts, seed = config["training"], config["seed"]
    model = build_language_model(config["model"]).train()
    start_from_codebooks(model, load_codec(codec).model, seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=facts["rate"], betas=(0.9, 0.95))
    losses_of = CodebookLosses(model)
    network, optimiser = accelerator.prepare(losses_of, optimiser)
    run = Run(work / "lm.pt", config["model"], facts["minutes"], accelerator)
    run.keep(model=model, optimiser=optimiser)
    rng = np.random.default_rng(seed + run.step + 1000 * accelerator.process_index)
    dev, _ = batch_of(dev_set, 16, facts["frames"], np.random.default_rng(99))
    dev = dev.to(accelerator.device)
    weights = weights_of(config, accelerator.device)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        return {f"dev_{k}": float(v) for k, v in enumerate(losses_of(dev))}

    for _ in run.steps(optimiser, facts["rate"], evaluate):
        codes, _ = batch_of(train_set, facts["batch"], facts["frames"], rng)
        codes = codes.to(accelerator.device)
        heard = corrupted(codes, facts["corrupted"], seed + run.step)
        loss = (network(codes, heard) * weights).sum()
        descend(optimiser, loss, accelerator)
        run.now = {"loss": float(loss.detach())}
    return model.eval()


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train lm`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("lm", __doc__.split("\n\n")[0], DEFAULT_CONFIG, minutes=True)
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--codec", default="embedded", help="model source of the tokens' codec")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS)
    accelerator = Accelerator()
    model = train(config, args.work, args.codec, accelerator)
    if accelerator.is_main_process:
        save_model(model, config["model"], args.output, "lm", int8=True)
        write_sha256(args.output)


if __name__ == "__main__":
    main()
