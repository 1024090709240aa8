# SPDX-License-Identifier: GPL-3.0-or-later
"""A codec from its source: one of this project, or official Mimi."""

from dataclasses import dataclass

from ..models.store import (
    check_weights,
    load_weights,
    made_by_others,
    official_file,
    read_config,
    resolve,
)


@dataclass(frozen=True)
class Codec:
    """A loaded codec.

    Attributes:
        model: moshi ``MimiModel``, 8 codebooks active, in evaluation mode.
        delay_samples: samples by which the decoded speech lags, beyond the frame itself.
        dimension: width of the unquantised latent.
        name: the source, for messages.
    """

    model: object
    delay_samples: int
    dimension: int
    name: str
    num_codebooks: int = 8


def load_codec(source: str = "embedded") -> Codec:
    """Loads a codec.

    Args:
        source: ``embedded``, a folder, a Mimi weights file, or ``hf://owner/name[@revision]``.

    Raises:
        ModelError: nothing usable is there; the message gives the remedy.
    """
    folder = resolve(source, "codec")
    if (folder / "codec.json").exists():
        from .build import build_codec

        config = read_config(folder, "codec")
        with made_by_others(source):
            model = build_codec(config)
            load_weights(model, folder, "codec")
            return Codec(model, config["delay_samples"], config["encoder"]["dimension"], source)
    from moshi.models import loaders

    weights = official_file(folder, "tokenizer-*.safetensors", source)
    check_weights(weights)
    with made_by_others(str(weights)):
        model = loaders.get_mimi(weights, device="cpu", num_codebooks=8)
    return Codec(model.eval(), 0, model.dimension, source)
