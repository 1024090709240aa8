# SPDX-License-Identifier: GPL-3.0-or-later
"""Studies of the burst modem, and of speech over it."""
