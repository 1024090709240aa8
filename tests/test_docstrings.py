# SPDX-License-Identifier: GPL-3.0-or-later
"""Docstrings of the sources: they are there, say something, and end as sentences do."""

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "python" / "largesc"
LEAST_LETTERS = 30
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def docstring(name: str, node: ast.AST) -> tuple[str, str | None]:
    """Where it is, and its text."""
    return f"{name}: {getattr(node, 'name', 'module')}", ast.get_docstring(node)


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    found = {str(p.relative_to(SOURCES)): ast.parse(p.read_text()) for p in SOURCES.rglob("*.py")}
    assert found
    return found


@pytest.fixture(scope="module")
def texts(modules) -> list[tuple[str, str]]:
    found = [
        docstring(name, node)
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, *DEFINITIONS))
    ]
    return [(where, text) for where, text in found if text is not None]


def is_block(paragraph: str) -> bool:
    """Whether it is code, a table or a diagram: indented, in columns, or a command."""
    last = paragraph.splitlines()[-1]
    return last.startswith(("    ", "largesc ")) or "  " in last.strip()


def test_docstrings_say_more_than_a_name(texts):
    assert not [where for where, text in texts if len(text) < LEAST_LETTERS]


def test_docstrings_end_with_a_full_stop(texts):
    ends = [(where, text.split("\n\n")[-1]) for where, text in texts]
    assert not [where for where, end in ends if not end.endswith(".") and not is_block(end)]


def test_whatever_is_public_has_a_docstring(modules):
    for name, tree in modules.items():
        named = [node for node in tree.body if isinstance(node, DEFINITIONS)]
        public = [tree, *(node for node in named if not node.name.startswith("_"))]
        assert not [where for where, text in (docstring(name, n) for n in public) if text is None]
