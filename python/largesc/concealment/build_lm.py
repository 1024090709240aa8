# SPDX-License-Identifier: GPL-3.0-or-later
"""From a config to a moshi language model with untrained weights."""

from moshi.models.lm import LMModel


def build_language_model(config: dict) -> LMModel:
    """Builds moshi's ``LMModel``.

    Args:
        config: keyword arguments of ``LMModel``; ``delays`` has one entry for the text stream and
            one for each of the ``n_q`` audio streams.
    """
    return LMModel(**config).eval()
