# SPDX-License-Identifier: GPL-3.0-or-later
"""From a config to a moshi model with untrained weights."""

from moshi.models.compression import MimiModel

from ..speech.format import FRAME_SAMPLES, SAMPLE_RATE_HZ
from .quantizer import SearchingQuantizer
from .source_filter import SourceFilterDecoder
from .spectral import SpectralEncoder


def build_codec(config: dict) -> MimiModel:
    """Builds a ``MimiModel`` of kind ``source_filter``.

    Args:
        config: keys ``encoder``, ``decoder``, ``quantizer``: arguments of the classes.
    """
    frame_rate_hz = SAMPLE_RATE_HZ / FRAME_SAMPLES
    return MimiModel(
        SpectralEncoder(**config["encoder"]),
        SourceFilterDecoder(**config["decoder"]),
        SearchingQuantizer(**config["quantizer"]),
        frame_rate=frame_rate_hz,
        encoder_frame_rate=frame_rate_hz,
        sample_rate=SAMPLE_RATE_HZ,
        channels=1,
        causal=True,
    ).eval()
