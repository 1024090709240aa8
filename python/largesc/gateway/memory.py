# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells how much memory this process uses."""

import os
from pathlib import Path

STATM = Path("/proc/self/statm")


def resident_mib() -> float:
    """MiB that are resident; 0 where the system does not tell."""
    if not STATM.exists():
        return 0.0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
