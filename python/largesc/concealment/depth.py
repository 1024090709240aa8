# SPDX-License-Identifier: GPL-3.0-or-later
"""One token of a frame through the depth transformer of moshi's ``LMModel``.

The same layers as ``LMModel.forward_depformer``, without its streaming state: a frame has 8 tokens,
so keys and values are simply handed on, and a step takes a fifth of the operations. That counts,
since it is done 8 times a frame.
"""

import torch
from torch.nn import functional as F


def no_past(model: object, samples: int = 1) -> torch.Tensor:
    """Keys and values before the first token, ``[layers, 2, samples, heads, 0, head's width]``."""
    attention = model.depformer.layers[0].self_attn
    width = attention.embed_dim // attention.num_heads
    weight = next(model.depformer.parameters())
    layers = len(model.depformer.layers)
    return weight.new_zeros(layers, 2, samples, attention.num_heads, 0, width)


def depth_step(
    model: object, k: int, previous: torch.Tensor, hidden: torch.Tensor, past: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Takes token ``k - 1`` of a frame in, so that token ``k`` can be predicted.

    Args:
        model: moshi ``LMModel`` whose depth transformer has weights for each token, gated layers
            and no positional embedding, as Moshi's.
        k: number of the token, 0 to 7.
        previous: the token before it, the text token for the first; int64 ``[samples, 1]``.
        hidden: output of the temporal transformer, ``[1, 1, dim]``.
        past: keys and values of the tokens before it.

    Returns:
        features ``[samples, 1, width]`` for :func:`token_logits`, and ``past`` with this step's.
    """
    schedule = model.depformer_weights_per_step_schedule
    weights = k if schedule is None else schedule[k]
    embedding = model.depformer_text_emb if k == 0 else model.depformer_emb[k - 1]
    x = model.depformer_in[weights if model.depformer_multi_linear else 0](hidden)
    x = x + embedding(previous)
    kept = []
    for layer, before in zip(model.depformer.layers, past, strict=True):
        attention = layer.self_attn
        projected = attention.in_projs[weights](layer.norm1(x))
        heads = (previous.shape[0], 1, 3, attention.num_heads, -1)
        query, now = projected.view(heads).permute(2, 0, 3, 1, 4).split((1, 2))
        both = torch.cat([before, now], dim=3)
        kept.append(both)
        y = F.scaled_dot_product_attention(query[0], both[0], both[1])
        y = y.transpose(1, 2).flatten(2)
        x = x + layer.layer_scale_1(attention.out_projs[weights](y))
        x = x + layer.layer_scale_2(layer.gating[weights](layer.norm2(x)))
    return x, torch.stack(kept)


def token_logits(model: object, k: int, features: torch.Tensor) -> torch.Tensor:
    """Logits ``[samples, cardinality]`` of token ``k``; only where it is to be sampled."""
    return model.linears[k](model.depformer_norms[k](features))[:, 0]


def check_depth_transformer(model: object) -> None:
    """Raises ValueError for a depth transformer that :func:`depth_step` does not know."""
    attention = model.depformer.layers[0].self_attn
    known = (
        attention.weights_per_step
        and attention.rope is None
        and attention.kv_repeat == 1
        and model.depformer.layers[0].gating is not None
        and model.depformer.positional_embedding == "none"
    )
    if not known:
        raise ValueError(
            "the depth transformer of the language model is not supported: it needs weights for "
            "each token, gated layers and no positional embedding, as Moshi's"
        )
