# SPDX-License-Identifier: GPL-3.0-or-later
"""One file a recipe, with its YAML beside it; each is run by ``largesc train NAME``."""
