# SPDX-License-Identifier: GPL-3.0-or-later
"""`largesc train analogue` on made-up latents: it goes on after a kill, and says what it misses."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import Command, main_of, set_environment
from gnuradio.largesc.channel_codec.analogue import load_analogue_code
from gnuradio.largesc.channel_codec.refiner import LatentRefiner
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.recipes import analogue
from gnuradio.largesc.training.token_sets import TokenSet, save

pytestmark = pytest.mark.usefixtures("minutes_of_steps")
FRAMES = 600


def made_up(count: int, levels: bool = True, seed: int = 0) -> TokenSet:
    """Latents that change slowly, so that those around tell of one."""
    draw = np.random.default_rng(seed)
    steps, latents = draw.standard_normal((count, 16)), np.zeros((count, 16))
    for n in range(1, count):
        latents[n] = 0.95 * latents[n - 1] + 0.3 * steps[n]
    loud = draw.uniform(-60.0, -20.0, count).astype(np.float16) if levels else None
    starts = np.array([0, count // 2, count])
    tokens = np.zeros((count, 8), np.uint16)
    return TokenSet(tokens, latents.astype(np.float16), starts, levels=loud)


@pytest.fixture
def work(tmp_path) -> Path:
    save(made_up(FRAMES), tmp_path / "tokens_train.npz")
    save(made_up(100, seed=1), tmp_path / "tokens_dev.npz")
    return tmp_path


def options(work: Path, minutes: float, **changes: object) -> list[str]:
    config = read_config(analogue.DEFAULT_CONFIG, analogue.CONFIG_KEYS)
    config["refiner"] = {"hidden": 8, "layers": 1, "head": 8}
    config["training"] |= {"minutes": minutes, "batch": 4}
    (work / "config.yaml").write_text(yaml.safe_dump(config | changes))
    where = ["--work", str(work), "--output", str(work / "model"), "--threads", "1"]
    return ["train", "analogue", "--config", str(work / "config.yaml"), *where]


def test_it_goes_on_after_a_kill_and_writes_a_model_that_loads(work):
    arguments = options(work, 1.0)
    main_there = partial(main_of, "gnuradio.largesc.training.recipes.analogue")
    prepare = partial(set_environment, LARGESC_SAVE_EVERY_S="0")
    training = Command(work, *arguments[2:], prepare=prepare, main=main_there)
    training.writes(work / "analogue.pt")
    training.process.kill()
    training.process.join()
    before = torch.load(work / "analogue.pt", weights_only=False)
    assert not (work / "model").exists() or not list((work / "model").iterdir())
    assert main(arguments) == 0
    # A second is a step here.
    after = torch.load(work / "analogue.pt", weights_only=False)
    assert after["step"] > before["step"] and after["seconds"] >= 60
    found = load_analogue_code(str(work / "model"))
    assert found.statistics.dimension == 16 and found.refiner.config.hidden == 8
    assert found.refiner.contract.weight.abs().max() > 0
    # What is done is not done again.
    assert main(arguments) == 0
    assert torch.load(work / "analogue.pt", weights_only=False)["step"] == after["step"]


def test_it_begins_with_the_linear_estimate_and_does_not_fall_behind_it(work):
    """The network is trained on what is left, and begins with nothing to add."""
    sets = made_up(FRAMES)
    statistics = analogue.fit_latents([sets.latents.astype(np.float32)])
    air = analogue.Air(statistics, {}, 1)
    model = LatentRefiner(analogue.RefinerConfig(16, 8, 1, 8))
    model.mean.copy_(torch.from_numpy(statistics.mean))
    found = analogue.development(model, analogue.Bursts(sets), air)
    for snr_db in analogue.DEV_SNR_DB:
        assert found[f"left_{snr_db:g}"] == pytest.approx(found[f"linear_{snr_db:g}"], rel=1e-3)
    left = [found[f"left_{snr_db:g}"] for snr_db in analogue.DEV_SNR_DB]
    assert left == sorted(left, reverse=True) and left[0] < 1.0


def test_drawn_channels_fade_and_lose_the_burst_before(work):
    sets = made_up(FRAMES)
    facts = {"snr_db": [-5.0, 5.0], "fading": 0.5, "doppler_hz": 2.0, "lost": 0.3}
    air = analogue.Air(analogue.fit_latents([sets.latents.astype(np.float32)]), facts, 1)
    drawn = air.draw(2000, 4)
    lost = np.isneginf(drawn)
    assert lost[:, :2].all(axis=1).mean() == pytest.approx(0.3, abs=0.05)
    assert not lost[:, 2:].any()
    steady = np.ptp(drawn[:, 2:], axis=1) == 0
    assert steady.mean() == pytest.approx(0.5, abs=0.05)
    assert np.abs(drawn[steady, 2:]).max() <= 5.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("missing", "tokens_train.npz is missing: run `largesc train tokens`"),
        ("damaged", "tokens_train.npz holds no tokens that can be read"),
        ("few", "frames of speech are too few: give at least 256, 20 s"),
        ("no levels", "too little speech, or without levels: run `largesc train tokens`"),
        ("short", "too little speech, or without levels: run `largesc train tokens`"),
    ],
)
def test_speech_that_cannot_be_used_is_named(work, capsys, change, said):
    path = work / "tokens_train.npz"
    if change == "missing":
        path.unlink()
    elif change == "damaged":
        path.write_bytes(path.read_bytes()[:500])
    elif change == "few":
        save(made_up(50), path)
    elif change == "no levels":
        save(made_up(FRAMES, levels=False), path)
    else:
        save(made_up(12), work / "tokens_dev.npz")
    assert main(options(work, 0.1)) == 2
    assert said in capsys.readouterr().err
    assert not (work / "model" / "analogue.json").exists()


def test_checkpoints_and_folders_that_do_not_fit_are_named(work, capsys):
    assert main(options(work, 0.1)) == 0
    assert main(options(work, 0.3, seed=5)) == 2
    assert "analogue.pt was made with another config" in capsys.readouterr().err
    (work / "analogue.pt").write_bytes(b"PK")
    assert main(options(work, 0.3)) == 2
    assert "analogue.pt is no checkpoint that can be read" in capsys.readouterr().err
    file = work / "file"
    file.write_text("a file where the folder should be")
    wrong = options(work, 0.1)
    wrong[wrong.index("--output") + 1] = str(file)
    (work / "tokens_train.npz").unlink()
    assert main(wrong) == 2
    assert "file cannot be written (File exists): give another" in capsys.readouterr().err
