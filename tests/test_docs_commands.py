# SPDX-License-Identifier: GPL-3.0-or-later
"""Each command line in README and docs is one that its parser takes."""

import argparse
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from gnuradio.largesc.cli import main as largesc

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"),
        *ROOT.glob("python/**/*.md"),
    ]
    # What was true of a version stays in it.
    if path.name != "CHANGELOG.md"
)  # fmt: skip
CODE = re.compile(r"^ *```\w*\n(.*?)^ *```$|`([^`]+)`", re.M | re.S)
# What a shell takes apart.
SHELL = ("|", ">", "2>", "<", "&", "&&", ";", "||", "2>&1")
# What stands for something: for more options, a number, or a command of any kind.
ELLIPSIS, NUMBER, ANY = "...", {"N": "1"}, {"COMMAND", "NAME"}
PROGRAMS = {"largesc": None, "radio.py": "radio", "push_to_talk.py": "push_to_talk"}


class Taken(BaseException):
    """The parser has taken the arguments: nothing is to be done with them."""


def lines() -> Iterator[tuple[str, bool, tuple[str, ...]]]:
    """Page, whether it is a line to type, and its words, of each command of ours in the pages."""
    for page in PAGES:
        name = str(page.relative_to(ROOT))
        for block, span in CODE.findall(page.read_text()):
            typed = block.replace("\\\n", " ").splitlines()
            for line in typed or [span.replace("\n", " ").replace("\\|", "|")]:
                # Not those in a drawing.
                for words in commands_of(line) if "----" not in line else ():
                    yield name, bool(block), words


def commands_of(line: str) -> Iterator[tuple[str, ...]]:
    """Our commands in a line of a shell."""
    splitter = shlex.shlex(line, posix=True, punctuation_chars=True)
    splitter.whitespace_split = True
    try:
        words = list(splitter)
    except ValueError:
        # A word with an apostrophe: prose or code, no line of a shell.
        return
    starts = [n for n, word in enumerate(words) if Path(word).name in PROGRAMS]
    for n in starts:
        rest = words[n + 1 :]
        end = next((k for k, word in enumerate(rest) if word in SHELL), len(rest))
        # "2>" is taken apart.
        end -= rest[end - 1 : end + 1] == ["2", ">"]
        given = [NUMBER.get(word, word) for word in rest[:end] if word != ELLIPSIS]
        # A name alone is no command line, nor is what is said of all commands.
        if len(given) > 1 and not {*given[:2]} & ANY:
            yield Path(words[n]).name, *given


LINES = sorted(set(lines()))


def test_pages_have_command_lines():
    assert len(LINES) > 80 and {words[0] for _, _, words in LINES} == set(PROGRAMS)
    sender = ("largesc", "tx", "in.wav", "--to", "127.0.0.1:52001")
    assert ("README.md", True, sender) in LINES


@pytest.mark.parametrize(
    ("page", "typed", "words"), LINES, ids=[f"{page}-{' '.join(words)}" for page, _, words in LINES]
)
def test_command_line_is_taken(page, typed, words, monkeypatch, capsys):
    parse = argparse.ArgumentParser.parse_args

    def once(self, args=None, namespace=None):
        raise Taken(parse(self, args, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", once)
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    name = PROGRAMS[words[0]]
    main = importlib.import_module(name).main if name else largesc.main
    try:
        status = main(list(words[1:]))
    except Taken:
        return
    except SystemExit as error:
        status = error.code
    said = capsys.readouterr().err
    # In prose a command is often named by a part of its arguments.
    partial = any(words in said for words in ("arguments are required", "expected one argument"))
    assert status == 0 or (partial and not typed), f"{page}: {' '.join(words)}: {said}"


def test_bootstrap_knows_what_pages_ask_of_it():
    script = (ROOT / "bootstrap").read_text()
    known = set(re.findall(r"^([a-z]+)\)$", script, re.M))
    asked = {w for p in PAGES for w in re.findall(r"\./bootstrap ([a-z]+)", p.read_text())}
    assert {"demo", "test"} <= asked <= known
