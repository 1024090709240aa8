# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of the translation link."""
