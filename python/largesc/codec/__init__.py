# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech codec: waveform to token frames and back. Knows nothing of GNU Radio."""
