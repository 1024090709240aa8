# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers of bursts, restarts of the sender, and how far the listener is behind."""

import numpy as np
import pytest
from gnuradio.largesc.features.text import Text
from gnuradio.largesc.options import TranslationOptions
from gnuradio.largesc.tasks import translation, translation_loopback
from gnuradio.largesc.tasks.translation import (
    Burst,
    BurstOrder,
    TranslationReceiver,
    TranslationSender,
)
from gnuradio.largesc.tasks.translation_loopback import Lags, Said, TranslationLoopback
from test_translation import RATE_HZ, WORDS, SmallModel, code_of, quiet, sent, voice


def turns(*indices: int) -> tuple[list[str], dict]:
    order = BurstOrder()
    return [order.take(index) for index in indices], order.counters


def test_a_receiver_begins_with_the_first_burst_that_it_hears():
    found, counters = turns(700_000, 700_001, 700_003)
    assert found == ["next"] * 3 and counters == {"lost": 1, "late": 0, "restarts": 0}


@pytest.mark.parametrize("begin", [0, 40, 5000, 2**40])
def test_a_receiver_follows_a_sender_that_begins_anew(begin):
    found, counters = turns(2000, 2001, begin, begin + 1, begin + 3, begin + 4)
    assert found == ["next", "next", "late", "late", "anew", "next"]
    assert counters == {"lost": 0, "late": 2, "restarts": 1}


def test_late_doubled_and_broken_numbers_are_no_restart():
    found, counters = turns(100, 99, 98, 97, 96, 101, 5, 5, 5, 10**9, 102, 103)
    assert found.count("late") == 8 and counters["restarts"] == 0
    assert found[-1] == "next" and counters["lost"] == 0


def test_text_goes_on_behind_a_restart_of_the_sender():
    options, code = TranslationOptions(channel="none", symbols=3), code_of()
    receiver = TranslationReceiver(options, SmallModel(), code)
    first = sent(options, code, 3.0)
    # Its last burst is lost, and the new sender counts from 0 again, windows as well.
    texts = [text for burst in first[:-1] for text in receiver.push(burst)]
    assert not texts[-1].last
    texts = [text for burst in sent(options, code, 6.0) for text in receiver.push(burst)]
    assert texts[0].last and texts[0].window == 0
    assert texts[-1].last and receiver.counters["restarts"] == 1
    assert receiver.counters["windows"] == 2


def test_the_end_of_the_stream_ends_a_window():
    options, code = TranslationOptions(channel="none", symbols=3), code_of()
    receiver = TranslationReceiver(options, SmallModel(), code)
    bursts = sent(options, code, 3.0)
    said = [text for burst in bursts[:-1] for text in receiver.push(burst)]
    (text,) = receiver.flush()
    assert text.last and receiver.flush() == []
    assert "".join(t.committed for t in [*said, text]).split() == WORDS
    assert receiver.patience_s == pytest.approx(2.0 + 2.0 * bursts[-2].seconds(50))


def test_a_burst_knows_when_speech_ended():
    sender = TranslationSender(TranslationOptions(channel="none"), SmallModel(), None)
    speech = np.concatenate([quiet(1.0), voice(2.0), quiet(2.0), voice(0.4)])
    bursts = [*sender.push(speech), *sender.flush()]
    ends = [burst for burst in bursts if burst.last]
    assert [b.speech_end / RATE_HZ for b in ends] == pytest.approx([3.0, 5.4], abs=0.051)
    assert ends[0].spoken / RATE_HZ == pytest.approx(3.6, abs=0.051)


def test_speech_behind_a_cut_is_of_the_next_window():
    """A window that is cut at a quiet place ends there, not with the segment."""
    sender = TranslationSender(TranslationOptions(channel="none"), SmallModel(), None)
    speech = voice(20.0)
    speech[int(9.9 * RATE_HZ) : int(10.1 * RATE_HZ)] = 0.0
    (first,) = (b for b in sender.push(speech) if b.last and b.window == 0)
    assert first.speech_end / RATE_HZ == pytest.approx(10.0, abs=0.15)
    assert first.spoken / RATE_HZ > 10.3


def step(index: int, window: int, text_s: float, last: bool, phrase_s: float | None) -> Said:
    symbols = np.zeros((1, 4), dtype=np.complex64)
    ends = 24000 * (window + 1)
    burst = Burst(index, window, 0, last, 0, symbols, np.ones((1, 1)), ends + 14400, ends)
    text = Text(window, " word", "", 1.0, last, False)
    phrases = [] if phrase_s is None else [("word", phrase_s, phrase_s + 1.0)]
    return Said(burst, text, text_s, phrases)


def test_lags_count_from_the_last_sound():
    lags = Lags()
    lags.add(step(0, 0, 0.9, False, 1.5))
    lags.add(step(1, 0, 1.7, True, 2.0))
    lags.add(step(2, 1, 3.1, True, 3.6))
    # Phrases end at 1 and 2 s.
    assert lags.figures() == pytest.approx(
        {"average_latency_s": 1.1, "lag_first_s": (0.5 + 1.6) / 2, "lag_text_s": (0.7 + 1.1) / 2}
    )


def test_latency_is_a_number_where_each_segment_is_a_window():
    lags = Lags()
    for number in range(4):
        lags.add(step(number, number, 1.5 * number, True, None))
    assert lags.figures()["average_latency_s"] == 1.5
    assert np.isnan(Lags().figures()["average_latency_s"])


class Slow:
    """A voice that says each phrase in four seconds, however it is asked."""

    def __init__(self, source: str) -> None:
        pass

    def say(self, text: str, length: float = 1.0) -> np.ndarray:
        return np.full(4 * 24000, 0.5, dtype=np.float32)


@pytest.mark.parametrize("policy", ["agreement", "segment"])
def test_a_voice_that_is_too_slow_leaves_out_what_is_old(monkeypatch, policy):
    monkeypatch.setattr(translation_loopback, "large_model", lambda source: SmallModel())
    monkeypatch.setattr(translation_loopback, "load_channel_code", lambda *_: code_of())
    monkeypatch.setattr(translation_loopback, "Voice", Slow)
    link, most_s, said = TranslationLoopback(TranslationOptions(symbols=3, policy=policy)), 0.0, 0
    for step in link.run([np.concatenate([voice(2.5), quiet(1.0)])] * 30):
        said += len(step.phrases)
        most_s = max([most_s, *(start_s - step.text_s for _, start_s, _ in step.phrases)])
    assert 10.0 < most_s < 15.1 and link.unsaid > 5
    # No two of them at once.
    assert said * 4.0 * 24000 == np.count_nonzero(link.speech() == 0.5)


def test_a_loopback_keeps_no_symbols(monkeypatch):
    monkeypatch.setattr(translation_loopback, "large_model", lambda source: SmallModel())
    monkeypatch.setattr(translation_loopback, "load_channel_code", lambda *_: code_of())
    link, lags = TranslationLoopback(TranslationOptions(symbols=3), voiced=False), Lags()
    for said in link.run([np.concatenate([voice(3.0), quiet(1.0)])] * 3):
        lags.add(said)
    assert link.receiver.counters["windows"] == 3
    assert not any(isinstance(x, Said) for x in (*vars(lags).values(), *vars(link).values()))
    assert translation.PATIENCE_S == 2.0
