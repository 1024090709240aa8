# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole flowgraphs: the loopback, both ends and the channel of the command line, their parts."""
