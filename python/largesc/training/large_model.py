# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of a large model that a channel code is fitted to, whatever its kind."""

import numpy as np

from ..features.model import LargeModel
from ..features.seamless import Seamless
from ..features.whisper import INSTALL
from ..models.packaged import whisper_folder
from .whisper_weights import read_variables


def variables_of(model: LargeModel) -> dict[str, np.ndarray]:
    """Weights of a model, under the names that CTranslate2 has for those of Whisper.

    Of Seamless these are the key and value projections of the decoder's cross-attention and the
    encoder's last layer norm, and no others.
    """
    if not isinstance(model, Seamless):
        return read_variables(whisper_folder(model.name, INSTALL) / "model.bin")
    state = {name: weight.float().cpu().numpy() for name, weight in model.state().items()}
    norm, layer, found = "speech_encoder.inner_layer_norm", "text_decoder.layers.{}", {}
    found["encoder/layer_norm/gamma"] = state[f"{norm}.weight"]
    found["encoder/layer_norm/beta"] = state[f"{norm}.bias"]
    number = 0
    while (bias := f"{layer.format(number)}.ffn.fc1.bias") in state:
        # By these layers are counted.
        found[f"decoder/layer_{number}/ffn/linear_0/bias"] = state[bias]
        read = f"{layer.format(number)}.cross_attention"
        found[f"decoder/layer_{number}/attention/linear_1/weight"] = np.concatenate(
            [state[f"{read}.k_proj.weight"], state[f"{read}.v_proj.weight"]]
        )
        number += 1
    return found
