# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech as samples: its format, its files, and what is silence in it."""
