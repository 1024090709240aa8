# SPDX-License-Identifier: GPL-3.0-or-later
"""The translation link: segments, features, the channel code, text that stays, and bad input."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from gnuradio.largesc.channel_codec.linear import (
    BLOCK_FRAMES,
    LinearCode,
    Statistics,
    shared_power,
)
from gnuradio.largesc.channel_codec.load import load_channel_code, save_channel_code
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.cli.translate import srt_time
from gnuradio.largesc.features.load import large_model
from gnuradio.largesc.features.log_mel import (
    BANDS,
    LEAST,
    LogMel,
    as_bytes,
    as_whisper,
    from_bytes,
)
from gnuradio.largesc.features.model import (
    Asking,
    Hypothesis,
    LargeModel,
    Question,
    answered,
    answered_together,
)
from gnuradio.largesc.features.text import SemanticDecoder, shared
from gnuradio.largesc.features.voice import Phrases, length_at
from gnuradio.largesc.features.whisper import STRIDE
from gnuradio.largesc.features.window import Features, SemanticEncoder
from gnuradio.largesc.models.packaged import MODELS, absent
from gnuradio.largesc.models.store import ModelError, write_sha256
from gnuradio.largesc.models.whisper import most_tokens
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.speech import prompts as prompts_of
from gnuradio.largesc.speech.files import write_audio
from gnuradio.largesc.speech.segments import Segmenter, next_length, slope_of
from gnuradio.largesc.tasks.translation import (
    Air,
    Burst,
    TranslationReceiver,
    TranslationSender,
)

SHARED = Path(__file__).parents[2] / "shared"
GERMAN = SHARED / "speech" / "eval" / "kerstin-de" / "kerstin" / "de_rhasspy-0317.flac"
RATE_HZ, WIDTH = 24000, 6
WORDS = "the quick brown fox jumps over the lazy dog .".split()


class SmallModel(LargeModel):
    """Stands in for Whisper: a feature frame each two log-mel frames, a word each ten frames."""

    kind, name, width, languages = "Whisper", "small", WIDTH, ("fr",)
    silence = np.zeros((10, WIDTH), dtype=np.float32)
    confidence = -0.5

    def encode(self, frames: np.ndarray) -> np.ndarray:
        found = frames[: len(frames) // 2 * 2].reshape(-1, 2, BANDS).mean(axis=1)
        return np.repeat(found.mean(axis=1, keepdims=True), WIDTH, axis=1).astype(np.float32)

    def decode(self, features, language, forced=(), beam=1, task="translate") -> Hypothesis:
        words = (len(features) - len(self.silence)) // 10
        return Hypothesis(tuple(range(len(forced), min(words, len(WORDS)))), self.confidence)

    def text(self, tokens) -> str:
        return "".join(f" {WORDS[t]}" for t in tokens)


def code_of(width: int = WIDTH, symbols: int = 3) -> LinearCode:
    rng = np.random.default_rng(0)
    size = BLOCK_FRAMES * width
    turned, _ = np.linalg.qr(rng.normal(size=(size, size)))
    weight = np.diag(rng.uniform(0.5, 2.0, width))
    variance = np.geomspace(10.0, 0.01, size)
    found = Statistics(np.zeros(width), weight, turned, variance, np.ones(width), np.zeros(width))
    return LinearCode(found, symbols)


def voice(seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    return (0.2 * np.sin(2 * np.pi * 200 * time_s)).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE_HZ), dtype=np.float32)


# Segments


def test_segments_are_of_a_length_and_end_at_a_pause():
    segmenter = Segmenter(RATE_HZ, 0.75)
    speech = np.concatenate([quiet(2.0), voice(2.0), quiet(3.0), voice(0.3)])
    found = []
    for piece in np.array_split(speech, 97):
        found += segmenter.push(piece)
    found += segmenter.flush()
    assert [s.last for s in found] == [False, False, False, True, True]
    assert all(len(s.samples) == 0.75 * RATE_HZ for s in found[:3])
    for segment in found:
        assert np.array_equal(segment.samples, speech[segment.start : segment.end])
    assert segmenter.silent_samples > 3.5 * RATE_HZ


def test_long_silence_is_not_sent_and_takes_no_memory():
    segmenter, minute = Segmenter(RATE_HZ), quiet(60.0)
    assert not [s for _ in range(10) for s in segmenter.push(minute)]
    assert not segmenter.flush()
    assert sum(map(len, segmenter._pieces)) <= 0.3 * RATE_HZ
    assert segmenter.silent_samples > 599 * RATE_HZ


def test_no_samples_and_no_numbers_are_survived():
    segmenter = Segmenter(RATE_HZ)
    assert segmenter.push(np.zeros(0, dtype=np.float32)) == []
    broken = voice(2.0)
    broken[::3], broken[1::5] = np.nan, np.inf
    found = [*segmenter.push(broken), *segmenter.flush()]
    assert found and all(np.isfinite(s.samples).all() for s in found)


@pytest.mark.parametrize("rule", ["printed", "prose"])
def test_lengths_follow_the_amplitude_in_both_readings(rule):
    rising, falling = np.linspace(0.1, 1.0, 40), np.linspace(1.0, 0.1, 40)
    assert slope_of(rising) > 0 > slope_of(falling)
    longer = 0.5 if rule == "prose" else -0.5
    assert next_length(0.75, longer, rule) > 0.75 > next_length(0.75, -longer, rule)
    assert 0.65 <= next_length(0.75, -0.9, rule) <= 0.85
    assert slope_of(np.zeros(10)) == slope_of(np.ones(1)) == 0.0
    # Eq. 8 as printed.
    assert next_length(0.75, 0.5, "printed") == pytest.approx((1 - 0.05 * np.exp(0.5)) * 0.75)
    assert next_length(0.75, -0.5, "printed") == pytest.approx((1 - 0.05 * np.log(0.5)) * 0.75)


def test_segments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="length_s 0 is out of range: use 0.05 to 30 s"):
        Segmenter(RATE_HZ, 0.0)
    with pytest.raises(ValueError, match="rule 'x' is unknown: use one of fixed, printed, prose"):
        Segmenter(RATE_HZ, rule="x")


# What a device sends


def test_log_mel_is_whispers_at_both_rates():
    from transformers import WhisperFeatureExtractor

    speech = voice(1.0, 16000) + 0.01 * np.random.default_rng(0).normal(size=16000)
    own = as_whisper(LogMel(16000).push(speech))
    theirs = WhisperFeatureExtractor()(speech, sampling_rate=16000, padding=False).input_features[0]
    assert np.abs(own[:, 3:90] - theirs[:, 3:90]).max() < 1e-3
    front = LogMel(16000)
    pieces = [front.push(piece) for piece in np.array_split(speech, 13)]
    assert np.allclose(as_whisper(np.concatenate(pieces)), own, atol=1e-4)
    with pytest.raises(ValueError, match="rate_hz 44100 is none that can be used: use 16000 or 24"):
        LogMel(44100)


def test_eight_bits_are_enough():
    frames = LogMel(RATE_HZ).push(voice(1.0))
    assert as_bytes(frames).dtype == np.uint8
    assert np.abs(from_bytes(as_bytes(frames)) - frames).max() <= 0.5 * 16 / 255 + 1e-6


# The window


def test_each_frame_is_sent_once_in_whole_blocks():
    encoder = SemanticEncoder(SmallModel())
    compressed = as_bytes(LogMel(RATE_HZ).push(voice(4.0)))
    found = []
    for number in range(4):
        found += encoder.push(compressed[100 * number : 100 * number + 100], last=number == 3)
    assert all(len(f.frames) % BLOCK_FRAMES == 0 for f in found)
    ends = np.cumsum([len(f.frames) for f in found])
    assert [f.first for f in found] == [0, *ends[:-1]]
    assert 198 <= ends[-1] <= 204
    assert [f.last for f in found] == [False] * (len(found) - 1) + [True]
    assert encoder.push(compressed[:100], last=True)[0].window == 1


@pytest.mark.parametrize("policy", ["agreement", "segment"])
def test_speech_without_a_pause_is_no_longer_on_the_air_than_it_was_spoken(policy):
    encoder, frames = SemanticEncoder(SmallModel(), policy), 0
    # No whole number of blocks, in windows of no whole number either.
    compressed = as_bytes(LogMel(RATE_HZ).push(voice(1.17)))
    for number in range(60):
        for found in encoder.push(compressed, last=False):
            frames += len(found.frames)
            # Whole blocks, and nothing that was not heard yet.
            assert len(found.frames) % BLOCK_FRAMES == 0
            assert STRIDE * frames <= (number + 1) * len(compressed)
            if found.last:
                assert frames * STRIDE == (number + 1) * len(compressed) - round(100 * found.left_s)


def test_windows_are_bounded_without_a_pause():
    encoder = SemanticEncoder(SmallModel())
    compressed = as_bytes(LogMel(RATE_HZ).push(voice(1.0)))
    found = [f for _ in range(60) for f in encoder.push(compressed, last=False)]
    assert max(f.window for f in found) >= 3
    assert max(f.first + len(f.frames) for f in found) <= 800


def test_a_segment_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"a segment of shape \(5, 7\): use \[n, 80\]"):
        SemanticEncoder(SmallModel()).push(np.zeros((5, 7), dtype=np.uint8), last=False)
    with pytest.raises(ValueError, match="policy 'x' is unknown: use one of agreement, segment"):
        SemanticEncoder(SmallModel(), "x")
    with pytest.raises(ValueError, match="a segment of 1101 frames: use at most 1100, 11 s"):
        SemanticEncoder(SmallModel()).push(np.zeros((1101, 80), dtype=np.uint8), last=False)
    assert SemanticEncoder(SmallModel()).push(np.zeros((0, 80), dtype=np.uint8), True) == []


# The channel code


def test_symbols_have_unit_power_and_come_back():
    code = code_of(symbols=3)
    features = np.random.default_rng(1).normal(size=(40, WIDTH))
    features -= features.mean(axis=1, keepdims=True)
    features = (features / features.std(axis=1, keepdims=True)).astype(np.float32)
    x, gain = code.encode(features)
    assert x.shape == (10, 12) and -127 <= gain <= 127
    assert np.mean(np.abs(x) ** 2) == pytest.approx(1.0, abs=0.03)
    exact = code.decode(x, np.ones((10, 1)), 100.0, gain)
    assert np.abs(exact - features).max() < 0.01
    # The channel is known, and undone.
    h = np.exp(1j * np.arange(10))[:, None] * np.linspace(0.3, 2.0, 10)[:, None]
    assert np.abs(code.decode(h * x, h, 100.0, gain) - features).max() < 0.01
    noisy = x + 0.5 * np.random.default_rng(2).normal(size=x.shape)
    assert np.isfinite(code.decode(noisy, np.zeros((10, 1)), 5.0, gain)).all()


def test_power_goes_where_it_helps():
    variance = np.array([4.0, 1.0, 0.01])
    assert shared_power(variance, 3.0) == pytest.approx(3 * np.array([2, 1, 0.1]) / 3.1)


def test_features_and_symbols_of_a_wrong_size_are_refused():
    code = code_of()
    with pytest.raises(ValueError, match=r"features of shape \(8, 5\): use \[4 n, 6\]"):
        code.encode(np.zeros((8, 5), dtype=np.float32))
    with pytest.raises(ValueError, match="features of no frame"):
        code.encode(np.zeros((0, WIDTH), dtype=np.float32))
    with pytest.raises(ValueError, match=r"symbols of shape \(2, 5\): use \[n, 12\]"):
        code.decode(np.zeros((2, 5)), np.ones((2, 1)), 10.0, 0)
    with pytest.raises(ValueError, match="symbols 4 is out of range: use 1 to 3 a frame of 20 ms"):
        code_of(symbols=4)


def test_the_embedded_code_is_whole(tmp_path):
    code = load_channel_code("embedded", 64)
    assert (code.width, code.block_symbols) == (512, 256)
    with pytest.raises(ValueError, match="symbols 200 is out of range: use 1 to 128"):
        load_channel_code("embedded", 200)
    found = code_of()._of
    save_channel_code(found, {"width": WIDTH, "directions": 24}, tmp_path)
    write_sha256(tmp_path)
    assert load_channel_code(str(tmp_path), 3).width == WIDTH
    whole = (tmp_path / "channel_code.safetensors").read_bytes()
    (tmp_path / "channel_code.safetensors").write_bytes(whole[:-1] + b"x")
    with pytest.raises(ModelError, match="is corrupt: sha256"):
        load_channel_code(str(tmp_path), 3)
    with pytest.raises(ModelError, match=r"channel_code.json is missing: is .* a model folder"):
        load_channel_code(str(tmp_path.parent), 3)


def test_the_card_says_what_the_code_was_fitted_to():
    from gnuradio.largesc.models.store import EMBEDDED
    from gnuradio.largesc.training.recipes import card

    licences = yaml.safe_load(card.DEFAULT_CONFIG.read_text())["licences"]
    section = "\n".join(card.channel_code_section(EMBEDDED, licences))
    assert section in (EMBEDDED / "README.md").read_text()
    assert "not stated" not in section


# Text


def features(frames: int, window: int = 0, last: bool = False) -> Features:
    return Features(np.ones((frames, WIDTH), dtype=np.float32), window, 0, last)


def test_what_is_committed_stays():
    decoder = SemanticDecoder(SmallModel(), "fr")
    said = ""
    for number in range(5):
        for text in decoder.push(features(20, last=number == 4)):
            said += text.committed
            assert (said + text.tentative).split() == WORDS[: len((said + text.tentative).split())]
    assert said.split() == WORDS
    assert shared((1, 2, 3), (1, 2, 4)) == 2


def test_questions_of_several_are_answered_together():
    def asking(count: int) -> Asking:
        found = []
        for number in range(count):
            found.append((yield Question(np.zeros(1), "fr", (number,))).confidence)
        if count == 2:
            raise ValueError("two")
        return found

    groups = []

    def answer(questions: list[Question]) -> list[Hypothesis]:
        groups.append(len(questions))
        if len(groups) == 4:
            raise RuntimeError("bad luck")
        return [Hypothesis((), float(question.forced[0])) for question in questions]

    none, one, two, three, five = answered_together([asking(n) for n in (0, 1, 2, 3, 5)], answer)
    assert (none, one, three) == ([], [0.0], [0.0, 1.0, 2.0]) and groups == [4, 3, 2, 1]
    assert str(two) == "two" and str(five) == "bad luck"
    with pytest.raises(ValueError, match="two"):
        answered(asking(2), SmallModel())


def test_a_window_whose_end_was_lost_is_finished():
    decoder = SemanticDecoder(SmallModel(), "fr")
    decoder.push(features(60))
    texts = decoder.push(features(60, window=1))
    assert texts[0].last and texts[0].committed.split() == WORDS[:6]
    assert decoder.counters["unfinished"] == 1


def test_babble_is_not_said_but_counted(monkeypatch):
    model = SmallModel()
    model.confidence = -3.0
    decoder = SemanticDecoder(model, "fr")
    (text,) = decoder.push(features(60, last=True))
    assert (text.committed, text.doubtful) == ("", True)
    assert decoder.counters["doubtful"] == 1


def test_features_of_a_wrong_size_are_counted():
    decoder = SemanticDecoder(SmallModel(), "fr")
    assert decoder.push(Features(np.ones((4, 3), dtype=np.float32), 0, 0, False)) == []
    for _ in range(100):
        decoder.push(features(20))
    assert decoder.counters["refused"] == 1 + 38
    assert sum(map(len, decoder._now.pieces)) == 1240


def test_what_is_too_long_is_not_decoded_again():
    decoder = SemanticDecoder(SmallModel(), "fr")
    assert decoder.push(features(1251)) == decoder.push(features(1251, last=True)) == []
    assert decoder.push(features(1240))[0].heard_s == 24.8
    assert decoder.push(features(20)) == []
    # Its window is over all the same.
    (text,) = decoder.push(features(20, last=True))
    assert text.last and text.heard_s == 24.8
    assert decoder.counters["refused"] == 4


@pytest.mark.parametrize("segment_s", [0.75, 4.9, 7.4, 7.45, 9.95, 10.0])
def test_no_window_is_longer_than_the_decoder_takes(segment_s):
    options = TranslationOptions(segment_s=segment_s, channel="none")
    receiver = TranslationReceiver(options, SmallModel(), None)
    sender, most = TranslationSender(options, SmallModel(), None), 0
    for _ in range(30):
        for burst in sender.push(voice(2.0)):
            most = max(most, burst.first + len(burst.symbols))
            receiver.push(burst)
    assert receiver.counters["refused"] == 0 and receiver.counters["windows"] >= 2
    assert most > 400


def test_a_window_whose_end_does_not_come_is_finished():
    decoder = SemanticDecoder(SmallModel(), "fr")
    assert decoder.flush() == []
    decoder.push(features(60, window=7))
    (text,) = decoder.flush()
    assert (text.window, text.last, text.committed.split()) == (7, True, WORDS[:6])
    assert decoder.flush() == [] and decoder.counters["unfinished"] == 1


def test_phrases_are_whole_and_speech_catches_up():
    phrases = Phrases()
    assert phrases.push(" one two", False) == []
    assert phrases.push(" three.", False) == ["one two three."]
    assert phrases.push(",", False) == []
    assert phrases.push(" four", True) == ["four"]
    assert length_at(-1.0) == length_at(0.0) == 1.0 and length_at(9.0) == 0.65


# Both ends


def sent(options: TranslationOptions, code: LinearCode, seconds: float = 3.0) -> list[Burst]:
    sender = TranslationSender(options, SmallModel(), code)
    return [*sender.push(voice(seconds)), *sender.flush()]


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
def test_bursts_lost_doubled_and_late_are_survived(channel):
    options, code = TranslationOptions(channel=channel, symbols=3), code_of()
    air = Air(options)
    bursts = [air(b) for b in sent(options, code, 6.0)]
    receiver = TranslationReceiver(options, SmallModel(), code)
    texts = []
    for burst in [bursts[0], bursts[0], *bursts[2:4], bursts[1], *bursts[4:]]:
        texts += receiver.push(burst)
    assert texts[-1].last
    assert receiver.counters["late"] == 2 and receiver.counters["lost"] == 1
    wrong = Burst(**vars(bursts[-1]) | {"index": 99, "symbols": np.zeros((1, 5))})
    assert receiver.push(wrong) == [] and receiver.counters["refused_bursts"] == 1
    nothing = np.full_like(bursts[0].symbols, np.nan)
    receiver.push(Burst(**vars(bursts[0]) | {"index": 100, "symbols": nothing}))


def test_an_unknown_language_is_refused():
    with pytest.raises(ValueError, match="language 'xx' is unknown to Whisper small: use one of f"):
        TranslationReceiver(TranslationOptions(language="xx"), SmallModel(), None)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--snr", "nan"), "snr_db nan is out of range: use -40 to 100"),
        (("--segment-s", "0"), "segment_s 0 is out of range"),
        (("--symbols", "0"), "symbols 0 is out of range"),
        (("--model", "nowhere"), "Whisper model 'nowhere' has no model.bin: give tiny.en or base"),
    ],
)
def test_options_that_cannot_be_are_refused(option, message, tmp_path, capsys):
    if lacking := absent(["ctranslate2", "faster_whisper"]):
        pytest.skip(f"{lacking[0]} is not installed")
    write_audio(tmp_path / "in.wav", voice(0.5))
    given = ["translate", "loopback", str(tmp_path / "in.wav"), str(tmp_path / "out.wav"), *option]
    assert main(given) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--doppler", "5"], "--doppler would do nothing without --radio: give --radio medium as"),
        (["--radio", "medium", "--doppler", "1", "--channel", "awgn"], "use --channel rayleigh"),
        (["--channel", "none", "--snr", "5"], "--snr would do nothing with --channel none: use"),
        (["--channel", "none", "--radio", "medium", "--seed", "2"], "--seed would do nothing with"),
        (
            ["--channel", "none", "--symbols", "64", "--channel-code", "x"],
            "--symbols and --channel",
        ),
        (["--voice", "joe"], "--voice would do nothing without speech: name an OUTPUT.wav"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, said, tmp_path, capsys):
    assert main(["translate", "loopback", str(tmp_path / "in.wav"), *options]) == 2
    assert said in capsys.readouterr().err
    if "--voice" not in options:
        assert main(["translate", "demo", "--output", str(tmp_path), *options]) == 2
        assert said in capsys.readouterr().err


def test_output_that_cannot_be_written_is_said_before_the_work(tmp_path, capsys, monkeypatch):
    from gnuradio.largesc.tasks import translation_loopback

    monkeypatch.setattr(translation_loopback, "TranslationLoopback", None)
    source, nowhere = tmp_path / "in.wav", tmp_path / "no" / "out"
    write_audio(source, voice(0.5))
    for given, said in (
        ([f"{nowhere}.wav"], "out.wav cannot be written"),
        ([str(tmp_path / "out.wav"), "--srt", f"{nowhere}.srt"], "out.srt cannot be written"),
        ([str(source)], "in.wav is the input as well"),
    ):
        assert main(["translate", "loopback", str(source), *given]) == 2
        assert said in capsys.readouterr().err


def test_prompts_say_how_they_are_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts_of, "TEXTS", tmp_path)
    with pytest.raises(prompts_of.PromptsError, match="apt-get install asterisk-core-sounds-en-g7"):
        prompts_of.prompts("fr")
    with pytest.raises(prompts_of.PromptsError, match="no prompts in 'de': use one of fr, es"):
        prompts_of.prompts("de")


def write_prompts(folder: Path, texts: dict[str, str]) -> None:
    """Prompts in French and English as Debian has them, without speech in them."""
    for language in ("fr", "en"):
        home = folder / "doc" / f"asterisk-core-sounds-{language}"
        home.mkdir(parents=True)
        lines = "".join(f"{name}: {text}\n" for name, text in texts.items())
        (home / f"core-sounds-{language}.txt.gz").write_bytes(gzip.compress(lines.encode()))
        (folder / "sounds" / language).mkdir(parents=True)
        for name in texts:
            (folder / "sounds" / language / f"{name}.g722").touch()


def test_fitted_and_judged_prompts_share_no_text(tmp_path, monkeypatch):
    texts = {}
    for number in range(100):
        texts[f"a{number}"] = f"Please press the key number {number} now."
        texts[f"b{number}"] = f"please press -- the key, number {number} now"
    write_prompts(tmp_path, texts)
    monkeypatch.setattr(prompts_of, "TEXTS", tmp_path / "doc")
    monkeypatch.setattr(prompts_of, "SOUNDS", tmp_path / "sounds")
    halves = [{p.name for p in prompts_of.prompts("fr", fitted)} for fitted in (True, False)]
    assert not halves[0] & halves[1] and len(halves[0] | halves[1]) == 200
    assert 60 < len(halves[0]) < 140
    for number in range(100):
        assert (f"a{number}" in halves[0]) == (f"b{number}" in halves[0])


def test_the_study_judges_nothing_that_a_code_was_fitted_to():
    from gnuradio.largesc.studies.translation import chosen_prompts
    from gnuradio.largesc.training.recipes.channel_code import DEFAULT_CONFIG, fitted_prompts

    try:
        judged = chosen_prompts(1000)
        fitted = fitted_prompts(yaml.safe_load(DEFAULT_CONFIG.read_text())["prompts"])
    except prompts_of.PromptsError as error:
        pytest.skip(str(error))

    def words(prompt: prompts_of.Prompt) -> str:
        return "".join(c for c in prompt.reference.lower() if c.isalnum())

    assert len(judged) > 300 and len(fitted) > 300
    assert not {words(p) for p in judged} & {words(p) for p in fitted}


def test_times_of_subtitles():
    assert srt_time(3661.5) == "01:01:01,500"


def test_whisper_decodes_several_as_one_by_one():
    """Real weights: of different lengths, languages and forced words."""
    if lacking := absent(["ctranslate2", "faster_whisper", "av", *MODELS["base"].packages]):
        pytest.skip(f"{lacking[0]} is not installed")
    try:
        chosen = [prompts_of.prompts(language, False)[30] for language in ("fr", "es", "it", "ru")]
    except prompts_of.PromptsError as error:
        pytest.skip(str(error))
    model = large_model("base")
    features = []
    for prompt in chosen:
        frames = LogMel(prompts_of.RATE_HZ).push(prompts_of.speech_of(prompt))[:800]
        quiet_frames = np.full((50, BANDS), LEAST, dtype=np.float32)
        spoken = model.encode(np.concatenate([frames, quiet_frames]))[: len(frames) // STRIDE]
        features.append(np.concatenate([spoken, model.silence]))
    plain = [Question(f, p.language) for f, p in zip(features, chosen, strict=True)]
    alone = [model.decode(**vars(question)) for question in plain]
    # Of one length nothing is padded.
    same = model.decode_all([plain[0]] * 3)
    assert [found.tokens for found in same] == [alone[0].tokens] * 3
    forced = [
        replace(question, forced=found.tokens[:number])
        for number, (question, found) in enumerate(zip(plain, alone, strict=True))
    ]
    both = model.decode_all([*forced, *(replace(q, beam=5) for q in plain)])
    assert len(both) == 8
    for question, found in zip([*forced, *plain], both, strict=True):
        bound = most_tokens(len(question.features) / 50) - len(question.forced)
        assert 0 < len(found.tokens) <= bound and -2.0 < found.confidence < 0.0
    for found, one in zip(both[4:], alone, strict=True):
        said, wanted = (set(model.text(h.tokens).lower().split()) for h in (found, one))
        assert len(said & wanted) >= 0.4 * len(wanted)


def test_german_is_translated(capsys):
    """Real speech that is at hand where this project is built, and nowhere else."""
    if not GERMAN.is_file():
        pytest.skip("no German speech")
    wanted = ["ctranslate2", "faster_whisper", *MODELS["base"].packages]
    if lacking := absent(wanted):
        pytest.skip(f"{lacking[0]} is not installed")
    given = ["translate", "loopback", str(GERMAN), "--language", "de", "--channel", "awgn"]
    assert main([*given, "--snr", "19", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = "".join(line.get("committed", "") for line in lines).lower()
    # On the castle there is a hunting museum and a restaurant with a guest house.
    assert "museum" in said and "restaurant" in said


def test_a_prompt_is_translated(tmp_path, capsys):
    """Real weights, real speech, a fading channel."""
    wanted = ["ctranslate2", "faster_whisper", "piper", "av", *MODELS["base"].packages]
    if lacking := absent([*wanted, *MODELS["joe"].packages]):
        pytest.skip(f"{lacking[0]} is not installed")
    try:
        prompt = next(p for p in prompts_of.prompts("fr") if p.name == "conf-getpin")
    except prompts_of.PromptsError as error:
        pytest.skip(str(error))
    from gnuradio.largesc.speech.files import read_audio, resampled

    source, target = tmp_path / "in.wav", tmp_path / "out.wav"
    write_audio(source, resampled(prompts_of.speech_of(prompt), 16000))
    given = ["translate", "loopback", str(source), str(target), "--segment-s", "1.5", "--json"]
    assert main([*given, "--srt", str(tmp_path / "out.srt")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = "".join(line.get("committed", "") for line in lines)
    assert "code" in said and "conference" in said
    assert np.abs(read_audio(target)).max() > 0.1
    assert "conference" in (tmp_path / "out.srt").read_text()
    assert lines[-1]["statistics"]["windows"] == 1
