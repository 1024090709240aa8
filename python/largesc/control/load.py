# SPDX-License-Identifier: GPL-3.0-or-later
"""The learned controller from its source."""

from ..models.store import load_weights, made_by_others, read_config, resolve
from .network import ControllerNetwork


def load_controller(source: str = "embedded") -> ControllerNetwork:
    """Loads the learned controller network; ``embedded`` or a folder.

    Raises:
        ModelError: nothing usable is there.
    """
    folder = resolve(source, "controller")
    config = read_config(folder, "controller")
    with made_by_others(source):
        model = ControllerNetwork(**config)
        load_weights(model, folder, "controller")
    return model.eval()
