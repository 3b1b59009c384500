"""Dynamic ReLU: the maximum of two lines through the origin, their slopes computed from the first token.

y = max(a₁ · x, a₂ · x)          (paper section 3.2; Chen et al., "Dynamic ReLU", with K = 2 and no intercepts)
"""

from __future__ import annotations

import torch
from torch import Tensor

from mfedge.kernels.layout import Kind
from mfedge.ops import packed
from mfedge.ops.registry import check_features, describe, register_gradient


def dynamic_relu_reference(features: Tensor, slope1: Tensor, slope2: Tensor) -> Tensor:
    """The reference of `torch.ops.mfedge.dynamic_relu`; same shapes, differentiable."""
    if slope1.dim() == 2:
        slope1, slope2 = slope1[:, :, None, None], slope2[:, :, None, None]
    return torch.maximum(slope1 * features, slope2 * features)


@torch.library.custom_op("mfedge::dynamic_relu", mutates_args=())
def dynamic_relu(features: Tensor, slope1: Tensor, slope2: Tensor) -> Tensor:
    """Piecewise-linear activation with slopes of its input's own.

    Args:
        features: (B, C, H, W) float.
        slope1: (B, C) or (1, C), one slope per channel; or (B, C, H, W), one per pixel (equation 3).
        slope2: as `slope1`.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_shapes(features, slope1, slope2)
    if packed.serves(features, slope1, slope2):
        return packed.without_weights(Kind.DYNAMIC_RELU)(features, slope1, slope2)[0]
    return dynamic_relu_reference(features, slope1, slope2).contiguous()  # as the shape function promises


def check_shapes(features: Tensor, slope1: Tensor, slope2: Tensor) -> None:
    """Raise ValueError, naming the argument, unless the shapes fit together."""
    check_features("dynamic_relu", features)
    B, C, H, W = features.shape
    for name, slope in (("slope1", slope1), ("slope2", slope2)):
        expected = f"({B}, {C}) or {describe(features.shape)}"
        torch._check_value(
            slope.dim() in (2, 4) and slope.dim() == slope1.dim() and slope.shape[1] == C,
            lambda: f"mfedge::dynamic_relu: {name} must be {expected}, found {describe(slope.shape)}",  # noqa: B023 - called at once
        )
        torch._check_value(
            slope.shape[0] in (1, B) if slope.dim() == 2 else tuple(slope.shape) == (B, C, H, W),
            lambda: f"mfedge::dynamic_relu: {name} must be {expected}, found {describe(slope.shape)}",  # noqa: B023 - called at once
        )


@dynamic_relu.register_fake
def _(features: Tensor, slope1: Tensor, slope2: Tensor) -> Tensor:
    check_shapes(features, slope1, slope2)
    return torch.empty_like(features, memory_format=torch.contiguous_format)


register_gradient(dynamic_relu, dynamic_relu_reference)
