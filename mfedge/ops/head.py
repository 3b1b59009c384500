"""The last Mobile→Former and the classifier as one operator (paper section 4.1).

    Z ← LN(Z + W (gate(Z) · A)),   logits = W₂ hswish(W₁ [hswish(mean relu6(pointwise(X))) | z₀] + b₁) + b₂

A is what that Mobile→Former attended to in X: the last block hands it on, as it wrote X.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mfedge.kernels import layout
from mfedge.kernels.layout import Config, Kind
from mfedge.ops import packed as operators
from mfedge.ops.block import bridge, linear, parts, unpad
from mfedge.ops.registry import check_block_inputs, check_vectors, register_gradient


def head_reference(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> Tensor:
    """The plain twin of `torch.ops.mfedge.head`; same shapes, differentiable."""
    c = Config(*config)
    p = parts(Kind.HEAD, c, weights, matrices)
    z = bridge(attended, tokens, p)  # (B, M, D)
    x = F.relu6(F.conv2d(unpad(features), p["classifier.conv.conv.weight"], p["classifier.conv.conv.bias"]))
    x = torch.cat([F.hardswish(x.mean(dim=(2, 3))), z[:, 0]], dim=1)  # (B, E + D)
    return linear(F.hardswish(linear(x, p, "classifier.hidden")), p, "classifier.classify")


@torch.library.custom_op("mfedge::head", mutates_args=())
def head(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> Tensor:
    """Last bridge and classifier, everything foldable folded.

    Args:
        features: (B, in_channels, H + 1, W) float; what is in the last row makes no difference.
        tokens: (B, M, D) or (1, M, D).
        attended: (B, M, in_channels), what the last block attended to in `features`.
        weights: (n,), as `layout.vectors(Kind.HEAD, …)` lists them.
        matrices: (n,), as `layout.matrices(Kind.HEAD, …)` lists them.
        config: the thirteen integers of `layout.Config`.

    Returns:
        (B, classes) logits.

    Raises:
        ValueError: if the shapes do not fit.
    """
    c = check_shapes(features, tokens, attended, weights, matrices, config)
    if operators.serves(features, tokens, attended) and operators.serves_weights(weights, matrices):
        return operators.of_weights(Kind.HEAD, c, weights, matrices).run(features, tokens, attended)[0]
    return head_reference(features, tokens, attended, weights, matrices, config)


def check_shapes(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> Config:
    """Raise ValueError, naming the argument, unless the shapes fit together."""
    c = layout.check_config(Kind.HEAD, config)
    check_block_inputs("head", features, tokens, attended, c)
    check_vectors("head", Kind.HEAD, c, weights, matrices)
    return c


@head.register_fake
def _(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> Tensor:
    c = check_shapes(features, tokens, attended, weights, matrices, config)
    return features.new_empty((features.shape[0], c.classes))


register_gradient(head, head_reference)


@register_flop_formula(torch.ops.mfedge.head)
def flops(
    features: list[int], tokens: list[int], attended: list[int], weights: list[int], matrices: list[int],
    config: Sequence[int], **_: Any,
) -> int:  # fmt: skip
    """Its convolution and Linear layers; a flop counter counts a multiply-add as 2."""
    return 2 * features[0] * layout.madds(Kind.HEAD, Config(*config), *layout.height_width(Kind.HEAD, features))
