# SPDX-License-Identifier: GPL-3.0-or-later
"""Models as files, whatever they are for: where they come from, checksums, recorded steps."""
