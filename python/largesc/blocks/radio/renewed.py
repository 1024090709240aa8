# SPDX-License-Identifier: GPL-3.0-or-later
"""What hierarchical blocks of the radio have in common: they are built anew behind each run."""


class Renewed:
    """A block of blocks: `_build` makes them, keeps them in `_chain` and connects them."""

    def _renew(self) -> None:
        """Puts new blocks in place of those that know where in a burst a run ended."""
        # Their threads may not be over yet.
        self._before = self._chain
        self.disconnect_all()
        self._build()
