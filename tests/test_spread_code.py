# SPDX-License-Identifier: GPL-3.0-or-later
"""The channel code of analogue speech: against theory, its limiter, and echoes."""

import numpy as np
import pytest
from gnuradio.largesc.channel_codec import spread
from gnuradio.largesc.channel_codec.analogue import load_analogue_code
from gnuradio.largesc.channel_codec.joint import JointDecoder
from gnuradio.largesc.channel_codec.spread import (
    LatentStatistics,
    SpreadCode,
    fit_latents,
    limit_of,
    poured,
    spreading,
)
from gnuradio.largesc.radio.speech_burst import (
    make_speech_burst,
    speech_layout,
)
from gnuradio.largesc.radio.symbol_burst import SYMBOL_PROFILES
from gnuradio.largesc.tasks import analogue_speech

SSB = SYMBOL_PROFILES["ssb"]
LAYOUT = speech_layout(SSB, 8)
# Of a block of four frames of 16 numbers: as of speech, most lies in a few directions.
VARIANCE = 10.0 ** (-np.arange(64) / 16.0)


@pytest.fixture(scope="module")
def statistics() -> LatentStatistics:
    draw = np.random.default_rng(0)
    basis = np.linalg.qr(draw.standard_normal((64, 64)))[0]
    return LatentStatistics(draw.standard_normal(16), basis, VARIANCE)


@pytest.fixture(scope="module")
def model() -> object:
    return load_analogue_code()


def latents_of(statistics: LatentStatistics, blocks: int, seed: int = 1) -> np.ndarray:
    """Latents ``[4 blocks, dimension]`` that are as the statistics have it."""
    draw = np.random.default_rng(seed).standard_normal((blocks, len(statistics.variance)))
    along = draw * np.sqrt(statistics.variance)
    return (along @ statistics.basis.T).reshape(-1, statistics.dimension) + statistics.mean


def complex_noise(shape: tuple, seed: int = 2) -> np.ndarray:
    parts = np.random.default_rng(seed).standard_normal((2, *shape)) * np.sqrt(0.5)
    return parts[0] + 1j * parts[1]


def transmitted(code: SpreadCode, latents: np.ndarray, snr_db: float) -> tuple:
    """What is decoded behind noise, how unsure it is, and the squared error of a block."""
    x = code.encode(latents)
    y = x + 10.0 ** (-snr_db / 20.0) * complex_noise(x.shape)
    found, unsure = code.decode(y, np.ones(x.shape), snr_db)
    error = np.square(found - latents).sum() / len(x)
    return found, unsure, error


@pytest.fixture
def without_limit(monkeypatch) -> None:
    monkeypatch.setattr(spread, "GREATEST", 1e3)


def left_of(variance: np.ndarray, symbols: int, noise: float) -> float:
    """Squared error of a block by theory, half of the noise in each real number."""
    power = poured(variance, 4.0 * symbols, 1.0)
    return float(np.sum(variance * 0.5 * noise / (power + 0.5 * noise)))


@pytest.mark.usefixtures("without_limit")
@pytest.mark.parametrize("symbols", [8, 20, 40])
def test_the_error_is_that_of_theory(statistics, symbols):
    code = SpreadCode(statistics, symbols)
    _, unsure, error = transmitted(code, latents_of(statistics, 2000), 0.0)
    wanted = left_of(VARIANCE, symbols, 1.0)
    assert error == pytest.approx(wanted, rel=0.02)
    assert unsure.mean() == pytest.approx(wanted / VARIANCE.sum(), rel=0.02)


@pytest.mark.usefixtures("without_limit")
def test_without_noise_and_limit_only_what_is_not_sent_is_lost(statistics):
    latents = latents_of(statistics, 500)
    for design_db in (0.0, 30.0):
        _, unsure, error = transmitted(SpreadCode(statistics, 40, design_db), latents, 200.0)
        unsent = poured(VARIANCE, 160.0, 10.0 ** (-design_db / 10.0)) == 0
        # The estimate believes in no more than 50 dB.
        assert error < 1.1 * VARIANCE[unsent].sum() + 1e-4 * VARIANCE.sum()
        assert unsure.max() < 3e-3
    assert not unsent.any()


@pytest.mark.usefixtures("without_limit")
def test_neither_number_of_a_symbol_tells_of_the_other(model):
    """Else both would be great together, and cut off together."""
    x = SpreadCode(model.statistics, 105).encode(latents_of(model.statistics, 400))
    power = np.square(x.real).ravel(), np.square(x.imag).ravel()
    assert abs(np.corrcoef(*power)[0, 1]) < 0.03


def test_without_noise_limited_symbols_leave_little(model):
    """The limiter's noise comes most in blocks that are loud, so theory is a lower bound."""
    statistics = model.statistics
    variance = np.maximum(statistics.variance, 1e-12)
    kept, broken = limit_of(spread.GREATEST)
    _, _, error = transmitted(SpreadCode(statistics, 105), latents_of(statistics, 200), 200.0)
    bound = left_of(variance, 105, broken / kept**2)
    assert bound < error < 2.2 * bound and error < 0.012 * variance.sum()


@pytest.mark.parametrize(("snr_db", "near"), [(-6.0, 0.05), (0.0, 0.08), (6.0, 0.2)])
def test_unsure_is_the_error_that_is_left(model, snr_db, near):
    statistics = model.statistics
    code, latents = SpreadCode(statistics, 105), latents_of(statistics, 200)
    found, unsure, _ = transmitted(code, latents, snr_db)
    each = np.square(found - latents).sum(axis=1).reshape(-1, 4).mean(axis=0)
    whole = (statistics.basis**2 @ statistics.variance).reshape(4, -1).sum(axis=1)
    assert unsure.reshape(-1, 4).mean(axis=0) == pytest.approx(each / whole, rel=near)


def test_training_sees_the_noise_of_the_air(model):
    code, latents = SpreadCode(model.statistics, 105), latents_of(model.statistics, 200)
    blocks, rng = latents.reshape(-1, 4, 64), np.random.default_rng(5)
    _, unsure, error = transmitted(code, latents, -3.0)
    found, doubts = code.through(blocks, np.full(len(blocks), -3.0), rng)
    assert np.square(found - blocks).sum() / len(blocks) == pytest.approx(error, rel=0.05)
    assert doubts.mean() == pytest.approx(unsure.mean(), rel=0.02)
    found, doubts = code.through(blocks, np.full(len(blocks), -np.inf), rng)
    assert np.allclose(found, model.statistics.mean) and doubts.min() > 0.999


def test_symbols_of_speech_have_power_one_and_no_high_peaks(model):
    x = SpreadCode(model.statistics, 105).encode(latents_of(model.statistics, 400))
    assert np.mean(np.abs(x) ** 2) == pytest.approx(1.0, abs=0.01)
    assert np.abs(x).max() < 1.5


def test_what_fades_counts_less(statistics):
    code, latents = SpreadCode(statistics, 20), latents_of(statistics, 500)
    x = code.encode(latents)
    h = np.where(np.arange(x.shape[1]) % 2, 1.4, 0.1) * np.ones((len(x), 1))
    y = h * x + complex_noise(x.shape)
    told, unsure = code.decode(y, h, 0.0)
    untold, _ = code.decode(y, np.ones(h.shape), 0.0)
    errors = [np.square(found - latents).mean() for found in (told, untold)]
    assert errors[0] < 0.9 * errors[1]
    assert unsure.mean() == pytest.approx(errors[0] * 16 * 4 / VARIANCE.sum(), rel=0.1)
    nothing, unsure = code.decode(np.zeros(x.shape), np.zeros(x.shape), 0.0)
    assert np.allclose(nothing, statistics.mean) and unsure.min() > 0.999


def test_powers_add_up_and_no_others_are_better():
    draw = np.random.default_rng(4)
    for total, noise in ((5.0, 1.0), (80.0, 1.0), (20.0, 10.0)):
        power = poured(VARIANCE, total, noise)
        assert power.sum() == pytest.approx(total) and power.min() >= 0

        def error(power: np.ndarray, half: float = noise / 2) -> float:
            return float(np.sum(VARIANCE * half / (power + half)))

        for _ in range(200):
            other = np.maximum(power + 0.05 * total / 64 * draw.standard_normal(64), 0.0)
            assert error(other * total / other.sum()) >= error(power) - 1e-9


def test_spreading_is_orthonormal_and_even():
    for reals, directions in ((32, 32), (160, 64), (840, 256)):
        mix = spreading(reals, directions)
        assert np.allclose(mix.T @ mix, np.eye(directions), atol=1e-9)
        assert np.square(mix).max() < 2.01 / reals


def test_limiting_keeps_what_is_said():
    x = complex_noise((400_000,))
    for greatest in (0.7, spread.GREATEST, 2.5):
        y = x * np.minimum(1.0, greatest / np.abs(x))
        kept, broken = limit_of(greatest)
        assert kept == pytest.approx(np.vdot(x, y).real / np.vdot(x, x).real, abs=2e-3)
        assert broken == pytest.approx(np.mean(np.abs(y - kept * x) ** 2), abs=2e-3)


def test_statistics_are_those_of_what_they_are_fitted_to(statistics):
    latents = latents_of(statistics, 6000).astype(np.float32)
    found = fit_latents([latents[:16000], latents[16000:]])
    assert np.allclose(found.mean, statistics.mean, atol=0.05)
    assert found.variance == pytest.approx(VARIANCE, rel=0.15)
    assert np.allclose(found.basis.T @ found.basis, np.eye(64), atol=1e-9)
    with pytest.raises(ValueError, match="255 frames of speech are too few: give at least 256, 20"):
        fit_latents([latents[:255]])


def test_what_the_code_cannot_take_is_named(statistics):
    with pytest.raises(ValueError, match="symbols 7 are too few: use 8 a frame, or more"):
        SpreadCode(statistics, 7)
    code = SpreadCode(statistics, 8)
    for shape in ((5, 16), (4, 15), (64,)):
        with pytest.raises(ValueError, match=r"latents of shape .* use \[4 n, 16\]"):
            code.encode(np.zeros(shape))
    with pytest.raises(ValueError, match="latents of no frame"):
        code.encode(np.zeros((0, 16)))
    with pytest.raises(ValueError, match=r"symbols of shape .* use \[n, 32\]"):
        code.decode(np.zeros((1, 31)), np.zeros((1, 31)), 0.0)
    bad = np.full((4, 16), np.nan)
    assert np.isfinite(code.encode(bad)).all()
    found = code.decode(np.full((1, 32), np.nan + 0j), np.full((1, 32), np.inf), 0.0)
    assert all(np.isfinite(part).all() for part in found)


@pytest.mark.parametrize("snr_db", [-12.0, -7.0, 0.0])
def test_noise_is_no_echo(model, snr_db):
    code, noise = analogue_speech.code_of(SSB, model), 10.0 ** (-snr_db / 20.0)
    joint, latents = JointDecoder(code, LAYOUT), latents_of(model.statistics, 2)
    sent = make_speech_burst(code.encode(latents).ravel(), LAYOUT.length)
    shape = (2, code.block_symbols)
    found, unsure = code.decode(noise * complex_noise(shape), np.ones(shape), snr_db)
    for seed in range(4):
        received = sent + noise * complex_noise((LAYOUT.length,), seed)
        assert joint.decode(received, found, unsure) is None
