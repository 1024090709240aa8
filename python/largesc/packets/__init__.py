# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes on the wire that the C++ core does not make: reports, and packets signed with a key."""
