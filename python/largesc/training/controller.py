# SPDX-License-Identifier: GPL-3.0-or-later
"""A first training of the learned controller, language model frozen.

    largesc train controller --work DIR --lm FOLDER --output FOLDER

The expected loss of a frame is the cross-entropy of each token times the chance that it is not
received: (1 - m_s (1 - p)) (1 - m_c (1 - p)), since a copy travels in another packet. The cross-
entropies come from the frozen language model once, before the training. Added is gamma times the
number of tokens sent. This is the paper's first stage with the expectation in closed form, in place
of sampled losses; its second, joint stage is not done.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..control.network import ControllerNetwork, mask
from ..models.loader import load_language_model, save_model, write_sha256
from .tokens import load

FRAMES = 50


@torch.inference_mode()
def cross_entropies(model: torch.nn.Module, tokens: np.ndarray, frames: int) -> torch.Tensor:
    """Cross-entropy in nats of each token, teacher forced, ``[n, 8, FRAMES]``."""
    found = []
    count = min(frames, len(tokens)) // FRAMES
    codes = torch.from_numpy(tokens[: count * FRAMES].astype(np.int64))
    for block in codes.reshape(count, FRAMES, 8).transpose(1, 2).split(16):
        text = torch.full((len(block), 1, FRAMES), model.text_padding_token_id)
        logits = model(torch.cat([text, block], dim=1)).logits
        found.append(F.cross_entropy(logits.permute(0, 3, 1, 2), block, reduction="none"))
    return torch.cat(found)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="largesc train controller", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument("--work", type=Path, required=True, help="folder with the tokens")
    parser.add_argument("--lm", default="embedded", help="language model source")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--frames", type=int, default=60_000, help="frames to train on")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--gamma", type=float, default=0.12, help="price of a token")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    found = load(args.work / "tokens_train.npz")
    entropies = cross_entropies(load_language_model(args.lm).model, found.tokens, args.frames)
    count, dimension = len(entropies), found.latents.shape[1]
    latents = torch.from_numpy(found.latents[: count * FRAMES].astype(np.float32))
    latents = latents.reshape(count, FRAMES, dimension).transpose(1, 2)
    # What each codebook takes off the energy, on the average: lambda of the paper is left open.
    weights = torch.tensor([8.0, 4.0, 2.5, 1.7, 1.2, 0.9, 0.7, 0.5])
    weights = weights / weights.sum() * 8.0

    config = {"dimension": dimension}
    network = ControllerNetwork(**config)
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.rate)
    generator = torch.Generator().manual_seed(args.seed)
    for step in range(args.steps):
        chosen = torch.randint(count, (32,), generator=generator)
        p = 0.5 * torch.rand(32, generator=generator)
        level = torch.randint(1, 17, (32,), generator=generator).float()
        importance = network(latents[chosen], p[:, None].expand(-1, FRAMES))
        sent = mask(importance[:, 0], level)
        # A copy of what was not sent protects nothing.
        copied = mask(importance[:, 1], level) * sent
        through = (1.0 - p)[:, None, None]
        missing = (1.0 - sent * through) * (1.0 - copied * through)
        expected = (weights[None, :, None] * entropies[chosen] * missing).mean()
        tokens = (sent + copied).sum(dim=1).mean()
        loss = expected + args.gamma * tokens
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % 100 == 0 or step == args.steps - 1:
            print(
                f"controller step {step} loss {float(loss.detach()):.3f} "
                f"tokens a frame {float(tokens.detach()):.2f}",
                flush=True,
            )
    save_model(network.eval(), config, args.output, "controller")
    write_sha256(args.output)


if __name__ == "__main__":
    main()
