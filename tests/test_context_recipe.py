# SPDX-License-Identifier: GPL-3.0-or-later
"""What the context model learns from: patterns of the link, Whisper's features, and the recipe."""

from functools import partial

import numpy as np
import pytest
import torch
import yaml
from commands import Command, main_of, set_environment
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.link_patterns import LinkPatterns, drawn_losses
from gnuradio.largesc.training.token_sets import TokenSet, save
from helpers import SMALL_CODEC

pytestmark = pytest.mark.usefixtures("minutes_of_steps")


def distortion_of(crops: int, frames: int) -> np.ndarray:
    """Frames of very different importance."""
    loudness = 10.0 ** np.random.default_rng(0).uniform(-2.0, 1.0, (crops, frames, 1))
    return loudness * np.array([1.0, 0.245, 0.156, 0.111, 0.083, 0.063, 0.05, 0.039, 0.031])


def test_patterns_are_those_of_the_link():
    distortion = distortion_of(20, 200)
    own, behind = LinkPatterns({"whole": 1.0}, lossless=1.0, unknown_next=0.0).draw(distortion)
    assert np.all(own == 8) and np.all(behind[:, :-1] == 8) and np.all(behind[:, -1] == 0)
    own, _ = LinkPatterns({"prefix": 1.0}, lossless=1.0).draw(distortion)
    assert np.all(own == own[:, :1]) and 1 <= own.min() and own.max() <= 8
    patterns = LinkPatterns({"exact": 1.0}, lossless=1.0, tokens=(5.0, 5.0))
    own, _ = patterns.draw(distortion)
    assert own.mean() == pytest.approx(5.0, abs=0.3)
    loud = distortion[..., 0] > np.median(distortion[..., 0])
    assert own[loud].mean() > own[~loud].mean() + 1.0
    # With copies fewer frames lack everything than packets are lost.
    patterns.fixed = (0.3, 1.0, 8.0)
    own, _ = patterns.draw(distortion)
    assert 0.05 < (own == 0).mean() < 0.25
    own, behind = LinkPatterns({"exact": 1.0}, unknown_next=1.0).draw(distortion)
    assert not behind.any()


def test_losses_come_in_bursts():
    lost = drawn_losses(20_000, 0.2, 4.0, 3)
    runs = np.diff(np.flatnonzero(np.diff(np.r_[0, lost.astype(int), 0])))[::2]
    assert lost.mean() == pytest.approx(0.2, abs=0.03) and runs.mean() == pytest.approx(4, abs=0.5)
    # Bursts that are shorter than chance has them are none.
    assert drawn_losses(20_000, 0.5, 1.2, 3).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("shares", [{"all": 1.0}, {"whole": 0.0}, {"whole": -1.0, "exact": 2.0}])
def test_bad_shares_are_named(shares):
    with pytest.raises(ValueError, match="pattern 'all'|shares"):
        LinkPatterns(shares)


def test_mel_is_whispers(speech):
    from gnuradio.largesc.training.whisper_mel import WhisperMel
    from scipy.signal import resample_poly
    from transformers import WhisperFeatureExtractor

    narrow = resample_poly(speech, 2, 3).astype(np.float32)
    wanted = WhisperFeatureExtractor()(
        narrow, sampling_rate=16000, padding="do_not_pad", return_tensors="np"
    ).input_features[0]
    found = WhisperMel()(torch.from_numpy(speech)[None])[0].numpy()
    assert found.shape == wanted.shape
    assert np.abs(found - wanted)[:, 3:-3].mean() < 0.01


def whisper_folder():
    from gnuradio.largesc.evaluation.recogniser import SECOND, missing, weights_folder

    if why := missing(SECOND):
        pytest.skip(why)
    return weights_folder(SECOND)


def test_whisper_in_torch_is_whisper_in_ctranslate2():
    folder = whisper_folder()
    import ctranslate2
    from gnuradio.largesc.training.whisper_weights import encoded, token_logits, whisper_of

    mel = 0.5 * np.random.default_rng(0).standard_normal((1, 80, 400)).astype(np.float32)
    theirs = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    heard = theirs.encode(ctranslate2.StorageView.from_array(mel))
    # Start, English, transcribe, no times.
    prompt = [50258, 50259, 50359, 50363]
    found = theirs.generate(
        heard, [prompt], beam_size=1, max_length=24, suppress_blank=False, suppress_tokens=[]
    )[0].sequences_ids[0]
    heard = np.array(heard)
    # Each takes a third of a gigabyte.
    del theirs
    whisper = whisper_of(folder)
    with torch.no_grad():
        features = encoded(whisper, torch.from_numpy(mel))
        assert np.abs(features.numpy() - heard).max() < 0.01
        tokens = torch.tensor([[*prompt, *found]])
        likely = token_logits(whisper, features, tokens)[0].argmax(dim=-1)
    assert likely[len(prompt) - 1 : -1].tolist() == found


def test_no_whisper_is_said(tmp_path):
    from gnuradio.largesc.training.whisper_weights import whisper_of

    with pytest.raises(ValueError, match="is missing"):
        whisper_of(tmp_path)
    for content in (b"", b"\6\0\0\0\4\0abc\0", b"\6\0\0\0\x0c\0WhisperSpec\0\3\0\0\0\5\0\0\0ab"):
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.bin is no Whisper model"):
            whisper_of(tmp_path)


@pytest.fixture
def work(tmp_path, models):
    """Tokens of latents that change slowly, so that the frames around tell of a lost one."""
    from gnuradio.largesc.codec.codebooks import codebooks_of
    from gnuradio.largesc.codec.load import load_codec

    books = codebooks_of(load_codec(models).model)
    rng = np.random.default_rng(4)
    for name, count in (("train", 1500), ("dev", 300)):
        tokens = np.repeat(rng.integers(0, 2048, (count // 10, 8)), 10, axis=0).astype(np.uint16)
        latents = books[np.arange(8), tokens].sum(axis=1).astype(np.float16)
        levels = np.full(count, -20.0, np.float16)
        found = TokenSet(tokens, latents, np.array([0, count]), levels=levels)
        save(found, tmp_path / f"tokens_{name}.npz")
    return tmp_path


def arguments_of(work, models, minutes: float) -> list[str]:
    from gnuradio.largesc.training.recipes import context

    config = read_config(context.DEFAULT_CONFIG, context.CONFIG_KEYS)
    config["model"] |= {"dimension": 16, "hidden": 24, "head": 24}
    config["stages"]["latent"] = {"minutes": minutes, "batch": 8, "frames": 30, "rate": 5e-3}
    config["stages"]["words"]["minutes"] = 0
    (work / "context.yaml").write_text(yaml.safe_dump(config))
    options = {"--config": work / "context.yaml", "--work": work, "--codec": models}
    options |= {"--output": work / "model", "--threads": 1}
    return [str(part) for option in options.items() for part in option]


def test_recipe_learns_and_its_model_loads(work, models):
    from gnuradio.largesc.concealment.load import load_context
    from gnuradio.largesc.training.recipes import context

    context.main(arguments_of(work, models, 0.5))
    found = torch.load(work / "context_latent.pt", weights_only=False)
    assert found["step"] > 10
    model = load_context(str(work / "model"))
    kept = model.state_dict()["recurrent.weight_hh_l0"]
    assert torch.allclose(kept, found["model"]["recurrent.weight_hh_l0"], atol=0.02)
    with pytest.raises(SystemExit):
        context.main([*arguments_of(work, models, 0.2), "--recogniser", "tiny.en"])


def test_recipe_resumes_after_a_kill(work, models):
    from gnuradio.largesc.training.recipes import context

    options = arguments_of(work, models, 30)
    main = partial(main_of, "gnuradio.largesc.training.recipes.context")
    prepare = partial(set_environment, LARGESC_SAVE_EVERY_S="0")
    training = Command(work, *options, prepare=prepare, main=main)
    training.writes(work / "context_latent.pt")
    training.process.kill()
    training.process.join()
    before = torch.load(work / "context_latent.pt", weights_only=False)
    context.main(arguments_of(work, models, (before["seconds"] + 20) / 60))
    after = torch.load(work / "context_latent.pt", weights_only=False)
    assert after["step"] == before["step"] + 20


def test_words_are_taught(work, speech):
    from gnuradio.largesc.codec.build import build_codec
    from gnuradio.largesc.training.words import Teacher

    folder = whisper_folder()
    torch.manual_seed(0)
    codec = build_codec(SMALL_CODEC)
    teacher = Teacher(folder, codec.decoder)
    heard = torch.from_numpy(speech[: 20 * 1920])
    latent = torch.randn(20, 16)
    lesson = teacher.lesson(np.arange(21), heard, latent, "en")
    assert lesson.words.shape[0] == len(lesson.tokens) - 4
    other = (latent + torch.randn(20, 16))[None].requires_grad_(True)
    losses = teacher.losses(other, [lesson])
    sum(losses.values()).backward()
    assert torch.isfinite(other.grad).all() and other.grad.abs().sum() > 0.0
    same = teacher.losses(latent[None], [lesson])
    # The noise of the decoder is drawn anew.
    assert float(same["features"]) < 0.5 * float(losses["features"].detach())
