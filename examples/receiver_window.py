# SPDX-License-Identifier: GPL-3.0-or-later
"""The window of radio.py rx: waterfall, symbols of the last packet, lamps, figures, and words."""

import os
import sys
from collections.abc import Callable

from gnuradio import gr, qtgui
from gnuradio.fft import window
from PyQt5 import QtCore, QtWidgets, sip
from transceiver import on_signals

DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
REFRESH_MS, STATUS_MS = 100, 1000
FFT_SIZE = 1024
# Seconds until the colours of the waterfall fit what comes in, anew each time.
COLOURS_S = 5
SIZE = (1000, 760)
# From these on a lamp is on.
SIGNAL_DB, LOUD_DBFS = 6.0, -3.0
OFF, GOOD, BAD = "#4a4a4a", "#2e8b57", "#b03a2e"
FIGURES = {
    "es_n0_db": ("SNR in the symbols (Es/N0)", "{:.1f} dB"),
    "carrier_offset_hz": ("frequency error", "{:+.0f} Hz"),
    "accepted": ("packets", "{}"),
    "crc_failures": ("wrong CRC", "{}"),
    "signal_db": ("strongest signal over the noise", "{:.0f} dB"),
    "signal_offset_hz": ("it lies at", "{:+.0f} Hz"),
    "level_dbfs": ("input level", "{:.0f} dBFS"),
}
# What is known when a packet was read, and when a signal is there.
OF_PACKETS, OF_SIGNALS = ("es_n0_db", "carrier_offset_hz"), ("signal_db", "signal_offset_hz")


class Views:
    """Blocks that draw what comes in: made before the flowgraph starts."""

    def __init__(self, tb: gr.top_block, source: object, modem: object, rate: float) -> None:
        # Qt would end the program.
        if not any(os.environ.get(name) for name in DISPLAYS):
            raise ValueError("--window needs a display, and there is none")
        # Qt wants an application before any of its parts.
        self.app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(sys.argv[:1])
        self.waterfall = qtgui.waterfall_sink_c(
            FFT_SIZE, window.WIN_BLACKMAN_hARRIS, 0.0, rate, "what comes in", 1
        )
        self.symbols = qtgui.const_sink_c(1024, "symbols of the last packet", 0)
        self.symbols.disable_legend()
        self.symbols.set_x_axis(-2, 2)
        self.symbols.set_y_axis(-2, 2)
        tb.connect(source, self.waterfall)
        tb.msg_connect(modem, "symbols", self.symbols, "in")

    def fit_colours(self) -> None:
        """Lets the waterfall's colours begin and end with what it shows."""
        self.waterfall.auto_scale()

    def widgets(self) -> list[QtWidgets.QWidget]:
        """The widgets of both."""
        views = (self.waterfall, self.symbols)
        return [sip.wrapinstance(view.qwidget(), QtWidgets.QWidget) for view in views]


class Lamp(QtWidgets.QLabel):
    """A word on a colour."""

    def __init__(self, word: str, colour: str) -> None:
        super().__init__(word)
        self._colour = colour
        self.setAlignment(QtCore.Qt.AlignCenter)
        self.light(False)

    def light(self, on: bool) -> None:
        """Switches it on or off."""
        self.on = on
        colour = self._colour if on else OFF
        self.setStyleSheet(f"background: {colour}; color: white; padding: 6px")


class Panel(QtWidgets.QWidget):
    """What a receiver hears, as long as it runs.

    Args:
        modem: the receiving block.
        views: of the samples that it gets.
        text: block of the texts.
    """

    def __init__(self, modem: object, views: Views, text: object) -> None:
        super().__init__()
        self.setWindowTitle("LargeSC receiver")
        self.resize(*SIZE)
        self._modem, self._views, self._text = modem, views, text
        self._accepted = self._seconds = 0
        self.lamps = {
            "signal": Lamp("signal", GOOD),
            "packets": Lamp("sync: packets come", GOOD),
            "loud": Lamp("too loud", BAD),
        }
        self.words = QtWidgets.QLabel()
        self.words.setWordWrap(True)
        self.words.setStyleSheet("font-weight: bold; padding: 6px")
        self.values = {name: QtWidgets.QLabel("–") for name in FIGURES}
        figures = QtWidgets.QFormLayout()
        for name, (label, _) in FIGURES.items():
            self.values[name].setMinimumWidth(90)
            figures.addRow(label, self.values[name])
        self.read = QtWidgets.QLabel()
        self.read.setWordWrap(True)
        figures.addRow("text", self.read)
        lamps = QtWidgets.QHBoxLayout()
        for lamp in self.lamps.values():
            lamps.addWidget(lamp)
        side = QtWidgets.QVBoxLayout()
        side.addLayout(figures)
        side.addStretch()
        grid = QtWidgets.QGridLayout(self)
        grid.addLayout(lamps, 0, 0, 1, 2)
        grid.addWidget(self.words, 1, 0, 1, 2)
        waterfall, symbols = views.widgets()
        grid.addWidget(waterfall, 2, 0, 1, 2)
        grid.addWidget(symbols, 3, 0)
        grid.addLayout(side, 3, 1)
        self._timer = QtCore.QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(STATUS_MS)
        self.refresh()

    def refresh(self) -> None:
        """Shows what the receiver hears now; to be called each second."""
        self._seconds += 1
        if self._seconds % COLOURS_S == 2:
            self._views.fit_colours()
        facts, words = self._modem.statistics(), self._modem.hearing()
        signal_db = facts.get("signal_db", 0.0)
        self.lamps["signal"].light(signal_db >= SIGNAL_DB)
        self.lamps["packets"].light(facts["accepted"] > self._accepted)
        self.lamps["loud"].light(facts.get("level_dbfs", LOUD_DBFS - 1) >= LOUD_DBFS)
        self._accepted = facts["accepted"]
        self.words.setText(words)
        self.read.setText(self._text.line() or "–")
        for name, (_, form) in FIGURES.items():
            unknown = name not in facts
            unknown |= name in OF_PACKETS and not facts["accepted"]
            unknown |= name in OF_SIGNALS and signal_db < SIGNAL_DB
            self.values[name].setText("–" if unknown else form.format(facts[name]))


def run_window(
    tb: object, seconds: float, is_over: Callable[[], bool], picture: str | None
) -> None:
    """Shows a receiver that runs until it ends, the window is closed, or a signal comes.

    Args:
        tb: with ``modem`` and ``views``.
        seconds: the window closes after these.
        is_over: whether the flowgraph has ended.
        picture: PNG file of the window as it was last, None for none.
    """
    app = tb.views.app
    panel = Panel(tb.modem, tb.views, tb.text)
    on_signals(app.quit)
    # Python sees signals only when it runs.
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: is_over() and app.quit())
    timer.start(REFRESH_MS)
    if seconds < 1e6:
        QtCore.QTimer.singleShot(round(1000 * seconds), app.quit)
    panel.show()
    app.exec_()
    if picture is not None and not panel.grab().save(picture):
        print(f"radio rx: {picture} cannot be written as a picture", file=sys.stderr)
