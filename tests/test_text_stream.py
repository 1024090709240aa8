# SPDX-License-Identifier: GPL-3.0-or-later
"""Words with times as the text stream: where they stand, what is learnt, what the link samples."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from gnuradio.largesc._core import ERASED_TOKEN
from gnuradio.largesc.concealment.lm_stream import LanguageModelStream
from gnuradio.largesc.concealment.load import load_language_model
from gnuradio.largesc.models.store import save_model
from gnuradio.largesc.training import adapters, token_losses, token_sets
from gnuradio.largesc.training.config import read_config
from gnuradio.largesc.training.recipes import lora, tokens
from gnuradio.largesc.training.text import (
    PADDING,
    UNKNOWN,
    WORD_NEXT,
    TextIds,
    TextTokenizer,
    Word,
    read_words,
    text_of,
)
from helpers import small_lm, small_lm_config

SENTENCES = [
    "the packet was lost and the frame before it came again",
    "a copy of the frame travels in another packet",
    "the model fills the gap with what it heard before",
    "no packet came and the voice faded to noise",
] * 4
PIECES = 60

pytestmark = pytest.mark.usefixtures("minutes_of_steps")


@pytest.fixture(scope="module")
def spm(tmp_path_factory) -> Path:
    """A SentencePiece model of a few sentences, with tokens kept for padding as in Moshi's."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, vocab_size=PIECES,
        pad_id=3, hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("spm") / "tokenizer.model"
    path.write_bytes(model.getvalue())
    return path


class Letters:
    """A token a letter."""

    pieces = 128

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def small_model(text_card: int = 64, delay: int = 0, **more: int) -> tuple[object, dict]:
    changes = {"text_card": text_card, "delays": [0, 0] + [delay] * 7} | more
    return small_lm(**changes), small_lm_config(**changes)


def test_words_begin_at_their_frames():
    a, b, c = (ord(letter) for letter in "abc")
    # 0.24 s is the start of frame 3.
    assert text_of([Word(0.24, "ab"), Word(0.5, "c")], Letters(), 9).tolist() == [
        PADDING, PADDING, WORD_NEXT, a, b, WORD_NEXT, c, PADDING, PADDING,
    ]  # fmt: skip
    # The first frame has none before it; a word that comes too early follows the one before.
    assert text_of([Word(0.0, "abc"), Word(0.1, "c")], Letters(), 6).tolist() == [
        a, b, c, c, PADDING, PADDING,
    ]  # fmt: skip
    # What does not fit is left out, and so is what starts behind the end.
    assert text_of([Word(0.2, "abc"), Word(0.5, "a")], Letters(), 4).tolist() == [
        PADDING, WORD_NEXT, a, b,
    ]  # fmt: skip
    assert text_of([], Letters(), 2).tolist() == [PADDING, PADDING]


def test_tokenizer_splits_words(spm):
    tokenizer = TextTokenizer(spm)
    found = tokenizer.encode("packet")
    assert 1 <= len(found) <= 7 and all(3 < token < tokenizer.pieces for token in found)
    # What is unknown is left out: its token is Moshi's for a word that comes.
    assert 0 not in tokenizer.encode("packet ж")


def test_files_of_words(tmp_path):
    path = tmp_path / "a.words"
    path.write_text("0.5\t0.9\tlost frame\n\n0.1 0.4 one\n1.0 1.2\n")
    assert read_words(path) == [Word(0.1, "one"), Word(0.5, "lost frame")]
    for line in ("one 0.1 0.4", "0.4 0.1 one", "nan 1 one", "0.3", "-1 2 one"):
        path.write_text("0 0.1 a\n" + line + "\n")
        with pytest.raises(ValueError, match=r"a\.words, line 2"):
            read_words(path)
    path.write_bytes(b"0 1 \xff\xfe\n")
    with pytest.raises(ValueError, match="UTF-8"):
        read_words(path)


def test_bad_tokenizers_are_named(tmp_path, spm):
    with pytest.raises(ValueError, match="is missing"):
        TextTokenizer(tmp_path / "nothing.model")
    (tmp_path / "other.model").write_bytes(b"no model at all")
    with pytest.raises(ValueError, match="no SentencePiece model"):
        TextTokenizer(tmp_path / "other.model")
    with pytest.raises(ValueError, match="tokenizer has 60 tokens, the language model only 4"):
        TextIds(small_model(4)[0], 60)
    with pytest.raises(ValueError, match="--text-tokenizer"):
        TextIds(small_model()[0], 0)
    with pytest.raises(ValueError, match="text token 3 stands for a word"):
        TextIds(small_model()[0], 60).check(np.array([PADDING, 3, UNKNOWN]))


@pytest.fixture(scope="module")
def work(tmp_path_factory, models, spm) -> Path:
    """Cached tokens of made-up speech, of which some has words."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("speech")
    for speaker in range(4):
        (folder / f"s{speaker}").mkdir()
        for number in range(2):
            path = folder / f"s{speaker}" / f"{number}.wav"
            soundfile.write(path, 0.1 * rng.standard_normal(5 * 24000), 24000)
            words = SENTENCES[speaker].split()
            lines = [f"{0.1 + 0.4 * n} {0.4 + 0.4 * n} {word}" for n, word in enumerate(words)]
            if number == 0:
                path.with_suffix(".words").write_text("\n".join(lines))
    work = tmp_path_factory.mktemp("work")
    tokens.main(
        ["--speech", str(folder), "--work", str(work), "--codec", models, "--threads", "1"]
        + ["--text-tokenizer", str(spm), "--variants"]
    )
    return work


def test_cache_has_the_text_beside_the_tokens(work, spm):
    found = token_sets.load(work / "tokens_train.npz")
    assert found.text.shape == (len(found.tokens),)
    assert found.text_pieces == TextTokenizer(spm).pieces
    assert len(found.starts) - 1 == 12
    for n, (start, end) in enumerate(zip(found.starts[:-1], found.starts[1:], strict=True)):
        text = found.text[start:end]
        # The second utterance of each speaker has no words; variants come last, and are stretched.
        assert np.all(text == UNKNOWN) if n % 2 else not np.any(text == UNKNOWN)
        first = np.flatnonzero(text >= 0)[:1] / (end - start)
        assert n % 2 or first == pytest.approx(1.25 / 62, abs=1.0 / 62)


def test_batches_keep_text_and_tokens_together(work):
    found = token_sets.load(work / "tokens_train.npz")
    codes, text = token_losses.batch_of(found, 5, 20, np.random.default_rng(1))
    for row in range(5):
        same = [
            np.array_equal(found.tokens[n : n + 20].T, codes[row]) for n in range(len(found.tokens))
        ]
        at = int(np.argmax(same))
        assert any(same) and np.array_equal(found.text[at : at + 20], text[row])


def test_text_loss_falls_and_padding_is_as_before():
    model, _ = small_model()
    adapter = read_config(lora.DEFAULT_CONFIG, lora.CONFIG_KEYS)["lora"]
    model = adapters.adapted(model, adapter)
    codes = torch.randint(0, 2048, (2, 8, 24))
    arrives = torch.rand(2, 8, 24) < 0.7
    text = torch.from_numpy(
        np.stack([text_of([Word(0.2, "=+:"), Word(1.0, "6")], Letters(), 24)] * 2)
    )

    def losses(ids: TextIds | None, text: torch.Tensor | None) -> torch.Tensor:
        torch.manual_seed(3)
        return adapters.GapLosses(model, 0.7, ids)(codes, arrives, text)

    ids = TextIds(model, 64)
    before = losses(None, None)
    # Without the weight a text that is there changes nothing, nor does text that is not known.
    assert torch.equal(before, losses(None, text))
    unknown = losses(ids, torch.full_like(text, UNKNOWN))
    assert torch.equal(before, unknown[:8]) and unknown[8] == 0.0
    first = losses(ids, text)
    assert first.shape == (9,) and not torch.equal(before, first[:8])
    # By hand: the mean over all frames, padding among them.
    with torch.no_grad():
        torch.manual_seed(3)
        known, _ = ids.of(text)
        filled = adapters.GapLosses(model, 0.7, ids).filled(codes, arrives, known)
        logits = token_losses.outputs_of(model, filled, known).text_logits[:, 0]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), known.flatten())
    assert first[8].item() == pytest.approx(expected.item(), rel=1e-5)
    assert known[0, :8].tolist() == [3, 0, ord("="), ord("+"), ord(":"), 3, 3, 3]
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        losses(ids, text)[8].backward()
        optimiser.step()
    assert losses(ids, text)[8] < 0.8 * first[8]


def test_recipe_with_text(work, tmp_path):
    model, facts = small_model(PIECES + 4)
    save_model(model, facts, tmp_path / "base", "lm")
    config = read_config(lora.DEFAULT_CONFIG, lora.CONFIG_KEYS) | {"text_weight": 0.5}
    config["training"] = {"minutes": 0.05, "batch": 2, "frames": 20, "rate": 1e-3}
    (tmp_path / "lora.yaml").write_text(yaml.safe_dump(config))
    for name in ("train", "dev"):
        (tmp_path / f"tokens_{name}.npz").symlink_to(work / f"tokens_{name}.npz")
    common = ["--config", str(tmp_path / "lora.yaml"), "--work", str(tmp_path), "--threads", "1"]
    common += ["--output", str(tmp_path / "adapter"), "--merged", str(tmp_path / "merged")]
    lora.main([*common, "--base", str(tmp_path / "base")])
    assert torch.load(tmp_path / "lora.pt", weights_only=False)["step"] > 0
    # The link follows: such a model says its text itself.
    found = [load_language_model(str(tmp_path / name)) for name in ("base", "adapter", "merged")]
    assert [loaded.text for loaded in found] == [False, True, True]


@pytest.mark.parametrize("delay", [0, 1])
def test_stream_samples_its_own_text(delay):
    """The first token of a lost frame is that of moshi's forward, given the text sampled so far."""
    frames = np.random.default_rng(2).integers(0, 2048, (12, 8)).astype(np.uint16)
    stream, said = LanguageModelStream(small_model(64, delay)[0], 0.0, sample_text=True), []
    first = []
    for frame in frames:
        said.append(stream._text)
        with torch.inference_mode():
            first.append(stream._first_token())
        stream.step(frame)
    codes = torch.from_numpy(frames.astype(np.int64)).T[None]
    with torch.no_grad():
        result = token_losses.outputs_of(small_model(64, delay)[0], codes, torch.tensor(said)[None])
    assert said == result.text_logits[0, 0].argmax(dim=-1).tolist()
    assert len(set(said)) > 1
    assert first == result.logits[0, 0].argmax(dim=-1).tolist()
    # A repair plays the text along that was said then.
    other = LanguageModelStream(small_model(64, delay)[0], 0.0, sample_text=True)
    for n, frame in enumerate(frames):
        other.step(np.where(n == 11, np.uint16(ERASED_TOKEN), frame))
    assert other.replace(1, frames[11])
    assert torch.allclose(other._hidden, stream._hidden, atol=1e-4)


def test_models_of_two_speakers_are_trained_as_well():
    """Official Moshi has 16 audio streams, of which 8 are predicted."""
    model, _ = small_model(n_q=16, delays=[0] * 17)
    codes = torch.randint(0, 2048, (1, 8, 10))
    losses = adapters.GapLosses(model, 0.7)(codes, torch.rand(1, 8, 10) < 0.5)
    assert losses.shape == (8,) and torch.isfinite(losses).all()
