# SPDX-License-Identifier: GPL-3.0-or-later
"""Thin GNU Radio blocks over the Python cores."""
