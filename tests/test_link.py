# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole chain in a flowgraph."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import keys
from gnuradio.largesc.blocks.messages import DONE
from helpers import wait_until

ERASED = 0xFFFF


def check_bit_exact(tb, observer, frames: int) -> None:
    assert sorted(observer.received) == list(range(frames))
    for index, tokens in observer.received.items():
        sent = observer.decisions[index]["tokens_sent"]
        assert np.array_equal(tokens[:sent], observer.tokens[index][:sent]), index
        assert np.all(tokens[sent:] == ERASED)
    assert tb.statistics()["depacketizer"]["packets_lost"] == 0


@pytest.mark.parametrize("policy", ["table", "fixed", "learned"])
@pytest.mark.parametrize("layout", ["sequential", "pair", "parity"])
@pytest.mark.parametrize("frames_per_packet", ["1", "2", "3", "4"])
def test_lossless_loopback_is_bit_exact(run_link, speech, policy, layout, frames_per_packet):
    options = ["--policy", policy, "--layout", layout, "--frames-per-packet", frames_per_packet]
    options += ["--concealer", "repeat", "--expected-loss", "0.3", "--budget", "1600"]
    tb, observer = run_link(speech, *options, "--tokens-repeated", "3")
    check_bit_exact(tb, observer, 50)
    assert len(tb.sink.data()) == 50 * 1920


def test_budget_holds_over_any_25_frames(run_link, speech):
    for budget in ("550", "1100", "2062"):
        tb, observer = run_link(
            speech, "--budget", budget, "--concealer", "repeat", "--loss", "0.2"
        )
        used = [d["tokens_sent"] + d["tokens_repeated"] for d in observer.decisions.values()]
        windows = np.convolve(used, np.ones(25), "valid")
        assert windows.max() * 11 <= float(budget) * 2 + 1e-9
        assert max(used) <= 16


@pytest.mark.parametrize("concealer", ["lm", "interpolate", "repeat", "silence"])
@pytest.mark.parametrize("loss", ["0.3", "1.0"])
def test_losses_neither_hang_nor_shorten(run_link, speech, concealer, loss):
    tb, _ = run_link(speech, "--loss", loss, "--concealer", concealer)
    out = np.array(tb.sink.data())
    assert len(out) == 50 * 1920 and np.all(np.isfinite(out)) and np.abs(out).max() <= 1.0
    facts = tb.statistics()
    assert facts["concealer"]["frames"] == 50 and facts["concealer"]["failures"] == 0
    assert (
        facts["channel"]["sent"]
        == facts["channel"]["dropped"] + (facts["depacketizer"]["packets_received"])
    )


def test_parity_brings_back_what_copies_do_not(run_link, speech):
    lost = {}
    for layout in ("sequential", "parity"):
        tb, _ = run_link(
            np.concatenate([speech, speech, speech]), "--layout", layout, "--concealer", "repeat",
            "--loss", "0.3", "--expected-loss", "0.3",
        )  # fmt: skip
        facts = tb.statistics()
        lost[layout] = facts["depacketizer"]["frames_lost"]
        assert facts["depacketizer"]["packets_lost"] > 20
        assert facts["depacketizer"]["parity_conflicts"] == 0
    assert facts["depacketizer"]["tokens_recovered"] > 30
    assert lost["parity"] < lost["sequential"] / 2


def test_same_seed_same_losses(run_link, speech):
    first, _ = run_link(speech, "--loss", "0.3", "--seed", "4")
    second, _ = run_link(speech, "--loss", "0.3", "--seed", "4")
    # The report comes back at another moment, so that only the channel repeats exactly.
    assert first.channel.statistics()["dropped"] == second.channel.statistics()["dropped"]


def test_damage_on_the_way_is_survived(run_link, speech):
    tb, _ = run_link(
        speech,
        *["--loss", "0.1", "--bit-errors", "0.01", "--duplicate", "0.2"],
        *["--reorder", "0.2", "--jitter-ms", "100", "--concealer", "repeat"],
    )
    facts = tb.statistics()["depacketizer"]
    assert facts["refused_crc"] > 0 and facts["duplicates"] > 0
    assert len(tb.sink.data()) == 50 * 1920


def test_dtx_sends_nothing_in_silence(run_link, speech):
    tb, observer = run_link(speech, "--dtx", "--concealer", "repeat")
    facts = tb.statistics()
    assert facts["packetizer"]["frames_skipped"] > 5
    assert facts["depacketizer"]["silence_frames"] >= facts["packetizer"]["frames_skipped"]
    assert facts["depacketizer"]["frames_lost"] == 0
    assert sorted(observer.received) == list(range(50))


def test_what_the_budget_leaves_out_does_not_count_as_lost(run_link, speech):
    for options, lost in (([], False), (["--loss", "0.3", "--seed", "2"], True)):
        tb, _ = run_link(speech, "--budget", "600", *options)
        facts = tb.statistics()
        assert facts["frames_cut"] > 20
        assert (facts["frames_made_up"] > 0) == lost
        most = facts["depacketizer"]["frames_released"] - facts["frames_cut"]
        assert facts["frames_made_up"] <= most + facts["depacketizer"]["packets_lost"]


def test_method_of_concealment_changes_while_it_runs(models):
    block = largesc.moshi_concealer(method="repeat", model=models, codec=models, mode="offline")
    tb, sink = gr.top_block(catch_exceptions=False), blocks.message_debug(False)
    tb.msg_connect(block, "tokens", sink, "store")
    tb.start()
    lost = pmt.init_u16vector(8, [0xFFFF] * 8)
    whole = pmt.init_u16vector(8, list(range(8)))

    def frames(first: int) -> None:
        for n, body in enumerate([whole, lost, whole, lost]):
            meta = pmt.to_pmt({keys.frame_index: first + n})
            block.gateway._post(pmt.intern("tokens"), pmt.cons(meta, body))
        wait_until(lambda: block.statistics()["frames"] >= first + 4)

    for round_, method in enumerate(["lm", "interpolate", "silence", "repeat"]):
        block.set_method(method)
        frames(4 * round_)
    block.set_method("guess")
    assert block.statistics()["frames"] == 16 == sink.num_messages()
    # All but silence makes lost frames up.
    assert block.statistics()["frames_made_up"] == 6
    assert block.statistics()["refused_settings"] == 1
    block.gateway._post(pmt.intern("system"), DONE)
    tb.wait()
    assert sink.num_messages() == 17
