"""The last Mobile→Former and the classifier as one operator (paper section 4.1).

    Z ← LN(Z + W (gate(Z) · A)),   logits = W₂ hswish(W₁ [hswish(mean relu6(pointwise(X))) | z₀] + b₁) + b₂

A is that Mobile→Former's attention over X. The last block computed it while it wrote X.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mfedge.kernels.layout import Config, Kind
from mfedge.ops.block import bridge, linear, parts, unpad
from mfedge.ops.registry import register_whole


def head_reference(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> Tensor:
    """Last bridge and classifier, everything foldable folded.

    Args:
        features: (B, in_channels, H + 1, W) float; the values in the last row make no difference.
        tokens: (B, M, D) or (1, M, D).
        attended: (B, M, in_channels), the attention over `features` that the last block computed.
        weights: (n,), as `layout.vectors(Kind.HEAD, …)` lists them.
        matrices: (n,), as `layout.matrices(Kind.HEAD, …)` lists them.
        config: the integers of `layout.Config`.

    Returns:
        (B, classes) logits.
    """
    c = Config(*config)
    p = parts(Kind.HEAD, c, weights, matrices)
    z = bridge(attended, tokens, p)  # (B, M, D)
    x = F.relu6(F.conv2d(unpad(features), p["classifier.conv.conv.weight"], p["classifier.conv.conv.bias"]))
    x = torch.cat([F.hardswish(x.mean(dim=(2, 3))), z[:, 0]], dim=1)  # (B, E + D)
    return linear(F.hardswish(linear(x, p, "classifier.hidden")), p, "classifier.classify")


head = register_whole(Kind.HEAD, head_reference)
