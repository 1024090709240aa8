# SPDX-License-Identifier: GPL-3.0-or-later
"""Burst modem: what goes on the air and how it is found again. Numpy only, but for `codes`."""
