# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech over the modem against SNR, and unequal codes within a burst: the parts."""

import numpy as np
import pytest
import soundfile
from gnuradio.largesc.control.policies import Channel
from gnuradio.largesc.evaluation.systems.codec2 import Codec2
from gnuradio.largesc.radio.profiles import TAIL_BITS
from gnuradio.largesc.studies.radio import speech as radio_speech
from gnuradio.largesc.studies.radio import unequal
from gnuradio.largesc.studies.radio.analogue import PARITY
from gnuradio.largesc.studies.radio.unequal import CODED_BITS, SPLITS, errors, received_tokens

OURS, EXACT, C1300, C700, C700_BPSK = radio_speech.CONTESTANTS


@pytest.fixture
def wav(tmp_path, speech) -> str:
    soundfile.write(tmp_path / "in.wav", speech, 24000)
    return str(tmp_path / "in.wav")


@pytest.mark.parametrize("contestant", [*radio_speech.CONTESTANTS, PARITY], ids=lambda c: c.name)
def test_each_fits_its_time_and_is_heard(wav, contestant):
    sizes = radio_speech.sizes_of(contestant, wav, Channel(0.2, 1.5))
    radio = contestant.setting.radio
    assert sum(map(radio.airtime, sizes)) <= contestant.packet_ms / 1000 * len(sizes)
    good = radio_speech.on_air(contestant, sizes, "white noise", 8.0)
    assert not good.lost.any() and 0 < good.air_share <= 1
    assert good.channel == Channel(0.0, 1.0)
    bad = radio_speech.on_air(contestant, sizes, "white noise", -12.0)
    assert bad.lost.all() and bad.channel.loss_probability == 1.0
    assert good.ebn0_db - bad.ebn0_db == pytest.approx(20.0)


def test_packets_are_as_large_as_told(wav):
    assert set(radio_speech.sizes_of(OURS, wav, Channel(0.0))) == {25}
    assert set(radio_speech.sizes_of(C1300, wav, Channel(0.0))) == {33}
    assert set(radio_speech.sizes_of(C700, wav, Channel(0.0))) == {18}
    assert set(radio_speech.sizes_of(C700_BPSK, wav, Channel(0.0))) == {36}


@pytest.mark.parametrize("contestant", [OURS, C1300, PARITY], ids=lambda c: c.name)
def test_lost_packets_change_the_speech_where_they_were(wav, contestant):
    count = len(radio_speech.sizes_of(contestant, wav, Channel(0.0)))
    gone = tuple(n == 5 for n in range(count))
    whole, holed = (
        radio_speech.decoded(
            radio_speech.Job(contestant, wav, Channel(0.0), lost, "repeat", ("stoi",))
        )
        for lost in ((False,) * count, gone)
    )
    assert len(whole) == len(holed) == 4 * 24000
    begin = round(5 * contestant.packet_ms * 24)
    assert np.allclose(whole[: begin - 2400], holed[: begin - 2400], atol=1e-3)
    assert not np.allclose(whole[begin:], holed[begin:], atol=1e-3)


def test_codec2_packets_hold_whole_frames():
    assert Codec2("1300", 200).latency.framing_ms == 220
    with pytest.raises(ValueError, match="use a multiple of 40"):
        Codec2("700C", 100)


@pytest.mark.parametrize("split", SPLITS, ids=lambda s: s.name)
def test_splits_fill_the_burst_and_no_more(split):
    assert CODED_BITS == 444
    assert sum(coded for _, coded in split.parts()) == CODED_BITS
    for bits, coded in split.parts():
        places = unequal.fitted(2 * (bits + TAIL_BITS), coded)
        assert len(places) == coded and places[-1] < 2 * (bits + TAIL_BITS)
    random = np.random.default_rng(0)
    clean = [errors(bits, room, np.ones(3), 1e3, random) for bits, room in split.parts()]
    assert not np.any(clean)


def test_first_tokens_hold_out_longest():
    one, _, _, first, *_ = SPLITS
    at = {s.name: received_tokens(s, "white noise", 1.0, 100) for s in (one, first)}
    assert np.mean(at[one.name] == 0) > 0.2 > np.mean(at[first.name] == 0)
    assert set(at[first.name]) <= {0, 1, 8}
    faded = received_tokens(one, "Rayleigh by the burst", 8.0, 200)
    # 1 - exp(-2 / 6.3) or so: a burst is lost where its own Es/N0 is below 3 dB.
    assert np.mean(faded == 0) == pytest.approx(0.25, abs=0.1)
