# SPDX-License-Identifier: GPL-3.0-or-later
"""Implements the ``largesc`` command and its subcommands."""
