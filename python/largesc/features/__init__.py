# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech as what a task needs of it, and as features of a large model."""
