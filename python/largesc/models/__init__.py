# SPDX-License-Identifier: GPL-3.0-or-later
"""Model sources: embedded weights, local paths, the hub; and how a config becomes a model."""
