# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells silence from speech by the level of its frames."""


class SilenceGate:
    """Tells silence from speech by the level over a noise floor that follows the signal.

    Args:
        margin_db: speech lies at least so far above the floor.
        silent_below_dbfs: below this level all is silence.
    """

    def __init__(self, margin_db: float = 9.0, silent_below_dbfs: float = -60.0) -> None:
        self.margin_db = margin_db
        self.silent_below_dbfs = silent_below_dbfs
        self._floor_dbfs: float | None = None

    def silent(self, level_dbfs: float) -> bool:
        """Takes the level of the next frame in dBFS."""
        if self._floor_dbfs is None:
            self._floor_dbfs = min(level_dbfs, -45.0)
        elif level_dbfs < self._floor_dbfs:
            self._floor_dbfs += 0.5 * (level_dbfs - self._floor_dbfs)
        else:
            # 0.6 dB a second upwards: long vowels do not count as noise.
            self._floor_dbfs = min(self._floor_dbfs + 0.05, -35.0)
        return level_dbfs < max(self._floor_dbfs + self.margin_db, self.silent_below_dbfs)
