"""Mobile→Former: light-weight cross-attention from pixels to tokens (paper equation 1, up to W_O).

    A_n = softmax over pixels (scale · Q_n X_nᵀ),   out = [A_1 X_1 … A_N X_N]

The pixels X are keys and values unprojected; only the tokens are projected (to Q, by the caller).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mfedge.kernels.layout import Kind
from mfedge.ops import packed
from mfedge.ops.registry import check_features, check_heads, check_tokens, register_gradient


def mobile_to_former_reference(features: Tensor, query: Tensor, heads: int, scale: float) -> Tensor:
    """The reference of `torch.ops.mfedge.mobile_to_former`; same shapes, differentiable."""
    B, C = features.shape[:2]
    M = query.shape[1]
    pixels = features.reshape(B, heads, C // heads, -1)  # (B, N, C/N, HW)
    query = query.unflatten(2, (heads, C // heads)).transpose(1, 2)  # (B | 1, N, M, C/N)
    attention = torch.softmax(scale * (query @ pixels), dim=-1)  # (B, N, M, HW)
    out = attention @ pixels.transpose(2, 3)  # (B, N, M, C/N)
    return out.transpose(1, 2).reshape(B, M, C)


@torch.library.custom_op("mfedge::mobile_to_former", mutates_args=())
def mobile_to_former(features: Tensor, query: Tensor, heads: int, scale: float) -> Tensor:
    """Attend from M tokens to all pixels of a feature map (paper equation 1, before W_O).

    Args:
        features: (B, C, H, W) float; keys and values, unprojected.
        query: (B, M, C) or (1, M, C), the projected tokens W_Q z.
        heads: N, divides C.
        scale: multiplies the scores; (C/N)^-1/2 in the paper, 1 once folded into W_Q.

    Returns:
        (B, M, C), heads concatenated.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_shapes(features, query, heads)
    if packed.serves_attention(heads, features, query):
        return packed.without_weights(Kind.MOBILE_TO_FORMER, heads, scale)(features, query)[0]
    return mobile_to_former_reference(features, query, heads, scale)


def check_shapes(features: Tensor, query: Tensor, heads: int) -> None:
    """Raise ValueError, naming the argument, unless the shapes fit together."""
    check_features("mobile_to_former", features)
    B, C = features.shape[:2]
    check_heads("mobile_to_former", C, heads)
    check_tokens("mobile_to_former", "query", query, B, C)


@mobile_to_former.register_fake
def _(features: Tensor, query: Tensor, heads: int, scale: float) -> Tensor:
    check_shapes(features, query, heads)
    return features.new_empty((features.shape[0], query.shape[1], features.shape[1]))


register_gradient(mobile_to_former, mobile_to_former_reference)


@register_flop_formula(torch.ops.mfedge.mobile_to_former)
def flops(features: list[int], query: list[int], *_: Any, **__: Any) -> int:
    """Two matmuls, Q Xᵀ and A X, of B·M·C·HW multiply-adds each; a flop counter counts a multiply-add as 2."""
    B, C, H, W = features
    return 2 * 2 * B * query[1] * C * H * W
