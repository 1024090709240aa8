# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the ``largesc`` command for ``python -m gnuradio.largesc.cli``."""

import sys

from .main import main

sys.exit(main())
