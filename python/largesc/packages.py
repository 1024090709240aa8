# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module needs beside itself, and how to get it; nothing but the standard library."""

import sys
import sysconfig
from pathlib import Path


def pip_install() -> str:
    """`pip install` for the Python that runs, in a new virtual environment where it must be one."""
    if sys.prefix != sys.base_prefix:
        return f"{sys.prefix}/bin/pip install"
    if (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists():
        # `largesc` uses the one that is active.
        made = "python3 -m venv --system-site-packages ~/largesc && . ~/largesc/bin/activate"
        return f"{made} && pip install"
    return "pip install"


def listed(name: str) -> str:
    """Path of a list of requirements: as it was installed, else its name in the sources."""
    for folder in Path(__file__).resolve().parents:
        path = folder / "share" / "doc" / "gr-largesc" / name
        if path.exists():
            return str(path)
    return name


REQUIREMENTS = f"{pip_install()} -r {listed('requirements.txt')}"
GATEWAY = (
    f"{pip_install()} -c {listed('requirements.txt')} -r {listed('requirements-gateway.txt')}, "
    "or ./bootstrap gateway"
)
# Name to import by, and the remedy where it is missing.
PACKAGES = {
    "numpy": REQUIREMENTS,
    "scipy": REQUIREMENTS,
    "soundfile": REQUIREMENTS,
    "safetensors": REQUIREMENTS,
    "torch": REQUIREMENTS,
    "moshi": f"{pip_install()} --no-deps moshi==0.2.13",
    "peft": REQUIREMENTS,
    "matplotlib": REQUIREMENTS,
}
# Of one command alone.
OTHERS = {"av": GATEWAY, "prometheus_client": GATEWAY}
GNURADIO = "apt-get install gnuradio, and use /usr/bin/python3 or a venv on it"
BINDINGS = "cmake --build build && cmake --install build, then ldconfig"


def remedy(error: ImportError) -> str:
    """One line for what could not be imported, with what to do about it."""
    name = (error.name or "").split(".")[0]
    reason = " ".join(str(error).split())
    if name in PACKAGES | OTHERS:
        how = (PACKAGES | OTHERS)[name]
        return f"the Python package {name} is missing or broken ({reason}): {how}"
    if name in ("gnuradio", "pmt") and not (error.name or "").startswith("gnuradio.largesc"):
        return f"GNU Radio is missing or broken ({reason}): {GNURADIO}"
    if "libgnuradio" in reason:
        return f"{reason}: {BINDINGS}"
    return f"{reason}: 'largesc doctor' says what is missing"
