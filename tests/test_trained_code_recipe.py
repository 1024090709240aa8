# SPDX-License-Identifier: GPL-3.0-or-later
"""`largesc train trained-code` on noise, with a small model in Whisper's place."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from commands import Command, main_of, set_environment
from gnuradio.largesc.channel_codec.load import load_channel_code, load_dense, save_channel_code
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.speech.files import write_audio
from gnuradio.largesc.training import feature_windows
from gnuradio.largesc.training.channel_lessons import DrawnAir, teaches
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.recipes import card, trained_code
from test_translation import RATE_HZ, WIDTH, SmallModel, code_of

pytestmark = pytest.mark.usefixtures("minutes_of_steps")
WORDS = 20


class SmallWhisper(SmallModel):
    """Writes a word each ten frames."""

    end = WORDS - 1

    def __init__(self, source: str = "small") -> None:
        self.name = source
        rng = np.random.default_rng(3)
        self._turned = rng.normal(size=(80, WIDTH)).astype(np.float32)

    def encode(self, frames: np.ndarray) -> np.ndarray:
        even = frames[: len(frames) // 2 * 2].reshape(-1, 2, 80).mean(axis=1)
        found = even @ self._turned
        found -= found.mean(axis=1, keepdims=True)
        return found / np.maximum(found.std(axis=1, keepdims=True), 1e-3)

    def prompt(self, language: str) -> tuple[int, ...]:
        return (0, 1)

    def check_language(self, language: str) -> None:
        pass


class SmallDecoder:
    """Expects words by the mean of all features."""

    def __init__(self, folder: Path, silence: np.ndarray) -> None:
        self._turned = torch.randn(WIDTH, WORDS, generator=torch.Generator().manual_seed(4))

    def apart(self, found, features, window) -> torch.Tensor:
        true, heard = ((x.mean(dim=1) @ self._turned).log_softmax(-1) for x in (features, found))
        return (true.exp() * (true - heard)).sum(dim=-1).mean()


def make_small(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(trained_code, "Whisper", SmallWhisper)
    patch.setattr(trained_code, "Words", SmallDecoder)
    patch.setattr(trained_code, "whisper_folder", lambda *_: None)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    make_small(monkeypatch)
    rng = np.random.default_rng(0)
    (tmp_path / "speech").mkdir()
    for number in range(4):
        noise = 0.1 * rng.normal(size=RATE_HZ * 3).astype(np.float32)
        write_audio(tmp_path / "speech" / f"{number}.wav", noise)
    save_channel_code(code_of()._of, {"width": WIDTH, "directions": 24}, tmp_path / "linear")
    return tmp_path


def options(work: Path, minutes: float = 0.05, **changes: object) -> list[str]:
    config = read_config(trained_code.DEFAULT_CONFIG, trained_code.CONFIG_KEYS)
    config["network"] = {"hidden": 8, "layers": 1, "reach": 2}
    config["channel"] |= {"symbols": [2, 3]}
    config |= {"prompts": [], "least_s": 1.0, "hours": 1.0}
    for facts in config["stages"].values():
        facts["minutes"] = minutes
    config["stages"]["error"]["blocks"] = 40
    config["stages"]["dense"] |= {"symbols": 2, "units": 8, "frames": 40}
    (work / "config.yaml").write_text(yaml.safe_dump(config | changes))
    where = ["--speech", str(work / "speech"), "--work", str(work), "--threads", "1"]
    where += ["--code", str(work / "linear"), "--output", str(work / "model")]
    return ["train", "trained-code", "--config", str(work / "config.yaml"), *where]


@pytest.fixture(autouse=True)
def few_symbols(monkeypatch):
    monkeypatch.setattr(trained_code, "DEV_AIR", ((2, 10.0), (3, 0.0)))


def test_it_writes_a_code_that_loads_and_resumes(work):
    assert main(options(work)) == 0
    before = torch.load(work / "code_words.pt", weights_only=False)
    assert before["step"] == 3 and {"words_2_10", "error_3_0"} <= set(before["curve"][-1])
    code = load_channel_code(str(work / "model"), 3)
    assert code.name == "trained" and code.width == WIDTH
    dense = load_dense(work / "dense")
    assert (dense.width, dense.symbols) == (WIDTH, 2)
    # More minutes go on from there, in all three stages.
    assert main(options(work, 0.1)) == 0
    for stage in ("error", "words", "dense"):
        assert torch.load(work / f"code_{stage}.pt", weights_only=False)["step"] == 6
    text = "\n".join(card.trained_code_section(work, {}))
    assert "6 steps" in text and "| 3 | 0 |" in text


def test_windows_are_found_once_and_go_on_after_a_kill(work, monkeypatch):
    model, heard = SmallWhisper(), []
    config = read_config(trained_code.DEFAULT_CONFIG, trained_code.CONFIG_KEYS)
    config |= {"prompts": [], "least_s": 1.0}
    whole = feature_windows.prepare_windows(work / "a", work / "speech", config, model)
    rows = [*whole.learned, *whole.kept]
    assert len(rows) == 4 and len(whole.kept) == 1
    assert all(row.frames % 4 == 0 and row.tokens[:2] == (0, 1) for row in rows)
    first = whole.features(rows[0])
    assert first.shape == (rows[0].frames, WIDTH) and first.dtype == np.float32
    assert np.array_equal(whole.features(rows[0], 4, 8), first[4:12])
    # Killed within the third recording.
    there = work / "b"
    there.mkdir()
    lines = (work / "a" / "windows.jsonl").read_text().splitlines()
    (there / "windows.jsonl").write_text("\n".join(lines[:3]) + "\n" + lines[3][:20])
    data = (work / "a" / "windows.f16").read_bytes()
    (there / "windows.f16").write_bytes(data[:-100])
    encode = SmallWhisper.encode
    monkeypatch.setattr(
        SmallWhisper, "encode", lambda self, x: (heard.append(1), encode(self, x))[1]
    )
    feature_windows.prepare_windows(there, work / "speech", config, model)
    assert len(heard) == 2
    assert (there / "windows.jsonl").read_text().splitlines() == lines
    assert (there / "windows.f16").read_bytes() == data
    with pytest.raises(ValueError, match="holds windows of other speech or settings: move it aw"):
        feature_windows.prepare_windows(there, work / "speech", config | {"hours": 2.0}, model)


def in_the_child() -> None:
    """A process of its own has models of its own."""
    set_environment(LARGESC_SAVE_EVERY_S="0")
    make_small(pytest.MonkeyPatch())
    trained_code.DEV_AIR = ((2, 10.0),)


def test_it_goes_on_after_a_kill(work):
    arguments = options(work, 1.0)
    there = partial(main_of, "gnuradio.largesc.training.recipes.trained_code")
    training = Command(work, *arguments[2:], prepare=in_the_child, main=there)
    training.writes(work / "code_error.pt")
    training.process.kill()
    training.process.join()
    before = torch.load(work / "code_error.pt", weights_only=False)["step"]
    assert not (work / "model" / "trained_code.json").exists()
    assert main(options(work, 1.0)) == 0
    after = torch.load(work / "code_error.pt", weights_only=False)
    assert after["step"] >= before > 0 and after["seconds"] >= 60


def test_drawn_air_has_the_shares_of_the_config():
    facts = {"snr_db": [-5.0, 5.0], "fading": 0.4, "interleaved": 0.2, "symbols": [2, 3]}
    air = DrawnAir(facts, np.random.default_rng(0))
    seen = set()
    for _ in range(8):
        reals, fade, snr_db = air.draw(1000, 5)
        seen.add(reals)
        assert fade.shape == (1000, 5, reals) and float(snr_db.abs().max()) <= 5.0
        steady = (fade == 1.0).all(dim=2).all(dim=1).float().mean()
        same = (fade == fade[..., :1]).all(dim=2).all(dim=1).float().mean()
        assert float(steady) == pytest.approx(0.4, abs=0.06)
        assert float(same) == pytest.approx(0.8, abs=0.06)
        assert float(fade.mean()) == pytest.approx(1.0, abs=0.05)
    assert seen == {16, 24}
    assert float(air.draw(100, 1, [7.0, 7.0])[2].min()) == 7.0


def test_only_sure_texts_teach():
    row = feature_windows.FeatureWindow(0, 0, 40, "x", "fr", False, (0, 1, 5, 6, 19), 2, -0.5)
    assert teaches(row)
    for change in ({"confidence": -3.0}, {"tokens": (0, 1, 19)}, {"tokens": (1,) * 99}):
        assert not teaches(feature_windows.FeatureWindow(**vars(row) | change))


def test_what_cannot_be_used_is_named(work, capsys):
    assert main(options(work, hours=0.001)) == 2
    assert "give more speech" in capsys.readouterr().err
    for name in ("windows.json", "windows.jsonl", "windows.f16"):
        (work / name).unlink(missing_ok=True)
    assert main(options(work, 0.02)) == 0
    assert main(options(work, 0.05, seed=5)) == 2
    assert "holds windows of other speech or settings" in capsys.readouterr().err
    (work / "code_error.pt").write_bytes(b"PK")
    assert main(options(work, 0.05)) == 2
    assert "code_error.pt is no checkpoint that can be read" in capsys.readouterr().err
    (work / "file").write_text("a file where the folder should be")
    wrong = options(work)
    wrong[wrong.index("--output") + 1] = str(work / "file")
    assert main(wrong) == 2
    assert "file cannot be written (File exists): give another" in capsys.readouterr().err
