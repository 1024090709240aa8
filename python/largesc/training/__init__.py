# SPDX-License-Identifier: GPL-3.0-or-later
"""What the recipes share: speech, tokens, losses, runs. Needs torch and moshi, never GNU Radio."""
