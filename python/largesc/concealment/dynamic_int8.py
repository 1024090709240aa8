# SPDX-License-Identifier: GPL-3.0-or-later
"""Language models whose matrix products run in 8 bit, by PyTorch's dynamic quantisation."""

import warnings

import torch
from torch import nn


def quantised(model: nn.Module) -> nn.Module:
    """A copy of moshi's ``LMModel`` with 8-bit linear layers; activations are quantised on the way.

    The projections into attention stay as they are: moshi's streaming looks for their type.
    """
    names = {
        name: torch.ao.quantization.default_dynamic_qconfig
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and "in_projs" not in name
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, names)
