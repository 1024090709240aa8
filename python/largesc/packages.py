# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module needs beside itself, and how to get it; nothing but the standard library."""

REQUIREMENTS = "pip install -r requirements.txt"
GATEWAY = "pip install -c requirements.txt -r requirements-gateway.txt, or ./bootstrap gateway"
# Name to import by, and the remedy where it is missing.
PACKAGES = {
    "numpy": REQUIREMENTS,
    "scipy": REQUIREMENTS,
    "soundfile": REQUIREMENTS,
    "safetensors": REQUIREMENTS,
    "torch": REQUIREMENTS,
    "moshi": "pip install --no-deps moshi==0.2.13",
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
