# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains LargeSC's controller network in the paper's two stages.

    largesc train controller --config controller.yaml --work WORK --lm MODEL --output MODEL

The expected loss of a frame is the cross-entropy of each token times the chance that it is not
received: (1 - m_s (1 - p)) (1 - m_c (1 - p)), since a copy travels in another packet. Added is
gamma times the number of tokens sent. This is the paper's loss with the expectation in closed form,
in place of sampled losses. p is uniform over 0 to 0.5, L over 1 to 16, both drawn for each crop.

1. ``frozen``: the language model as it is, so that its cross-entropies are taken once.
2. ``joint``: with a LoRA adapter of the language model, whose context holds what it put into gaps.

Both gradients come from that product: the masks' through the chance, by a straight-through step;
the adapter's through the cross-entropy. ``docs/training.md`` names what differs from the paper.
"""

from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from ...concealment.load import load_language_model
from ...control.network import ControllerNetwork, mask
from ...models.store import save_model, write_sha256
from ..adapters import Adapter, GapLosses, absolute, adapted, save_adapter
from ..config import recipe_parser, start
from ..run import Run, descend
from ..token_losses import logits_of, token_losses
from ..token_sets import load

DEFAULT_CONFIG = Path(__file__).parent / "controller.yaml"
CONFIG_KEYS = ("seed", "frames", "stages", "gamma", "codebook_weights", "lora", "temperature")
FRAMES = 50


class Crops:
    """Crops of tokens int64 ``[n, 8, FRAMES]`` and latents float32 ``[n, dimension, FRAMES]``."""

    def __init__(self, work: Path, frames: int) -> None:
        found = load(work / "tokens_train.npz")
        count = min(frames, len(found.tokens)) // FRAMES
        if count < 1:
            raise ValueError(f"{len(found.tokens)} frames of tokens are less than one crop")

        def cut(values: np.ndarray, kind: type) -> torch.Tensor:
            kept = torch.from_numpy(values[: count * FRAMES].astype(kind))
            return kept.reshape(count, FRAMES, -1).transpose(1, 2).contiguous()

        self.codes, self.latents = cut(found.tokens, np.int64), cut(found.latents, np.float32)


def entropies_of(model: nn.Module, codes: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats of each token of ``codes`` ``[n, 8, FRAMES]`` behind ``heard``.

    0 for the tokens at the end that an acoustic delay leaves open.
    """
    logits, known = logits_of(model, heard)
    return torch.where(known, token_losses(logits, codes), 0.0)


@torch.inference_mode()
def cross_entropies(model: nn.Module, codes: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats of each token, teacher forced, as ``codes`` ``[n, 8, FRAMES]``."""
    device = next(model.parameters()).device
    blocks = (block.to(device) for block in codes.split(16))
    return torch.cat([entropies_of(model, block, block).cpu() for block in blocks])


class Channels:
    """p and L of each crop of a batch, and what arrives."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.generator, self.device = torch.Generator().manual_seed(seed), device

    def choose(self, size: int, count: int) -> torch.Tensor:
        """``size`` numbers below ``count``."""
        return torch.randint(count, (size,), generator=self.generator)

    def draw(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws p and L of each crop, each float ``[size]``."""
        p = 0.5 * torch.rand(size, generator=self.generator)
        level = torch.randint(1, 17, (size,), generator=self.generator).float()
        return p.to(self.device), level.to(self.device)

    def arrives(self, sent: torch.Tensor, copied: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        """Whether each token comes, bool as ``sent`` ``[size, 8, FRAMES]``, packets lost whole."""
        shape = (len(p), 1, sent.shape[2])
        first, second = (
            torch.rand(shape, generator=self.generator).to(self.device) >= p[:, None, None]
            for _ in range(2)
        )
        return ((sent > 0.5) & first) | ((copied > 0.5) & second)


def price(
    network: ControllerNetwork,
    latents: torch.Tensor,
    p: torch.Tensor,
    level: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Masks of tokens sent and copied, chance that each is missing, and tokens a frame."""
    importance = network(latents, p[:, None].expand(-1, FRAMES))
    sent = mask(importance[:, 0], level)
    # A copy of what was not sent protects nothing.
    copied = mask(importance[:, 1], level) * sent
    through = (1.0 - p)[:, None, None]
    missing = (1.0 - sent * through) * (1.0 - copied * through)
    return sent, copied, missing, (sent + copied).sum(dim=1).mean()


class ExpectedLoss(nn.Module):
    """Network, language model and their loss as one module that can be spread over processes.

    Args:
        network: of the controller.
        channels: of each batch.
        weights: of the codebooks, ``[1, 8, 1]``.
        gamma: price of a token.
        losses_of: the adapted language model of the joint stage, else None.
    """

    def __init__(
        self,
        network: ControllerNetwork,
        channels: Channels,
        weights: torch.Tensor,
        gamma: float,
        losses_of: GapLosses | None = None,
    ) -> None:
        super().__init__()
        self.network, self.channels, self.losses_of = network, channels, losses_of
        self.gamma = gamma
        self.register_buffer("weights", weights)

    def forward(self, latents: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """What is minimised, and its parts: expected loss, and tokens a frame, ``[3]``.

        Args:
            latents: of crops, ``[size, dimension, FRAMES]``.
            values: their cross-entropies ``[size, 8, FRAMES]``; in the joint stage their tokens.
        """
        p, level = self.channels.draw(len(latents))
        # The link runs the network in float32 as well: counts of tokens are cut at whole numbers.
        with torch.autocast(latents.device.type, enabled=False):
            sent, copied, missing, tokens = price(self.network, latents, p, level)
        if self.losses_of is not None:
            heard = self.losses_of.filled(values, self.channels.arrives(sent, copied, p))
            values = entropies_of(self.losses_of.model, values, heard)
        expected = (self.weights * values * missing).mean()
        return torch.stack([expected + self.gamma * tokens, expected, tokens])


def train_frozen(
    config: dict, crops: Crops, work: Path, model: nn.Module, accelerator: Accelerator
) -> ControllerNetwork:
    """The first stage; returns the network."""
    facts = config["stages"]["frozen"]
    network = ControllerNetwork(crops.latents.shape[1]).to(accelerator.device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=facts["rate"])
    run = Run(work / "controller.pt", made_of(config, crops), facts["minutes"], accelerator)
    run.keep(network=network, optimiser=optimiser)
    if not run.over():
        entropies = cross_entropies(model, crops.codes)
        channels = channels_of(config, run, accelerator)
        loss = ExpectedLoss(network, channels, weights_of(config), config["gamma"])
        minimise(loss, optimiser, run, facts, (crops.latents, entropies), accelerator)
    return network


def train_joint(
    config: dict,
    crops: Crops,
    work: Path,
    model: nn.Module,
    network: ControllerNetwork,
    accelerator: Accelerator,
) -> nn.Module:
    """The second stage; trains ``network`` on and returns the adapted language model."""
    facts = config["stages"]["joint"]
    losses_of = GapLosses(adapted(model, config["lora"]).train(), config["temperature"])
    own = [p for p in losses_of.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW([*network.parameters(), *own], lr=facts["rate"])
    made_with = made_of(config, crops) | {"lora": config["lora"]}
    run = Run(work / "controller_joint.pt", made_with, facts["minutes"], accelerator)
    run.keep(network=network, adapter=Adapter(losses_of.model), optimiser=optimiser)
    channels = channels_of(config, run, accelerator)
    loss = ExpectedLoss(network, channels, weights_of(config), config["gamma"], losses_of)
    minimise(loss, optimiser, run, facts, (crops.latents, crops.codes), accelerator)
    return losses_of.model.eval()


def minimise(
    loss: ExpectedLoss,
    optimiser: torch.optim.Optimizer,
    run: Run,
    facts: dict,
    data: tuple[torch.Tensor, torch.Tensor],
    accelerator: Accelerator,
) -> None:
    """Trains for the minutes of a stage's ``facts`` on ``data``, see :class:`ExpectedLoss`."""
    device, channels = accelerator.device, loss.channels
    spread, optimiser = accelerator.prepare(loss.to(device), optimiser)
    for _ in run.steps(optimiser, facts["rate"]):
        chosen = channels.choose(facts["batch"], len(data[0]))
        total, expected, tokens = spread(*(values[chosen].to(device) for values in data))
        descend(optimiser, total, accelerator)
        run.now = {"expected": float(expected.detach()), "tokens": float(tokens.detach())}


def channels_of(config: dict, run: Run, accelerator: Accelerator) -> Channels:
    """Other draws in each process, and behind each checkpoint."""
    seed = config["seed"] + run.step + 1_000_000 * accelerator.process_index
    return Channels(seed, accelerator.device)


def made_of(config: dict, crops: Crops) -> dict:
    """What a checkpoint must have been made with."""
    names = ("codebook_weights", "gamma", "lm")
    return {name: config[name] for name in names} | {"dimension": crops.latents.shape[1]}


def weights_of(config: dict) -> torch.Tensor:
    """The config's codebook weights, of mean 1, ``[1, 8, 1]``."""
    weights = torch.tensor(config["codebook_weights"])
    return (weights / weights.mean())[None, :, None]


def main(arguments: list[str] | None = None) -> None:
    """Runs ``largesc train controller`` with ``arguments``; None: those of the process."""
    parser = recipe_parser("controller", __doc__.split("\n\n")[0], DEFAULT_CONFIG)
    parser.add_argument("--lm", default="embedded", help="language model source")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    parser.add_argument("--adapter", type=Path, help="folder for the joint stage's adapter")
    args = parser.parse_args(arguments)
    config = start(args, CONFIG_KEYS) | {"lm": absolute(args.lm)}
    joint = config["stages"]["joint"]["minutes"] > 0
    if joint and args.adapter is None:
        raise ValueError(
            "the joint stage makes an adapter: give --adapter, or set its minutes to 0"
        )
    accelerator = Accelerator()
    crops = Crops(args.work, config["frames"])
    model = load_language_model(args.lm).model.to(accelerator.device)
    network = train_frozen(config, crops, args.work, model, accelerator)
    if joint:
        model = train_joint(config, crops, args.work, model, network, accelerator)
    if not accelerator.is_main_process:
        return
    if joint:
        save_adapter(model, config["lm"], args.adapter)
    save_model(network.eval(), {"dimension": crops.latents.shape[1]}, args.output, "controller")
    write_sha256(args.output)


if __name__ == "__main__":
    main()
