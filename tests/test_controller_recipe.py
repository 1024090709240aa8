# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller's recipe minimises, and what it learns from that."""

import pytest
import torch
from gnuradio.largesc.control.network import ControllerNetwork, mask, soft_step
from gnuradio.largesc.training import adapters
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.recipes import controller
from gnuradio.largesc.training.run import descend
from helpers import small_lm

FRAMES = controller.FRAMES


def tiny_model(delay: int) -> object:
    return small_lm(num_layers=1, delays=[0, 0] + [delay] * 7)


def test_step_is_hard_forward_and_log_cosh_backward():
    level = torch.tensor([1.0, 6.0, 16.0])
    importance = torch.full((3, 4), 0.55, requires_grad=True)
    found = mask(importance, level)
    # floor(L I) tokens, a prefix, at most 8.
    assert found.sum(dim=1)[:, 0].tolist() == [0.0, 3.0, 8.0]
    found.sum().backward()
    i = level[:, None, None] * torch.full((3, 1, 4), 0.55)
    i.requires_grad_()
    j = torch.arange(1.0, 9.0)[None, :, None]
    ratio = torch.cosh(4.0 * (i - j).double()) / torch.cosh(4.0 * (-i + j + 1.0).double())
    surrogate = torch.log(ratio) / 8.0 + 0.5
    assert torch.allclose(surrogate.float(), soft_step(j, i, 4.0), atol=1e-5)
    surrogate.sum().backward()
    assert torch.allclose(importance.grad, (i.grad * level[:, None, None])[:, 0], atol=1e-4)


def test_channels_are_those_of_the_paper():
    channels = controller.Channels(3)
    p, level = channels.draw(20_000)
    assert 0.0 <= p.min() and p.max() <= 0.5 and abs(p.mean() - 0.25) < 0.01
    counts = torch.bincount(level.long(), minlength=17)
    assert counts[0] == 0 and len(counts) == 17 and counts[1:].min() > 1000


def test_closed_form_is_the_mean_of_drawn_losses():
    torch.manual_seed(0)
    network, channels = ControllerNetwork(4), controller.Channels(5)
    latents = torch.randn(6, 4, FRAMES)
    p, level = torch.linspace(0.0, 0.5, 6), torch.full((6,), 12.0)
    sent, copied, missing, tokens = controller.price(network, latents, p, level)
    assert torch.all(copied <= sent) and tokens == (sent + copied).sum(dim=1).mean()
    drawn = (
        torch.stack([~channels.arrives(sent, copied, p) for _ in range(400)]).float().mean(dim=0)
    )
    assert torch.allclose(drawn.mean(dim=2), missing.mean(dim=2), atol=0.02)


@pytest.mark.parametrize("delay", [0, 1])
def test_acoustic_delay_leaves_losses_finite(delay):
    """With a delay, as Moshi's, the last frame of a crop has one token that is predicted."""
    model = adapters.adapted(
        tiny_model(delay), read_config(controller.DEFAULT_CONFIG, controller.CONFIG_KEYS)["lora"]
    )
    codes = torch.randint(0, 2048, (2, 8, FRAMES))
    found = controller.entropies_of(model, codes, codes)
    assert torch.isfinite(found).all() and torch.all(found[:, :, :-1] > 0.0)
    assert torch.all(found[:, 1:, -1] == 0.0) == bool(delay)
    found.mean().backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and all(torch.isfinite(g).all() for g in grads)
    assert torch.equal(controller.cross_entropies(model, codes), found.detach())


class Constant(torch.nn.Module):
    """The same importance of every frame, in place of a network: nothing is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.raw = torch.nn.Parameter(torch.zeros(2))

    def forward(self, latents: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        shape = (len(latents), 2, latents.shape[2])
        return torch.sigmoid(self.raw)[None, :, None].expand(shape)


def copies_learned(p: float) -> float:
    """Copies a frame behind 300 steps of the recipe's loss on a channel of loss ``p``."""
    network = Constant()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-2, weight_decay=0.0)
    latents, lost, level = torch.zeros(1, 4, FRAMES), torch.tensor([p]), torch.tensor([16.0])
    worth = torch.tensor([3.0, 2.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.2])[None, :, None]
    for _ in range(300):
        _, copied, missing, tokens = controller.price(network, latents, lost, level)
        descend(optimiser, (worth * missing).mean() + 0.03 * tokens)
    return copied.sum(dim=1).mean().item()


def test_lossy_channels_get_copies_of_dear_tokens():
    assert copies_learned(0.0) == 0.0
    assert 1.0 <= copies_learned(0.5) <= 7.0
