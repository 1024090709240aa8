# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed, what is missing, and what to do about it.

Nothing but the standard library is imported before its check.
"""

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..packages import BINDINGS, GNURADIO, PACKAGES, REQUIREMENTS
from .process import home_error

EMBEDDED = Path(__file__).parent.parent / "models" / "embedded"
PARTS = ("codec", "lm", "controller", "estimator", "task")


def _gnuradio() -> str:
    gr = importlib.import_module("gnuradio.gr")
    return f"{gr.version()}"


def _module() -> str:
    import gnuradio.largesc

    return f"{gnuradio.largesc.__version__} in {Path(gnuradio.largesc.__file__).parent}"


class CureError(Exception):
    """A fault with a remedy of its own."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


def _bindings() -> str:
    importlib.import_module("gnuradio.largesc._core")
    blocks = importlib.import_module("gnuradio.largesc._blocks")
    try:
        block = blocks.loss_channel()
        # A block of another pybind11 than GNU Radio's is no block to it.
        importlib.import_module("gnuradio.gr").top_block().msg_connect(
            block, "status", block, "packets"
        )
    except TypeError as error:
        raise CureError(
            f"GNU Radio does not take the blocks ({str(error).splitlines()[0]})",
            "build with the pybind11 that GNU Radio was built with: on Debian apt-get install "
            "pybind11-dev, and none from pip",
        ) from error
    return "core and blocks load, GNU Radio takes them"


def _prefix() -> str:
    """Where the module lies that is imported, and whether there is another."""
    import gnuradio.largesc

    here = Path(gnuradio.largesc.__file__).parent
    places = [Path(p or ".") / "gnuradio" / "largesc" for p in sys.path]
    others = {p.resolve() for p in places if (p / "__init__.py").exists()} - {here.resolve()}
    more = f"; another one, which is not used, in {min(map(str, others))}" if others else ""
    return f"{here.parents[1]}{more}"


def _numpy() -> str:
    """numpy, where GNU Radio can use it: of Debian 12 it was built for numpy 1."""
    numpy = importlib.import_module("numpy")
    if int(numpy.__version__.split(".")[0]) >= 2:
        try:
            blocks = importlib.import_module("gnuradio.blocks")
            blocks.vector_source_c(numpy.zeros(1, numpy.complex64))
        except Exception as error:
            raise CureError(
                f"{numpy.__version__} is too new for this GNU Radio", "pip install 'numpy<2'"
            ) from error
    return numpy.__version__


def _version(name: str) -> Callable[[], str]:
    def found() -> str:
        from importlib.metadata import version

        importlib.import_module(name)
        return version(name)

    return found


def _models() -> str:
    """Sizes of the embedded weights, each of which is there and has its checksum."""
    sums = json.loads((EMBEDDED / "sha256.json").read_text())
    names = sorted({*sums, *(f"{part}.safetensors" for part in PARTS)})
    for name in names:
        path = EMBEDDED / name
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sums.get(name):
            raise ValueError(f"{path} is corrupt: its sha256 is {found[:12]}...")
    files = [EMBEDDED / name for name in names]
    sizes = (f"{file.stem} {file.stat().st_size / 2**20:.1f} MiB" for file in files)
    return ", ".join(sizes) + ", checksums right"


def _gpu() -> str:
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return "none, the embedded models do without"
    return torch.cuda.get_device_name(0)


def _home() -> str:
    if error := home_error():
        raise OSError(error)
    return "GNU Radio's preferences can be kept"


def _grc() -> str:
    places = [Path(sys.prefix) / "share/gnuradio/grc/blocks"]
    places += [Path(p) for p in os.environ.get("GRC_BLOCKS_PATH", "").split(":") if p]
    places += [Path("/usr/local/share/gnuradio/grc/blocks"), Path("/usr/share/gnuradio/grc/blocks")]
    for place in places:
        if (place / "largesc_mimi_encoder.block.yml").exists():
            return str(place)
    raise FileNotFoundError("no block of largesc on the path of GNU Radio Companion")


CHECKS: list[tuple[str, Callable[[], str], str]] = [
    ("GNU Radio", _gnuradio, GNURADIO),
    ("home", _home, "give HOME a folder that can be written; largesc itself does without"),
    ("module", _module, "cmake --install build"),
    ("prefix", _prefix, "cmake --install build"),
    ("bindings", _bindings, BINDINGS),
    *((n, _numpy if n == "numpy" else _version(n), how) for n, how in PACKAGES.items()),
    ("models", _models, "reinstall the module, the weights come with it"),
    ("GPU", _gpu, f"{REQUIREMENTS}; no GPU is needed"),
    ("GRC blocks", _grc, "set GRC_BLOCKS_PATH to PREFIX/share/gnuradio/grc/blocks"),
]


def doctor() -> int:
    """Prints one line a check; returns 1 when something is missing."""
    missing = 0
    for name, check, remedy in CHECKS:
        try:
            print(f"found    {name:12} {check()}")
        except Exception as error:  # whatever is broken, the other checks still run
            missing += 1
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            how = getattr(error, "remedy", remedy)
            print(f"missing  {name:12} {reason}\n         {'':12} remedy: {how}")
    print("everything is in place" if not missing else f"{missing} missing, see the remedies")
    return 1 if missing else 0
