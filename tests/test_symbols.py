# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols over noise and Rayleigh fading: powers, statistics, seeds, gradients."""

import numpy as np
import pytest
import torch
from gnuradio.largesc.channel.symbols import KINDS, SymbolChannel, unit_power
from scipy import stats

# Four standard errors: what must not be passed by chance in 16000 runs.
SIGMAS = 4.0


def qpsk(blocks: int, symbols: int, seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randint(2, (2, blocks, symbols), generator=generator) * 2.0 - 1.0
    return torch.complex(parts[0], parts[1]) / 2**0.5


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.0, 30.0])
@pytest.mark.parametrize("kind", KINDS)
def test_noise_has_the_power_that_the_snr_says(kind, snr_db):
    x = qpsk(100, 1000)
    y, h = SymbolChannel(kind, snr_db, seed=5)(x)
    noise = (y - h * x).numpy()
    power = 10.0 ** (-snr_db / 10.0)
    # The power of a complex Gaussian is exponential: as wide as its mean.
    within = SIGMAS / np.sqrt(noise.size)
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(power, rel=within)
    for part in (noise.real, noise.imag):
        assert np.var(part) == pytest.approx(power / 2, rel=within * 2**0.5)
    assert abs(np.mean(noise.real * noise.imag)) < within * power
    assert abs(noise.mean()) < within * power**0.5


def test_awgn_leaves_symbols_where_they_are():
    x = qpsk(4, 50)
    y, h = SymbolChannel("awgn", 200.0)(x)
    assert torch.equal(h, torch.ones(4, 1, dtype=x.dtype)) and torch.allclose(y, x)


def test_rayleigh_fades_by_blocks_with_unit_mean_power():
    x = qpsk(20_000, 4)
    y, h = SymbolChannel("rayleigh", 200.0, seed=7)(x)
    # One h a block: all of its symbols have it.
    assert h.shape == (20_000, 1) and torch.allclose(y / x, h.expand_as(x), atol=1e-5)
    amplitude, phase = h[:, 0].abs().numpy(), h[:, 0].angle().numpy()
    power = np.mean(amplitude**2)
    assert power == pytest.approx(1.0, abs=SIGMAS / np.sqrt(len(h)))
    # The amplitude is Rayleigh, the phase uniform.
    assert stats.kstest(amplitude, "rayleigh", args=(0, 0.5**0.5)).pvalue > 1e-4
    assert stats.kstest(phase, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-4
    # Neighbouring blocks know nothing of each other.
    assert abs(np.corrcoef(amplitude[1:], amplitude[:-1])[0, 1]) < SIGMAS / np.sqrt(len(h))


@pytest.mark.parametrize("kind", KINDS)
def test_seed_says_all(kind):
    x = qpsk(3, 20)
    one, two, other = (SymbolChannel(kind, 3.0, seed) for seed in (1, 1, 2))
    first, second = one(x)[0], one(x)[0]
    assert torch.equal(first, two(x)[0]) and torch.equal(second, two(x)[0])
    assert not torch.equal(first, second) and not torch.equal(first, other(x)[0])
    one.reset()
    assert torch.equal(first, one(x)[0])
    # Nobody else's draws are touched.
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    one(x)
    assert torch.equal(expected, torch.rand(3))


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_fading(kind):
    sent = qpsk(5, 30).requires_grad_()
    y, h = SymbolChannel(kind, 10.0)(sent)
    y.abs().square().sum().backward()
    # Of |h x + n|^2 with respect to x, in torch's convention: 2 conj(h) y.
    assert torch.allclose(sent.grad, 2 * h.conj() * y.detach(), atol=1e-5)
    assert not h.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_stays(kind):
    y, h = SymbolChannel(kind, 10.0)(qpsk(2, 8).to(torch.complex128))
    assert y.dtype == h.dtype == torch.complex128


def test_unit_power_scales_blocks_and_leaves_zeros():
    x = torch.randn(6, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)) * 7
    x[2] = 0
    power = unit_power(x).abs().square().mean(dim=1)
    wanted = torch.ones(6)
    wanted[2] = 0
    assert torch.allclose(power, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "kind, snr_db, x, said",
    [
        ("rician", 3.0, None, "'rician' is unknown: use one of awgn, rayleigh"),
        ("awgn", float("nan"), None, "snr_db nan is no finite number"),
        ("awgn", float("inf"), None, "snr_db inf is no finite number"),
        ("awgn", 3.0, torch.ones(2, 3), r"float32 and shape \(2, 3\): use complex"),
        ("awgn", 3.0, torch.ones(3, dtype=torch.complex64), r"shape \(3,\): use complex"),
        ("awgn", 3.0, torch.ones(0, 3, dtype=torch.complex64), r"shape \(0, 3\): use complex"),
        ("rayleigh", 3.0, 2 * qpsk(2, 3), "mean power 4.000: scale them to 1"),
        ("rayleigh", 3.0, torch.full((2, 3), torch.nan + 0j), "mean power nan"),
    ],
)
def test_bad_input_is_named(kind, snr_db, x, said):
    with pytest.raises(ValueError, match=said):
        SymbolChannel(kind, snr_db)(x)
