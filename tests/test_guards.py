# SPDX-License-Identifier: GPL-3.0-or-later
"""No message and no setting ends a block: both are refused, counted, and said once."""

import logging
import threading
from socket import SOCK_STREAM

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc._blocks import real_time
from gnuradio.largesc.blocks.block_base import ThreadedBlock, TokenBlock
from gnuradio.largesc.blocks.messages import DONE, end_of_stream, lost_frame, to_pmt
from gnuradio.largesc.control.policies import Channel, Controller, Frame
from gnuradio.largesc.flowgraphs.call_numbers import call_numberer, call_picker
from gnuradio.largesc.flowgraphs.end_repeater import end_repeater
from gnuradio.largesc.flowgraphs.transport import udp_packets
from helpers import free_port, wait_until

TOKENS = pmt.init_u16vector(8, [1, 2, 3, 4, 5, 6, 7, 8])
PREFIX = pmt.init_u16vector(8, [1, 2, 3] + [65535] * 5)
ODD = {
    "symbol": pmt.intern("x"),
    "nil": pmt.PMT_NIL,
    "nan": pmt.from_double(float("nan")),
    "negative": pmt.from_long(-7),
    "bytes": pmt.init_u8vector(2, [1, 2]),
    "out of range": pmt.init_u16vector(8, [3000] * 8),
    "floats": pmt.init_f32vector(8, [1.0] * 8),
    "nine nan": pmt.init_f32vector(9, [float("nan")] * 9),
    "dict": pmt.make_dict(),
    "pair": pmt.cons(pmt.PMT_T, pmt.PMT_F),
}
FRAME_KEYS = [
    keys.frame_index, keys.repair, keys.silence, keys.following_tokens, keys.latent,
    keys.level_dbfs, keys.distortion, keys.gain, keys.tokens_sent, keys.end_of_stream,
]  # fmt: skip


def meta(**values) -> object:
    out = pmt.make_dict()
    for key, value in values.items():
        out = pmt.dict_add(out, pmt.intern(key), value)
    return out


def odd_frames() -> list:
    """Frames with one odd value each."""
    return [
        pmt.cons(meta(**{keys.frame_index: pmt.from_long(1)} | {key: value}), vector)
        for key in FRAME_KEYS
        for value in ODD.values()
        for vector in (TOKENS, PREFIX)
    ]


def frame(index: int) -> object:
    return pmt.cons(meta(frame_index=pmt.from_long(index)), TOKENS)


@pytest.mark.parametrize("name", ["adaptive_controller", "moshi_concealer", "mimi_decoder"])
def test_odd_metadata_is_counted_and_the_block_goes_on(name, models):
    make = {
        "adaptive_controller": lambda: largesc.adaptive_controller(),
        "moshi_concealer": lambda: largesc.moshi_concealer(
            model=models, codec=models, mode="offline"
        ),
        "mimi_decoder": lambda: largesc.mimi_decoder(codec=models, mode="offline"),
    }
    tb, block = gr.top_block(catch_exceptions=False), make[name]()
    sink = blocks.vector_sink_f() if name == "mimi_decoder" else blocks.message_debug(False)
    if name == "mimi_decoder":
        tb.connect(block, sink)
    else:
        tb.msg_connect(block, "tokens", sink, "store")
    # Odd values of end_of_stream may be taken for the end: the packetizer's C++ has the same rule.
    odd = [m for m in odd_frames() if not pmt.dict_has_key(pmt.car(m), pmt.intern("end_of_stream"))]
    for message in [frame(0), *odd, *(frame(n) for n in range(2, 7)), end_of_stream(7)]:
        block.gateway._post(pmt.intern("tokens"), message)
    tb.start()
    tb.wait()
    assert block.ended()
    facts = block.statistics()
    assert facts["refused"] > 0 and facts["hints_refused"] > 0
    # A frame that is refused and has a number goes on as a lost one.
    going_on = 6 + sum(lost_frame(message) is not None for message in odd)
    assert going_on == 6 + len(odd) - 2 * len(ODD)
    if name == "mimi_decoder":
        assert facts["frames"] == going_on and len(sink.data()) == 1920 * going_on
    else:
        assert sink.num_messages() == going_on + 1


def decisions(key: str = "", value: object = None) -> np.ndarray:
    """Tokens sent and repeated of frames 21 to 40, where frame 20 has an odd value."""
    block, out = largesc.adaptive_controller(), []
    block.publish = lambda port, message: out.append(message) if port == "tokens" else None
    for n in range(40):
        facts = facts_of(n) | ({key: value} if key and n == 20 else {})
        block._on_port_tokens(pmt.cons(meta(**facts), TOKENS))
    return np.array([to_counts(message) for message in out[-19:]])


def test_each_odd_value_alone_leaves_the_controller_as_it_was():
    usual = decisions().sum(axis=0)
    for key in (keys.level_dbfs, keys.distortion, keys.latent):
        for name, value in ODD.items():
            # Within a token of what is decided without it.
            assert np.all(np.abs(decisions(key, value).sum(axis=0) - usual) <= 1), (key, name)


def facts_of(n: int) -> dict:
    return {
        keys.frame_index: pmt.from_long(n),
        keys.level_dbfs: pmt.from_double(-20.0 - n % 3),
        keys.distortion: pmt.init_f32vector(9, [9.0 / (1 + k) for k in range(9)]),
    }


def to_counts(message) -> list[int]:
    found = pmt.to_python(pmt.car(message))
    return [found.get(keys.tokens_sent, 0), found.get(keys.tokens_repeated, 0)]


@pytest.mark.parametrize("policy", ["exact", "table", "fixed"])
@pytest.mark.parametrize("dtx", [False, True])
def test_policies_keep_nothing_of_a_frame_that_is_no_number(policy, dtx):
    core, same = (Controller(policy, dtx=dtx) for _ in range(2))
    nan = float("nan")
    usual = np.linspace(1.0, 0.1, 9)
    channel = Channel(0.1)
    for n in range(100):
        good = Frame(np.ones(4), -20.0 if n % 30 < 15 else -70.0, usual)
        if n == 10:
            for bad in (
                Frame(np.ones(4), nan, usual),
                Frame(np.ones(4), float("inf"), usual),
                Frame(np.ones(4), -20.0, np.full(9, nan)),
                Frame(np.ones(4), -20.0, usual[:8]),
                Frame(np.full(4, nan), -20.0, usual),
            ):
                with pytest.raises(ValueError):
                    core.decide(bad, channel)
        assert core.decide(good, channel) == same.decide(good, channel)


def all_blocks(tmp_path, models) -> dict:
    """Every Python block with message ports, and those ports."""
    key = tmp_path / "key"
    key.write_bytes(bytes(32))
    key.chmod(0o600)
    return {
        "encoder": (largesc.mimi_encoder(codec=models), ["credit"]),
        "controller": (largesc.adaptive_controller(), ["tokens", "report"]),
        "concealer": (largesc.moshi_concealer(method="repeat"), ["tokens"]),
        "decoder": (largesc.mimi_decoder(codec=models), ["tokens"]),
        "report_tx": (largesc.report_tx(), ["report", "status", "send"]),
        "report_rx": (largesc.report_rx(), ["packets"]),
        "signer": (largesc.packet_signer(key_file=str(key)), ["packets"]),
        "verifier": (largesc.packet_verifier(key_file=str(key)), ["packets"]),
        "monitor": (largesc.link_monitor(), ["sent", "received"]),
        "radio": (largesc.packet_radio_tx().source, ["packets"]),
        "analogue": (largesc.analogue_speech_tx().source, ["packets"]),
        "ofdm": (largesc.packet_radio_rx(profile="wide").sink, ["symbols", "header"]),
        "numberer": (call_numberer(number=1, crc=True), ["packets"]),
        "picker": (call_picker(number=1, crc=True), ["packets"]),
        "repeater": (end_repeater(interval_s=0.0), ["packets"]),
        "text_tx": (largesc.text_tx(text="x"), ["packets"]),
        "text_rx": (largesc.text_rx(), ["packets"]),
        "lamp": (largesc.status_lamp(), ["status"]),
        "kiss": (largesc.kiss_packets(listen=f"127.0.0.1:{free_port(SOCK_STREAM)}"), ["packets"]),
        "udp": (udp_packets(listen=f"127.0.0.1:{free_port()}"), ["packets", "accepted"]),
    }


def test_no_message_raises_out_of_a_handler(tmp_path, models):
    bodies = [*ODD.values(), TOKENS, pmt.init_u8vector(0, []), pmt.init_c32vector(2, [0, 1j])]
    heads = [*ODD.values(), *(pmt.car(m) for m in odd_frames()[::2])]
    random = np.random.default_rng(1)
    messages = bodies + [
        pmt.cons(heads[random.integers(len(heads))], bodies[random.integers(len(bodies))])
        for _ in range(300)
    ]
    for name, (block, ports) in all_blocks(tmp_path, models).items():
        for port in ports:
            handle = getattr(block, f"_on_port_{port}")
            for message in messages:
                handle(message)
        facts = block.statistics()
        assert any(facts.get(c, 0) for c in ("refused", "refused_messages")) or name == "udp"


class Fragile(TokenBlock, gr.basic_block):
    """Raises at every other message."""

    def __init__(self):
        gr.basic_block.__init__(self, "fragile", None, None)
        self.open_ports({"in": self._on_message}, ["out"], "in")
        self.seen = 0

    def _on_message(self, message):
        self.seen += 1
        if self.seen % 2:
            raise KeyError("whatever")
        self.publish("out", message)


def test_what_a_handler_raises_is_counted_and_said_once(caplog):
    tb, block, sink = gr.top_block(catch_exceptions=False), Fragile(), blocks.message_debug(False)
    tb.msg_connect(block, "out", sink, "store")
    for n in range(10):
        block.gateway._post(pmt.intern("in"), pmt.from_long(n))
    tb.start()
    wait_until(lambda: block.seen >= 10 and sink.num_messages() >= 5)
    tb.stop()
    tb.wait()
    assert sink.num_messages() == 5 and block.counters["refused"] == 5
    assert len([r for r in caplog.records if "fragile" in r.getMessage()]) == 1


class Stumbling(ThreadedBlock, gr.basic_block):
    """Its thread fails three times."""

    def __init__(self):
        gr.basic_block.__init__(self, "stumbling", None, None)
        self.open_ports({}, [], None)
        self.runs, self.up = 0, threading.Event()

    def run(self):
        self.runs += 1
        if self.runs <= 3:
            raise OSError("no such thing")
        self.up.set()
        self.stopped.wait()


def test_a_thread_that_fails_begins_anew():
    block = Stumbling()
    block.start()
    assert block.up.wait(60.0)
    block.stop()
    assert block.counters["refused"] == 3


BAD_NUMBERS = [float("nan"), float("inf"), -1e9, 1e9, "much", None]


@pytest.mark.parametrize(
    ("make", "name", "good", "look"),
    [
        ("adaptive_controller", "set_loss_probability", 0.3, lambda b: b.loss_probability),
        ("adaptive_controller", "set_budget_bps", 1500.0, lambda b: id(b._core._window)),
        ("radio_channel", "set_snr_db", 10.0, lambda b: b.model.noise_voltage()),
        ("radio_channel", "set_amplitude", 0.2, lambda b: b.model.noise_voltage()),
        ("radio_channel", "set_carrier_offset_hz", 9.0, lambda b: b.model.frequency_offset()),
        ("radio_channel", "set_clock_ppm", 50.0, lambda b: b.model.timing_offset()),
        ("moshi_concealer", "set_method", "silence", lambda b: id(b._core)),
        ("packet_radio_tx", "set_amplitude", 0.25, lambda b: None),
        ("analogue_speech_tx", "set_amplitude", 0.25, lambda b: sum(b.shaper.taps())),
    ],
)
def test_settings_out_of_range_are_refused_and_the_old_ones_stay(make, name, good, look, caplog):
    block = getattr(largesc, make)()
    getattr(block, name)(good)
    before = look(block)
    for value in BAD_NUMBERS:
        getattr(block, name)(value)
    assert look(block) == before
    assert block.statistics()["refused_settings"] == len(BAD_NUMBERS)
    assert len([r for r in caplog.records if name in r.getMessage()]) == 1


def test_speech_tx_refuses_settings_while_it_runs(models):
    tb, tx = gr.top_block(catch_exceptions=False), largesc.speech_tx(codec=models)
    tb.connect(blocks.null_source(4), real_time(), tx)
    tb.start()
    for value in BAD_NUMBERS:
        tx.set_budget_bps(value)
        tx.set_loss_probability(value)
    tx.set_loss_probability(0.2)
    tb.stop()
    tb.wait()
    assert tx.controller.loss_probability == 0.2
    assert tx.statistics()["controller"]["refused_settings"] == 2 * len(BAD_NUMBERS)


def test_live_decoder_without_pull_says_so_once(models, caplog):
    tb, decoder = gr.top_block(catch_exceptions=False), largesc.mimi_decoder(codec=models)
    tb.connect(decoder, blocks.head(4, 8 * 24000), blocks.null_sink(4))
    tb.run()
    said = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1 and "nothing is connected to `pull`" in said[0].getMessage()


def test_live_decoder_whose_pulls_bring_nothing_says_so_once(models, caplog):
    tb, decoder = gr.top_block(catch_exceptions=False), largesc.mimi_decoder(codec=models)
    tb.connect(decoder, blocks.head(4, 12 * 24000), blocks.null_sink(4))
    depacketizer = largesc.uep_depacketizer()
    tb.msg_connect(decoder, "pull", depacketizer, "pull")
    tb.run()
    said = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(said) == 1 and "no frame came for 5 s" in said[0].getMessage()


def test_chain_of_blocks_with_all_their_defaults_plays(models, speech):
    """As wired in Companion, each wire but none of the parameters."""
    tb = gr.top_block(catch_exceptions=False)
    encoder, decoder = largesc.mimi_encoder(codec=models), largesc.mimi_decoder(codec=models)
    concealer = largesc.moshi_concealer(codec=models, model=models)
    controller, packetizer = largesc.adaptive_controller(), largesc.uep_packetizer()
    channel, depacketizer = largesc.loss_channel(), largesc.uep_depacketizer()
    source = blocks.vector_source_f(speech.tolist(), True)
    tb.connect(source, real_time(), encoder)
    tb.connect(decoder, real_time(), blocks.null_sink(4))
    chain = [encoder, controller, packetizer, channel, depacketizer, concealer, decoder]
    ports = ["tokens", "tokens", "packets", "packets", "tokens", "tokens"]
    for first, second, port in zip(chain, chain[1:], ports, strict=False):
        tb.msg_connect(first, port, second, port)
    tb.msg_connect(decoder, "pull", depacketizer, "pull")
    tb.msg_connect(depacketizer, "report", controller, "report")
    tb.start()
    played = threading.Event()
    for _ in range(600):
        if decoder.statistics()["frames"] >= 20:
            break
        played.wait(0.1)
    tb.stop()
    tb.wait()
    assert decoder.statistics()["frames"] >= 20
    assert concealer.statistics()["frames"] >= 20


def test_done_still_ends_a_block_behind_odd_messages():
    tb, block = gr.top_block(catch_exceptions=False), largesc.adaptive_controller()
    sink = blocks.message_debug(False)
    tb.msg_connect(block, "tokens", sink, "store")
    for message in [*odd_frames()[:40], frame(5)]:
        block.gateway._post(pmt.intern("tokens"), message)
    block.gateway._post(pmt.intern("system"), DONE)
    tb.start()
    tb.wait()
    assert block.ended() and to_pmt(block.statistics())
