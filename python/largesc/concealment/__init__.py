# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills what was lost: by repetition, by silence, or by a language model of tokens."""
