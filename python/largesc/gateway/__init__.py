# SPDX-License-Identifier: GPL-3.0-or-later
"""Many calls in one process: packets of N speakers in, their speech out, and the way back."""
