# SPDX-License-Identifier: GPL-3.0-or-later
"""A Python block that nobody refers to lives as long as its run; what its end raises is counted."""

import gc
import importlib
import pkgutil
import threading
import weakref

import pmt
import pytest
from gnuradio import blocks, gr
from gnuradio.largesc import report_rx, report_tx
from gnuradio.largesc.blocks.block_base import ThreadedBlock, TokenBlock
from gnuradio.largesc.blocks.messages import make_packet, report_dict
from gnuradio.largesc.packets.report import Report
from helpers import wait_until

PACKAGES = ["gnuradio.largesc.blocks", "gnuradio.largesc.flowgraphs"]


class failing_at_stop(TokenBlock, gr.basic_block):  # noqa: N801
    """Raises when a run is over."""

    def __init__(self) -> None:
        gr.basic_block.__init__(self, "failing_at_stop", None, None)
        self.open_ports({}, [], None)

    def halt(self) -> None:
        raise OSError("the device is gone")


def every_kind() -> list[type]:
    """All blocks of the package on this base."""
    for package in map(importlib.import_module, PACKAGES):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    return [TokenBlock, *below(TokenBlock)]


def below(base: type) -> list[type]:
    return [kind for sub in base.__subclasses__() for kind in (sub, *below(sub))]


def connected(tb: gr.top_block) -> list[weakref.ref]:
    """Blocks that only the flowgraph has, and that it runs."""
    tx, rx, found = report_tx(interval_ms=0), report_rx(), blocks.message_debug()
    tb.msg_connect(tx, "packets", rx, "packets")
    tb.msg_connect(rx, "report", found, "store")
    tb.start()
    tx.to_basic_block()._post(pmt.intern("report"), report_dict(Report(0.1)))
    return [weakref.ref(tx), weakref.ref(rx), found]


def test_blocks_live_while_they_run_and_no_longer():
    tb = gr.top_block(catch_exceptions=False)
    tx, rx, found = connected(tb)
    gc.collect()
    assert tx() is not None and rx() is not None
    tx().to_basic_block()._post(pmt.intern("send"), pmt.PMT_NIL)
    wait_until(lambda: found.num_messages() > 0)
    rx().to_basic_block()._post(pmt.intern("packets"), make_packet(b""))
    tb.stop()
    tb.wait()
    gc.collect()
    assert tx() is None and rx() is None


def test_what_the_end_of_a_run_raises_does_not_end_the_program(tb):
    block, sink = failing_at_stop(), blocks.message_debug()
    tb.msg_connect(block, "status", sink, "store")
    for _ in range(2):
        tb.start()
        tb.stop()
        tb.wait()
        assert block.statistics()["refused"] == 1


@pytest.mark.parametrize("kind", every_kind(), ids=lambda kind: kind.__name__)
def test_every_block_ends_by_the_same_way(kind):
    assert kind.stop is TokenBlock.stop


def test_threads_of_blocks_are_over_behind_their_run(tb):
    rx, found = report_rx(), blocks.message_debug()
    tb.msg_connect(rx, "report", found, "store")
    tb.start()
    assert isinstance(rx, ThreadedBlock) and rx._thread in threading.enumerate()
    tb.stop()
    tb.wait()
    assert not rx._thread.is_alive()
