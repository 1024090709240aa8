# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of the translation link with small models, and their cases for tests/test_restart.py."""

import numpy as np
from gnuradio import largesc
from gnuradio.largesc.blocks.translation import translation_rx as rx_module
from gnuradio.largesc.blocks.translation import translation_tx as tx_module
from test_translation import SmallModel, code_of, quiet, voice
from trials import Trial

# Of the speech below: four bursts and the end.
PDUS = 5
# They on the air, silence behind them left out.
SAMPLES_ON_AIR = 10_600
SAMPLES_A_PHRASE = 2400


class Beep:
    """A voice that says each phrase in a tenth of a second."""

    def __init__(self, source: str) -> None:
        pass

    def say(self, text: str, length: float = 1.0) -> np.ndarray:
        return np.full(SAMPLES_A_PHRASE, 0.5, dtype=np.float32)


def use_small_models(monkeypatch: object) -> None:
    """Small models in place of Whisper, its code and Piper."""
    for module in (tx_module, rx_module):
        monkeypatch.setattr(module, "large_model", lambda source: SmallModel())
        monkeypatch.setattr(module, "load_channel_code", lambda source, symbols: code_of())
    monkeypatch.setattr(rx_module, "Voice", Beep)


def translation_tx(_: object) -> Trial:
    speech = np.concatenate([voice(2.0), quiet(1.0)]).astype(np.float32)
    block = largesc.translation_tx(symbols=3)
    return Trial(block, speech, ports_out=["symbols", "status"], ends=PDUS)


def bursts() -> list:
    """`symbols` messages of the sender, and their end."""
    sent = translation_tx(None).run(plain=False)["symbols"]
    return [("symbols", message) for message in sent]


def symbol_channel(_: object) -> Trial:
    sent = bursts()
    block = largesc.symbol_channel(channel="rayleigh", snr_db=10.0)
    return Trial(block, None, lambda: sent, None, ["symbols", "status"], len(sent))


def translation_rx(_: object) -> Trial:
    sent = bursts()
    block = largesc.translation_rx(symbols=3, mode="offline")
    return Trial(block, None, lambda: sent, np.float32, ["text", "status"], SAMPLES_A_PHRASE)


def symbol_radio_tx(_: object) -> Trial:
    sent = bursts()
    block = largesc.symbol_radio_tx(symbols=3)
    return Trial(block, None, lambda: sent, np.complex64, ["status"], SAMPLES_ON_AIR)


def symbol_radio_rx(_: object) -> Trial:
    samples = symbol_radio_tx(None).run()["stream"].astype(np.complex64)
    block = largesc.symbol_radio_rx(symbols=3)
    return Trial(block, samples, ports_out=["symbols"], ends=PDUS - 1)


CASES = {
    "symbol_radio_tx": {"": symbol_radio_tx},
    "symbol_radio_rx": {"": symbol_radio_rx},
    "translation_tx": {"": translation_tx},
    "symbol_channel": {"": symbol_channel},
    "translation_rx": {"": translation_rx},
}
