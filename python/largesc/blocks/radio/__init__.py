# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks between packets and complex samples, and of the air between them."""
