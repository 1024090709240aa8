# SPDX-License-Identifier: GPL-3.0-or-later
"""What a channel does: losses in time and of tokens, noise and fading of symbols."""
