# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the embedded models. Needs torch and moshi, never GNU Radio."""
