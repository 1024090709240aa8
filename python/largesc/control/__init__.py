# SPDX-License-Identifier: GPL-3.0-or-later
"""How many tokens of a frame are sent, how many repeated, and how far apart."""
