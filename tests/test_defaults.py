# SPDX-License-Identifier: GPL-3.0-or-later
"""Each default has one owner, and each block of Companion passes on what it asks for."""

import ast
import inspect
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from gnuradio import largesc
from gnuradio.largesc.cli import arguments
from gnuradio.largesc.cli.main import parser
from gnuradio.largesc.options import (
    ChannelOptions,
    LinkOptions,
    ReceiverOptions,
    ReportOptions,
    SenderOptions,
)

ROOT = Path(__file__).parent.parent
YMLS = sorted((ROOT / "grc").glob("*.block.yml"))
# What has no default has an example in Companion.
REQUIRED = {"key_file": "", "shown": [("accepted", "accepted", "", 1, "")]}
# Only Companion has it: another unit for the same argument.
OWN_PARAMETERS = {"burst_unit"}


def arguments_of(block: type) -> dict[str, object]:
    """Arguments and defaults of a block's constructor; a C++ block's are in its docstring."""
    if not inspect.isfunction(block.__init__):
        found = re.findall(r"(\w+): [\w.]+(?:\[.*?\])? = ([^,)]*)", block.__init__.__doc__)
        return {name: ast.literal_eval(value) for name, value in found}
    parameters = list(inspect.signature(block.__init__).parameters.values())[1:]
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters), block
    return {p.name: REQUIRED[p.name] if p.default is p.empty else p.default for p in parameters}


def value_of(parameter: dict) -> object:
    """A default as Companion hands it on."""
    if parameter["dtype"] in ("enum", "string", "file_open", "file_save"):
        return str(parameter["default"])
    return ast.literal_eval(str(parameter["default"]))


@pytest.mark.parametrize("path", YMLS, ids=lambda p: p.name)
def test_companion_has_the_defaults_of_the_block(path):
    found = yaml.safe_load(path.read_text())
    takes = arguments_of(getattr(largesc, found["id"].removeprefix("largesc_")))
    offered = {p["id"]: value_of(p) for p in found["parameters"]}
    assert OWN_PARAMETERS >= offered.keys() - takes.keys()
    assert {k: v for k, v in offered.items() if k in takes} == {
        k: takes[k] for k in offered if k in takes
    }


@pytest.mark.parametrize("path", YMLS, ids=lambda p: p.name)
def test_companion_passes_each_parameter_by_its_name(path):
    found = yaml.safe_load(path.read_text())
    text = re.sub(r"^ *%.*$", "", found["templates"]["make"], flags=re.M)
    passed = dict(re.findall(r"(\w+)=([^=].*?)(?:,?\s*$|, (?=\w+=)|\)$)", text, flags=re.M))
    names = {p["id"] for p in found["parameters"]} - OWN_PARAMETERS
    assert passed.keys() == names
    for name, value in passed.items():
        assert re.search(rf"\b{name}\b", value), f"{name} gets {value}"


@pytest.mark.parametrize("path", YMLS, ids=lambda p: p.name)
def test_booleans_of_companion_are_chosen_from_a_list(path):
    for parameter in yaml.safe_load(path.read_text())["parameters"]:
        if parameter["dtype"] == "bool":
            assert parameter["options"] == ["True", "False"]


def test_blocks_have_the_defaults_of_the_options():
    speech_tx, speech_rx = arguments_of(largesc.speech_tx), arguments_of(largesc.speech_rx)
    link = asdict(LinkOptions())
    link.pop("key")
    assert speech_tx == link | asdict(SenderOptions())
    assert speech_rx == link | asdict(ReceiverOptions())
    assert arguments_of(largesc.loss_channel) == asdict(ChannelOptions())
    reports = arguments_of(largesc.report_tx) | arguments_of(largesc.report_rx)
    assert reports.items() >= asdict(ReportOptions()).items()


def test_what_is_wired_has_the_defaults_of_its_neighbour():
    whole = arguments_of(largesc.speech_tx) | arguments_of(largesc.speech_rx)
    for name in (
        "uep_packetizer",
        "uep_depacketizer",
        "mimi_encoder",
        "mimi_decoder",
        "moshi_concealer",
        "report_tx",
        "report_rx",
    ):
        for key, value in arguments_of(getattr(largesc, name)).items():
            assert whole.get(key, value) == value, (name, key)


def test_command_line_has_the_defaults_of_the_options():
    for command in (["loopback", "a", "b"], ["tx"], ["rx"], ["channel"]):
        args = parser().parse_args(command)
        if command[0] != "channel":
            assert arguments.link_of(args) == LinkOptions()
        if command[0] in ("loopback", "tx"):
            assert arguments.sender_of(args) == SenderOptions()
        if command[0] in ("loopback", "channel"):
            assert arguments.channel_of(args) == ChannelOptions()
        if command[0] in ("loopback", "rx"):
            assert arguments.receiver_of(args) == ReceiverOptions()
        assert arguments.reports_of(args) == ReportOptions()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (LinkOptions(frames_per_packet=5), "frames_per_packet 5"),
        (LinkOptions(layout="spiral"), "layout 'spiral'"),
        (LinkOptions(threads=0), "threads 0"),
        (SenderOptions(budget_bps=float("nan")), "budget_bps nan"),
        (SenderOptions(tokens_sent=3, tokens_repeated=4), "tokens_repeated 4"),
        (ReceiverOptions(mode="slow"), "mode 'slow'"),
        (ReceiverOptions(deadline_ms=400, max_deadline_ms=80), "max_deadline_ms 80"),
        (ChannelOptions(model="fog"), "model 'fog'"),
        (ChannelOptions(bit_error_rate=2.0), "bit_error_rate 2"),
        (ReportOptions(cautious_loss=-1.0), "cautious_loss -1"),
    ],
)
def test_options_are_refused_by_name(options, words):
    with pytest.raises(ValueError, match=words):
        options.checked()
    default = type(options)()
    assert replace(default).checked() == default
