# SPDX-License-Identifier: GPL-3.0-or-later
"""Pre-trains the token language model on cached tokens.

    largesc train lm --work DIR --minutes 30 --output FOLDER

The checkpoint in ``--work`` is resumed; ``--output`` receives ``lm.json`` and ``lm.safetensors``.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..models.build_lm import build_language_model
from ..models.loader import load_codec, save_model, write_sha256
from .run import Run
from .tokens import TokenSet, load

# First codebook first: it carries most of what is heard. Our choice, the paper leaves it open.
CODEBOOK_WEIGHTS = (4.0, 2.0, 1.5, 1.0, 0.8, 0.7, 0.6, 0.5)


@torch.no_grad()
def start_from_codebooks(model: nn.Module, codec: nn.Module, seed: int) -> None:
    """Starts embeddings and output layers from the codec's codebooks ``[2048, dimension]``.

    Tokens that sound alike then begin alike: 2048 entries a codebook are too many to learn one by
    one from hours of speech. All codebooks share one random projection, so that the sum of their
    embeddings is a projection of the quantised latent.
    """
    generator = torch.Generator().manual_seed(seed)
    books = [layer._codebook.embedding.float() for layer in codec.quantizer.vq.layers]
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
        own = book / book.square().sum(dim=1).mean().sqrt() * rms
        model.linears[k].weight[:] = project(own, model.linears[k].weight.shape[1])


def batch_of(found: TokenSet, size: int, frames: int, rng: np.random.Generator) -> torch.Tensor:
    """Random crops within single utterances where possible, int64 ``[size, 8, frames]``."""
    out = np.empty((size, 8, frames), dtype=np.int64)
    for row in range(size):
        # Crops may run into the next utterance: a cut is what a real link sees as well.
        start = int(rng.integers(0, len(found.tokens) - frames))
        out[row] = found.tokens[start : start + frames].T
    return torch.from_numpy(out)


def codebook_losses(model: nn.Module, codes: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of each codebook in nats, ``[8]``, for ``codes`` ``[B, 8, T]``."""
    batch, streams, frames = codes.shape
    text = torch.full((batch, 1, frames), model.text_padding_token_id)
    result = model(torch.cat([text, codes], dim=1))
    losses = []
    for k in range(streams):
        mask = result.mask[:, k]
        losses.append(F.cross_entropy(result.logits[:, k][mask].float(), codes[:, k][mask]))
    return torch.stack(losses)


def train(args: argparse.Namespace, config: dict) -> nn.Module:
    """Trains for ``args.minutes`` of computing in all and returns the model."""
    train_set, dev_set = load(args.work / "tokens_train.npz"), load(args.work / "tokens_dev.npz")
    model = build_language_model(config).train()
    start_from_codebooks(model, load_codec(args.codec).model, args.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.95))
    run = Run(args.work / "lm.pt", config, args.minutes)
    run.keep(model=model, optimiser=optimiser)
    rng = np.random.default_rng(args.seed + run.step)
    dev = batch_of(dev_set, 16, 100, np.random.default_rng(99))
    weights = torch.tensor(CODEBOOK_WEIGHTS) / sum(CODEBOOK_WEIGHTS)
    run.begin()
    while not run.over():
        for group in optimiser.param_groups:
            group["lr"] = args.rate * run.rate_factor()
        codes = batch_of(train_set, args.batch, args.frames, rng)
        loss = (codebook_losses(model, codes) * weights).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if run.end_step():
            with torch.no_grad():
                found = {f"dev_{k}": float(v) for k, v in enumerate(codebook_losses(model, dev))}
            run.report(loss=float(loss.detach()), **found)
    run.save()
    return model.eval()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="largesc train lm", description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder with the tokens")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "lm.json")
    parser.add_argument("--codec", default="embedded", help="model source of the tokens' codec")
    parser.add_argument("--batch", type=int, default=16, help="crops a step")
    parser.add_argument("--frames", type=int, default=100, help="frames a crop")
    parser.add_argument("--minutes", type=float, default=30.0, help="computing time in all")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    config = json.loads(args.config.read_text())
    model = train(args, config)
    save_model(model, config, args.output, "lm", int8=True)
    write_sha256(args.output)


if __name__ == "__main__":
    main()
