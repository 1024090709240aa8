# SPDX-License-Identifier: GPL-3.0-or-later
"""Systems that carry speech over a lossy link, ours and others, all behind one interface."""
