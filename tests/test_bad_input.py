# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad parameters are refused by name; bad messages are counted and survived."""

import json
import shutil
from pathlib import Path

import numpy as np
import pmt
import pytest
import soundfile
from gnuradio import blocks, gr, largesc
from gnuradio.largesc.cli.main import main
from gnuradio.largesc.codec.load import load_codec
from gnuradio.largesc.concealment.load import load_language_model
from gnuradio.largesc.models.store import ModelError

TOKENS = pmt.cons(pmt.make_dict(), pmt.init_u16vector(8, list(range(8))))
DONE = pmt.cons(pmt.intern("done"), pmt.from_long(1))
BAD_MESSAGES = [
    pmt.PMT_NIL,
    pmt.intern("nonsense"),
    pmt.from_double(1.0),
    pmt.cons(pmt.make_dict(), pmt.init_u8vector(3, [1, 2, 3])),
    pmt.cons(pmt.make_dict(), pmt.init_u16vector(3, [1, 2, 3])),
    pmt.cons(pmt.make_dict(), pmt.init_u16vector(8, [5000] * 8)),
]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda m: largesc.mimi_encoder(codec=m, max_in_flight=-1), "max_in_flight -1"),
        (lambda m: largesc.speech_tx(codec=m, max_in_flight=8), "max_in_flight 8"),
        (lambda m: largesc.adaptive_controller(budget_bps=100), "budget_bps 100"),
        (lambda m: largesc.adaptive_controller(budget_bps=3000), "budget_bps 3000"),
        (lambda m: largesc.adaptive_controller(loss_probability=1.5), "loss_probability 1.5"),
        (lambda m: largesc.adaptive_controller(policy="magic"), "magic"),
        (
            lambda m: largesc.loss_channel(model="bernoulli", loss_probability=-0.1),
            "loss_probability -0.1",
        ),
        (
            lambda m: largesc.loss_channel(
                model="gilbert_elliott", loss_probability=0.8, mean_burst=2.0
            ),
            "mean_burst 2",
        ),
        (lambda m: largesc.loss_channel(model="fog"), "fog"),
        (lambda m: largesc.loss_channel(model="trace", trace="/nowhere"), "/nowhere"),
        (lambda m: largesc.uep_depacketizer(mode="slow"), "slow"),
        (lambda m: largesc.uep_depacketizer(deadline_ms=-1), "deadline_ms -1"),
        (lambda m: largesc.moshi_concealer(method="guess"), "guess"),
        (lambda m: largesc.mimi_decoder(codec=m, mode="slow"), "slow"),
        (lambda m: largesc.mimi_encoder(codec="no such model"), "no such model"),
    ],
)
def test_parameters_are_refused_by_name(models, make, words):
    with pytest.raises(ValueError, match=words):
        make(models)


@pytest.mark.parametrize(
    ("name", "port"),
    [
        ("uep_packetizer", "tokens"),
        ("adaptive_controller", "tokens"),
        ("moshi_concealer", "tokens"),
    ],
)
def test_bad_messages_are_counted(name, port):
    make = {"moshi_concealer": lambda: largesc.moshi_concealer(method="repeat")}
    block = make.get(name, getattr(largesc, name))()
    sink = blocks.message_debug(False)
    out = "packets" if name == "uep_packetizer" else "tokens"
    tb = gr.top_block(catch_exceptions=False)
    tb.msg_connect(block, out, sink, "store")
    base = block if name == "uep_packetizer" else block.gateway
    for message in [*BAD_MESSAGES, TOKENS, DONE]:
        if message is DONE:
            base._post(pmt.intern("system"), message)
        else:
            base._post(pmt.intern(port), message)
    tb.start()
    tb.wait()
    # The packetizer sends what is before a token out of range, and counts it.
    cut = name == "uep_packetizer"
    facts = block.statistics()
    assert facts["refused"] == len(BAD_MESSAGES) - cut
    assert facts.get("tokens_invalid", 0) == (8 if cut else 0)
    # The good frame and the end of the stream.
    assert sink.num_messages() == 2 + cut


def test_depacketizer_counts_what_is_no_packet():
    block = largesc.uep_depacketizer(mode="offline")
    tb = gr.top_block(catch_exceptions=False)
    sink = blocks.message_debug(False)
    tb.msg_connect(block, "tokens", sink, "store")
    rng = np.random.default_rng(1)
    for _ in range(200):
        data = rng.integers(0, 256, int(rng.integers(1, 80))).tolist()
        block._post(
            pmt.intern("packets"), pmt.cons(pmt.make_dict(), pmt.init_u8vector(len(data), data))
        )
    for message in BAD_MESSAGES[:3]:
        block._post(pmt.intern("packets"), message)
    block._post(pmt.intern("system"), DONE)
    tb.start()
    tb.wait()
    facts = block.statistics()
    assert facts["refused_crc"] + facts["refused_format"] >= 195
    assert facts["refused_messages"] == 3


@pytest.mark.parametrize(
    "report",
    [
        pmt.intern("no dict"),
        pmt.PMT_NIL,
        pmt.dict_add(pmt.make_dict(), pmt.intern("loss_probability"), pmt.from_double(7.0)),
        pmt.dict_add(pmt.make_dict(), pmt.intern("loss_probability"), pmt.intern("much")),
    ],
)
def test_report_that_says_nothing_is_counted(report):
    block = largesc.adaptive_controller()
    block._on_report(report)
    assert block.statistics()["refused"] == 1 and block.loss_probability == 0.0


def test_invalid_samples_are_counted(run_link, speech):
    speech[1000:1010] = np.nan
    speech[5000] = np.inf
    tb, _ = run_link(speech, "--concealer", "repeat")
    assert tb.tx.encoder.statistics()["invalid_samples"] == 11
    assert np.all(np.isfinite(tb.sink.data()))


def test_one_sample_is_one_frame(tmp_path, models):
    soundfile.write(tmp_path / "one.wav", np.zeros(1, dtype=np.float32), 24000)
    arguments = [str(tmp_path / "one.wav"), str(tmp_path / "out.wav"), "--codec", models]
    assert main(["loopback", *arguments, "--concealer", "repeat"]) == 0
    assert len(soundfile.read(tmp_path / "out.wav")[0]) == 1


@pytest.mark.parametrize("content", [None, b"", b"no audio"])
def test_unusable_file_is_named(tmp_path, models, capsys, content):
    path = tmp_path / "in.wav"
    if content is not None:
        path.write_bytes(content)
    assert main(["loopback", str(path), str(tmp_path / "out.wav"), "--codec", models]) == 2
    assert str(path) in capsys.readouterr().err


def test_empty_wav_is_named(tmp_path, models, capsys):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, dtype=np.float32), 24000)
    arguments = [str(tmp_path / "empty.wav"), str(tmp_path / "out.wav"), "--codec", models]
    assert main(["loopback", *arguments]) == 2
    assert "empty" in capsys.readouterr().err


def test_corrupt_weights_are_named(tmp_path, models):
    folder = Path(shutil.copytree(models, tmp_path / "m"))
    data = bytearray((folder / "codec.safetensors").read_bytes())
    data[-100] ^= 0xFF
    (folder / "codec.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match="sha256"):
        load_codec(str(folder))
    (folder / "sha256.json").unlink()
    (folder / "codec.safetensors").write_bytes(data[:100])
    with pytest.raises(ModelError, match="corrupt"):
        load_codec(str(folder))


def test_weights_of_another_shape_are_named(tmp_path, models):
    folder = Path(shutil.copytree(models, tmp_path / "m"))
    config = json.loads((folder / "lm.json").read_text()) | {"dim": 64}
    (folder / "lm.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="shape"):
        load_language_model(str(folder))


def test_hub_without_network_gives_the_remedy(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="huggingface-cli download"):
        load_codec("hf://kyutai/nothing-of-this-name")
