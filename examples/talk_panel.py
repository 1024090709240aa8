# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of push_to_talk.py: a button, a box for the voice, and what the link does."""

import math
import sys

from PyQt5 import QtCore, QtWidgets
from transceiver import on_signals

REFRESH_MS = 100
SENDING, HEARING = "#b03a2e", "#2e4053"
# What the panel shows, and in which unit.
SHOWN = {
    "es_n0_db": ("Es/N0 of the last packet", "{:.1f} dB"),
    "loss_probability": ("packets lost, p", "{:.2f}"),
    "bit_rate": ("bit rate on the air", "{:.0f} bit/s"),
    "packets_sent": ("packets sent", "{}"),
    "packets_heard": ("packets heard", "{}"),
    "tokens_sent": ("tokens sent", "{}"),
    "tokens_repeated": ("tokens sent again", "{}"),
    "tokens_made_up": ("lost tokens made up", "{}"),
    "overs_cut": ("overs cut, too long", "{}"),
    "text": ("text heard", "{}"),
    "latency_ms": ("latency, mouth to ear", "{:.0f} ms"),
}


class Panel(QtWidgets.QWidget):
    """Button and figures of a station that runs; the space bar is the button as well."""

    def __init__(self, station: object) -> None:
        super().__init__()
        self.setWindowTitle("LargeSC push to talk")
        self._station = station
        self.button = QtWidgets.QPushButton("Push to talk")
        self.button.setMinimumSize(320, 90)
        self.button.pressed.connect(lambda: station.key(True))
        self.button.released.connect(lambda: station.key(False))
        self.voice = QtWidgets.QCheckBox("a voice keys as well")
        self.voice.setChecked(station.keyer.voice)
        self.voice.toggled.connect(self._on_voice)
        self.level = QtWidgets.QProgressBar()
        self.level.setRange(-60, 0)
        self.level.setFormat("microphone %v dBFS")
        self.state = QtWidgets.QLabel()
        self.state.setAlignment(QtCore.Qt.AlignCenter)
        column = QtWidgets.QVBoxLayout(self)
        for part in (self.state, self.button, self.voice, self.level):
            column.addWidget(part)
        figures = QtWidgets.QFormLayout()
        self.values = {name: QtWidgets.QLabel("–") for name in SHOWN}
        for name, (label, _) in SHOWN.items():
            figures.addRow(label, self.values[name])
        column.addLayout(figures)
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(REFRESH_MS)
        self.refresh()

    def _on_voice(self, on: bool) -> None:
        self._station.keyer.voice = on

    def keyPressEvent(self, event: object) -> None:  # noqa: N802
        self._on_space(event, True)

    def keyReleaseEvent(self, event: object) -> None:  # noqa: N802
        self._on_space(event, False)

    def _on_space(self, event: object, down: bool) -> None:
        if event.key() == QtCore.Qt.Key_Space and not event.isAutoRepeat():
            self._station.key(down)

    def refresh(self) -> None:
        """Shows what the station does now."""
        self._station.refresh()
        sending = self._station.gate.sending()
        self.state.setText("SENDING" if sending else "hearing")
        colour = SENDING if sending else HEARING
        self.state.setStyleSheet(f"background: {colour}; color: white; padding: 8px")
        self.level.setValue(max(-60, min(0, round(self._station.keyer.level_dbfs))))
        for name, value in self._station.facts().items():
            unknown = isinstance(value, float) and math.isnan(value)
            self.values[name].setText("–" if unknown else SHOWN[name][1].format(value))


def run_panel(station: object, seconds: float) -> int:
    """Starts the station, shows the window until it is closed; returns the exit status."""
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(sys.argv[:1])
    on_signals(app.quit)
    station.start()
    panel = Panel(station)
    # The space bar is the key, whatever has the focus.
    for part in (panel.button, panel.voice):
        part.setFocusPolicy(QtCore.Qt.NoFocus)
    panel.show()
    if math.isfinite(seconds):
        QtCore.QTimer.singleShot(round(1000 * seconds), app.quit)
    return app.exec_()
