# SPDX-License-Identifier: GPL-3.0-or-later
"""What is installed, what is missing, and what to do about it."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path


def _gnuradio() -> str:
    gr = importlib.import_module("gnuradio.gr")
    return f"{gr.version()}"


def _module() -> str:
    import gnuradio.largesc

    return f"{gnuradio.largesc.__version__} in {Path(gnuradio.largesc.__file__).parent}"


def _bindings() -> str:
    importlib.import_module("gnuradio.largesc._core")
    importlib.import_module("gnuradio.largesc._blocks")
    return "core and blocks load"


def _version(name: str) -> Callable[[], str]:
    def found() -> str:
        from importlib.metadata import version

        importlib.import_module(name)
        return version(name)

    return found


def _models() -> str:
    from ..models.store import EMBEDDED, check_sha256

    found = []
    for part in ("codec", "lm", "controller"):
        path = EMBEDDED / f"{part}.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing")
        check_sha256(path)
        found.append(f"{part} {path.stat().st_size / 2**20:.1f} MiB")
    return ", ".join(found) + ", checksums right"


def _gpu() -> str:
    torch = importlib.import_module("torch")
    if not torch.cuda.is_available():
        return "none, the embedded models do without"
    return torch.cuda.get_device_name(0)


def _grc() -> str:
    import sys

    places = [Path(sys.prefix) / "share/gnuradio/grc/blocks"]
    places += [Path(p) for p in os.environ.get("GRC_BLOCKS_PATH", "").split(":") if p]
    places += [Path("/usr/local/share/gnuradio/grc/blocks"), Path("/usr/share/gnuradio/grc/blocks")]
    for place in places:
        if (place / "largesc_mimi_encoder.block.yml").exists():
            return str(place)
    raise FileNotFoundError("no block of largesc on the path of GNU Radio Companion")


CHECKS: list[tuple[str, Callable[[], str], str]] = [
    ("GNU Radio", _gnuradio, "apt-get install gnuradio, and use /usr/bin/python3 or a venv on it"),
    ("module", _module, "cmake --install build"),
    ("bindings", _bindings, "cmake --build build && cmake --install build, then ldconfig"),
    ("torch", _version("torch"), "pip install -r requirements.txt"),
    ("moshi", _version("moshi"), "pip install --no-deps moshi==0.2.13"),
    ("peft", _version("peft"), "pip install -r requirements.txt"),
    ("models", _models, "reinstall the module, the weights come with it"),
    ("GPU", _gpu, "pip install -r requirements.txt; no GPU is needed"),
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
            print(f"missing  {name:12} {reason}\n         {'':12} remedy: {remedy}")
    print("everything is in place" if not missing else f"{missing} missing, see the remedies")
    return 1 if missing else 0
