# SPDX-License-Identifier: GPL-3.0-or-later
"""gr-largesc: speech as tokens over lossy packet links.

Everything is exported lazily: a block is imported when it is first used, torch when a neural block
is made, and the core works without GNU Radio.
"""

import os
from importlib import import_module

from .packages import remedy

# Before moshi is imported: its torch.compile costs minutes on a CPU and cannot be recorded.
os.environ.setdefault("NO_TORCH_COMPILE", "1")

__version__ = "0.1.0"

_EXPORTS = {
    "keys": "_core",
    "uep_packetizer": "_blocks",
    "loss_channel": "_blocks",
    "uep_depacketizer": "_blocks",
    "mimi_encoder": "blocks.mimi_encoder",
    "adaptive_controller": "blocks.adaptive_controller",
    "moshi_concealer": "blocks.moshi_concealer",
    "mimi_decoder": "blocks.mimi_decoder",
    "speech_tx": "blocks.speech_tx",
    "speech_rx": "blocks.speech_rx",
    "speech_source": "blocks.speech_audio",
    "speech_sink": "blocks.speech_audio",
    "link_monitor": "blocks.link_monitor",
    "status_lamp": "blocks.status_lamp",
    "status_text": "blocks.status_text",
    "packet_radio_tx": "blocks.radio.packet_radio_tx",
    "packet_radio_rx": "blocks.radio.packet_radio_rx",
    "symbol_radio_tx": "blocks.radio.symbol_radio_tx",
    "symbol_radio_rx": "blocks.radio.symbol_radio_rx",
    "analogue_speech_tx": "blocks.radio.analogue_speech_tx",
    "analogue_speech_rx": "blocks.radio.analogue_speech_rx",
    "radio_channel": "blocks.radio.radio_channel",
    "packet_signer": "blocks.packet_security",
    "packet_verifier": "blocks.packet_security",
    "text_tx": "blocks.text_packets",
    "text_rx": "blocks.text_packets",
    "kiss_packets": "blocks.kiss_packets",
    "report_tx": "blocks.report_tx",
    "report_rx": "blocks.report_rx",
    "task_encoder": "blocks.task_encoder",
    "task_decider": "blocks.task_decider",
    "task_tx": "blocks.radio.task_tx",
    "task_rx": "blocks.radio.task_rx",
    "translation_tx": "blocks.translation.translation_tx",
    "symbol_channel": "blocks.translation.symbol_channel",
    "translation_rx": "blocks.translation.translation_rx",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    except ImportError as error:
        raise ImportError(f"{name}: {remedy(error)}", name=error.name) from error
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
