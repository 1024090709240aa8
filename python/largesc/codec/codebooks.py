# SPDX-License-Identifier: GPL-3.0-or-later
"""What each token of a codec adds to the latent."""

import numpy as np
import torch


@torch.inference_mode()
def codebooks_of(model: object, count: int = 8) -> np.ndarray:
    """Entries of the first ``count`` codebooks, float32 ``[count, tokens, dimension]``.

    The sum of a frame's first k entries is what the quantiser decodes from its first k tokens.
    They are found through the quantiser's own ``decode``, so that any residual one will do.
    """
    cardinality = model.cardinality
    codes = torch.zeros(1, count, cardinality, dtype=torch.long)
    found = []
    before = 0.0
    for k in range(count):
        codes[0, k] = torch.arange(cardinality)
        decoded = model.quantizer.decode(codes[:, : k + 1])[0].T
        found.append(decoded - before)
        # Token 0 of this codebook stands before the next.
        before = decoded[:1]
        codes[0, k] = 0
    return torch.stack(found).float().numpy()
