# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may import whom: a room is a folder of the package, or a file on its ground floor.

All is read with ``ast``, imports within functions among it; nothing is imported.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "python" / "largesc"
# Outside of these rooms nobody knows of flowgraphs.
SHELL = {"blocks", "flowgraphs", "cli", "studies"}
# Files of no stage, which may be imported from anywhere.
GROUND = {"files", "tables", "options", "packages", "_core"}
# What runs an in-tree code by itself, without a flowgraph of this project.
RUNS_GNU_RADIO = {"radio/codes.py"}
OWNER = "speech/format.py"
OWNED_NAMES = {"SAMPLE_RATE_HZ", "FRAME_SAMPLES", "FRAME_S", "FRAME_MS"}


@cache
def sources() -> list[Path]:
    """All Python files of the package but its own ``__init__``, which exports lazily by name."""
    return sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def rooms() -> set[str]:
    return {room_of(path) for path in sources()}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def exports() -> dict[str, str]:
    """Name to module of what the package exports lazily."""
    for node in tree_of(PACKAGE / "__init__.py").body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_EXPORTS":
            return ast.literal_eval(node.value)
    raise AssertionError("the package has no _EXPORTS any more")


def imported_by(path: Path) -> set[str]:
    """Full names of what a file imports; names of the package begin with ``gnuradio.largesc``."""
    here = ["gnuradio", "largesc", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) + 1 - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                name = alias.name
                if module == "gnuradio.largesc":
                    name = exports().get(name, name)
                found.add(f"{module}.{name}")
    return found


def rooms_imported_by(path: Path) -> set[str]:
    start = "gnuradio.largesc."
    inside = {n.removeprefix(start) for n in imported_by(path) if n.startswith(start)}
    return {name.split(".")[0] for name in inside} - {room_of(path)}


@cache
def imports() -> dict[str, dict[str, list[str]]]:
    """By room the rooms that it imports, with the files that do."""
    found: dict[str, dict[str, list[str]]] = {room: {} for room in rooms()}
    for path in sources():
        for other in rooms_imported_by(path):
            name = str(path.relative_to(PACKAGE))
            found[room_of(path)].setdefault(other, []).append(name)
    return found


def test_reader_sees_what_is_there():
    """Else the other tests would pass on an empty graph."""
    graph = imports()
    assert graph["blocks"].keys() >= {"codec", "speech", "_core"}
    assert "codec" in graph["concealment"] and {"blocks", "codec", "models"} <= rooms()
    assert exports()["keys"] == "_core"
    # Within a function, and over the lazy exports.
    assert "gnuradio.largesc.codec.codebooks.codebooks_of" in imported_by(
        PACKAGE / "concealment" / "load.py"
    )


def test_every_import_within_the_package_is_of_a_room():
    known = rooms() | {"_core", "_blocks", "__version__"}
    unknown = {room: others.keys() - known for room, others in imports().items()}
    assert not {room: others for room, others in unknown.items() if others}


def test_models_know_no_stage():
    assert imports()["models"].keys() <= {"files"}


@pytest.mark.parametrize("room", ["files", "tables", "speech", "packets", "channel"])
def test_lower_rooms_know_no_stage(room):
    assert imports()[room].keys() <= GROUND | {"speech"}


def test_core_knows_no_blocks_flowgraphs_studies_or_command_line():
    found = {
        room: {other: files for other, files in others.items() if other in SHELL | {"_blocks"}}
        for room, others in imports().items()
        if room not in SHELL
    }
    assert not {room: others for room, others in found.items() if others}


def test_core_does_not_run_gnu_radio():
    found = {}
    for path in sources():
        name = str(path.relative_to(PACKAGE))
        if room_of(path) in SHELL:
            continue
        foreign = {
            n
            for n in imported_by(path)
            if n.split(".")[0] in ("gnuradio", "pmt") and not n.startswith("gnuradio.largesc")
        }
        if foreign:
            found[name] = foreign
    # No more than these, and no exception that is needed no longer.
    assert found.keys() == RUNS_GNU_RADIO, found


def test_only_the_command_line_knows_the_command_line():
    assert not {room for room, others in imports().items() if "cli" in others}


def test_rooms_make_no_circle():
    graph = {room: sorted(others.keys() & rooms()) for room, others in imports().items()}
    done: set[str] = set()

    def visit(room: str, way: list[str]) -> None:
        if room in way:
            circle = [*way[way.index(room) :], room]
            files = [imports()[a][b] for a, b in zip(circle, circle[1:], strict=False)]
            raise AssertionError(f"{' -> '.join(circle)}: {files}")
        if room not in done:
            for other in graph[room]:
                visit(other, [*way, room])
            done.add(room)

    for room in sorted(graph):
        visit(room, [])


def number_of(node: ast.AST) -> float | None:
    """Value of an expression of numbers only, as ``24000``, ``24e3`` or ``24 * 1000``."""
    if not isinstance(node, ast.Constant | ast.BinOp | ast.UnaryOp):
        return None
    parts = list(ast.walk(node))
    kinds = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    if not all(isinstance(p, kinds) for p in parts):
        return None
    constants = [p.value for p in parts if isinstance(p, ast.Constant)]
    if not all(type(value) in (int, float) for value in constants) or len(constants) > 4:
        return None
    try:
        return float(eval(compile(ast.Expression(node), "number", "eval")))
    except (ArithmeticError, TypeError):
        return None


def named_values(tree: ast.Module) -> list[tuple[str, ast.expr]]:
    """Names and what they are given: by assignment, as a default or as an argument of a call."""
    found: list[tuple[str, ast.expr | None]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=False)
                    found += [(getattr(t, "id", ""), value) for t, value in pairs]
                found.append((getattr(target, "id", ""), node.value))
        elif isinstance(node, ast.AnnAssign):
            found.append((getattr(node.target, "id", ""), node.value))
        elif isinstance(node, ast.arguments):
            names = [a.arg for a in [*node.posonlyargs, *node.args]]
            found += zip(names[len(names) - len(node.defaults) :], node.defaults, strict=True)
            found += zip([a.arg for a in node.kwonlyargs], node.kw_defaults, strict=True)
        elif isinstance(node, ast.keyword) and node.arg:
            found.append((node.arg, node.value))
    return [(name, value) for name, value in found if value is not None]


def borrowed_numbers(path: Path) -> list[str]:
    """Lines of a file that say by themselves what the format of speech is."""
    tree, found = tree_of(path), []
    for node in ast.walk(tree):
        if number_of(node) in (24000.0, 1920.0):
            found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    for name, value in named_values(tree):
        number = number_of(value)
        frame = (name.lower().endswith("_ms") and number == 80.0) or (
            name.lower().endswith("_s") and number == 0.08
        )
        if frame or (name in OWNED_NAMES and number is not None):
            found.append(f"{path.name}:{value.lineno}: {name} = {ast.unparse(value)}")
    return found


def test_format_of_speech_has_one_owner():
    places = [p for p in sources() if p != PACKAGE / OWNER]
    places += [*(ROOT / "examples").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
    assert not [line for path in places for line in borrowed_numbers(path)]


@pytest.mark.parametrize(
    "text",
    [
        "RATE = 24_000",
        "x = f(24e3)",
        "y = 24 * 1000 // 2 * 2",
        "def f(deadline_ms: int = 80): pass",
        "def f(*, packet_ms=80.0): pass",
        "class A:\n    deadline_ms: int = 80",
        "f(frame_s=0.08)",
        "FRAMES, FRAME_MS = 2, 80",
        "n = len(x) // 1920",
    ],
)
def test_borrowed_numbers_are_seen(text, tmp_path):
    path = tmp_path / "some.py"
    path.write_text(text)
    assert borrowed_numbers(path)
    path.write_text('"""1920 samples at 24000 Hz."""\nx = 80\nrate_hz = 16000\nwait_ms = 160\n')
    tree_of.cache_clear()
    assert not borrowed_numbers(path)


def test_every_room_is_in_the_architecture():
    said = (ROOT / "docs" / "architecture.md").read_text()
    folders = sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py"))
    assert not [name for name in folders if f"`{name}/`" not in said]
