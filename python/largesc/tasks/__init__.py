# SPDX-License-Identifier: GPL-3.0-or-later
"""What a receiver makes of features: decisions, translated text."""
