# SPDX-License-Identifier: GPL-3.0-or-later
"""What Python sees of the C++ side: keys, counters in order, help for every parameter."""

import inspect
import re
from binascii import crc_hqx
from pathlib import Path

import pmt
import pytest
from gnuradio import blocks, gr, largesc
from gnuradio.largesc import _blocks, _core

HEADER = Path(__file__).parents[1] / "include" / "gnuradio" / "largesc" / "keys.h"
CPP_BLOCKS = ("uep_packetizer", "loss_channel", "uep_depacketizer")


def test_every_key_of_the_header_is_there():
    named = set(re.findall(r'const char\* \w+ = "(\w+)"', HEADER.read_text()))
    assert named == {name for name in vars(_core.keys) if not name.startswith("_")}


def test_crc_is_that_of_the_format():
    assert _core.append_crc(b"123456789") == b"123456789\x29\xb1"
    for size in (1, 2, 11, 110):
        data = bytes(range(size))
        with_crc = _core.append_crc(data)
        assert with_crc == data + crc_hqx(data, 0xFFFF).to_bytes(2, "big")
        assert _core.has_right_crc(with_crc)
        assert not _core.has_right_crc(with_crc[:-1] + bytes([with_crc[-1] ^ 1]))
    assert not _core.has_right_crc(b"") and not _core.has_right_crc(b"\xff\xff")


def test_counters_come_in_the_order_of_their_list():
    block = largesc.uep_packetizer()
    names = list(block.statistics())
    assert names[:3] == ["frames", "packets", "bytes"] and names[-1] == "refused"
    assert names[:-1] == list(_core.Packetizer().statistics())
    names = list(largesc.uep_depacketizer().statistics())
    assert names[:2] == ["packets_received", "packets_lost"]
    assert names[: len(_core.Depacketizer().statistics())] == list(
        _core.Depacketizer().statistics()
    )
    assert list(largesc.loss_channel().statistics())[:2] == ["sent", "dropped"]


def test_a_status_message_keeps_the_order():
    tb = gr.top_block(catch_exceptions=False)
    block, debug = largesc.uep_packetizer(), blocks.message_debug()
    tb.msg_connect(block, "status", debug, "store")
    block.to_basic_block()._post(
        pmt.intern("system"), pmt.cons(pmt.intern("done"), pmt.from_long(1))
    )
    tb.start()
    tb.wait()
    seen = pmt.to_python(debug.get_message(0))
    assert list(seen) == list(block.statistics())


@pytest.mark.parametrize("name", CPP_BLOCKS)
def test_help_explains_every_parameter(name):
    block = getattr(largesc, name)
    signature = block.__init__.__doc__
    parameters = re.findall(r"(\w+): [\w.]+ = ", signature)
    assert parameters
    for parameter in parameters:
        assert re.search(rf"\b{parameter}\b[^\n]*:", block.__doc__), parameter


def wrapped() -> dict[str, object]:
    """Classes, methods, properties and functions in C++ for Python, by name."""
    found = {}
    for module in (_core, _blocks):
        for name, item in vars(module).items():
            if isinstance(item, type):
                found |= {f"{name}.{k}": v for k, v in vars(item).items() if not k.startswith("_")}
                found[name] = item
            elif callable(item):
                found[name] = item
    return found


@pytest.mark.parametrize("name", wrapped())
def test_help_explains_whatever_wraps_cpp(name):
    item = wrapped()[name]
    signature, _, told = item.__doc__.strip().partition("\n")
    if isinstance(item, type):
        signature, _, of_init = item.__init__.__doc__.partition("\n")
        told = item.__doc__ + of_init
    elif isinstance(item, property):
        signature, told = "", item.__doc__
    assert told.strip().endswith(".")
    for parameter in set(re.findall(r"[(,] ?(\w+): ", signature)) - {"self"}:
        assert re.search(rf"\b{parameter}\b[^\n]*:", told), parameter


@pytest.mark.parametrize("name", sorted(set(largesc.__all__) - {"keys", *CPP_BLOCKS}))
def test_help_explains_every_parameter_of_other_blocks(name):
    block = getattr(largesc, name)
    for parameter in set(inspect.signature(block.__init__).parameters) - {"self", "args", "kwargs"}:
        assert re.search(rf"\b{parameter}\b[^\n]*:", block.__doc__), parameter
