# SPDX-License-Identifier: GPL-3.0-or-later
"""The format of speech inside the project: 24 kHz, mono, in frames of 80 ms.

Everything else takes these numbers from here. The C++ core has its own ``FRAME_MS``, and a test
holds the two together.
"""

SAMPLE_RATE_HZ = 24000
FRAME_SAMPLES = 1920
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
FRAME_MS = 1000 * FRAME_SAMPLES // SAMPLE_RATE_HZ
