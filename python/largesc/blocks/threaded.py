# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that have a thread of their own."""

import threading


class ThreadedBlock:
    """Mixin: ``run()`` in a thread while the flowgraph runs; it returns once ``stopped`` is set."""

    _thread: threading.Thread | None = None

    def start(self) -> bool:
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return True

    def stop(self) -> bool:
        if self._thread is not None:
            self.stopped.set()
            self._thread.join()
        return True
