"""Mobile←Former: light-weight cross-attention from tokens to pixels (paper equation 2, with the residual).

    A_n = softmax over tokens (scale · X_n K_nᵀ),   out = X + [A_1 V_1 … A_N V_N]

The pixels X are queries, unprojected; only the tokens are projected (to K and V, by the caller).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mfedge.kernels.layout import Kind
from mfedge.ops import packed
from mfedge.ops.registry import check_features, check_heads, check_tokens, register_gradient


def former_to_mobile_reference(features: Tensor, key: Tensor, value: Tensor, heads: int, scale: float) -> Tensor:
    """The reference of `torch.ops.mfedge.former_to_mobile`; same shapes, differentiable."""
    B, C = features.shape[:2]
    pixels = features.reshape(B, heads, C // heads, -1)  # (B, N, C/N, HW)
    key = key.unflatten(2, (heads, C // heads)).transpose(1, 2)  # (B | 1, N, M, C/N)
    value = value.unflatten(2, (heads, C // heads)).permute(0, 2, 3, 1)  # (B | 1, N, C/N, M)
    attention = torch.softmax(scale * (key @ pixels), dim=2)  # (B, N, M, HW)
    return features + (value @ attention).reshape(features.shape)


@torch.library.custom_op("mfedge::former_to_mobile", mutates_args=())
def former_to_mobile(features: Tensor, key: Tensor, value: Tensor, heads: int, scale: float) -> Tensor:
    """Add to every pixel what it attends to among M tokens (paper equation 2).

    Args:
        features: (B, C, H, W) float; queries, unprojected, and the residual.
        key: (B, M, C) or (1, M, C), the projected tokens W_K z.
        value: as `key`, W_V z.
        heads: N, divides C.
        scale: multiplies the scores; (C/N)^-1/2 in the paper, 1 once folded into W_K.

    Returns:
        (B, C, H, W).

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_shapes(features, key, value, heads)
    if packed.serves_attention(heads, features, key, value):
        return packed.without_weights(Kind.FORMER_TO_MOBILE, heads, scale)(features, key, value)[0]
    return former_to_mobile_reference(features, key, value, heads, scale).contiguous()  # as the shape function promises


def check_shapes(features: Tensor, key: Tensor, value: Tensor, heads: int) -> None:
    """Raise ValueError, naming the argument, unless the shapes fit together."""
    check_features("former_to_mobile", features)
    B, C = features.shape[:2]
    check_heads("former_to_mobile", C, heads)
    check_tokens("former_to_mobile", "key", key, B, C)
    check_tokens("former_to_mobile", "value", value, B, C)
    torch._check_value(
        key.shape[1] == value.shape[1],
        lambda: f"mfedge::former_to_mobile: {key.shape[1]} keys but {value.shape[1]} values",
    )


@former_to_mobile.register_fake
def _(features: Tensor, key: Tensor, value: Tensor, heads: int, scale: float) -> Tensor:
    check_shapes(features, key, value, heads)
    return torch.empty_like(features, memory_format=torch.contiguous_format)


register_gradient(former_to_mobile, former_to_mobile_reference)


@register_flop_formula(torch.ops.mfedge.former_to_mobile)
def flops(features: list[int], key: list[int], *_: Any, **__: Any) -> int:
    """Two matmuls, X Kᵀ and A V, of B·M·C·HW multiply-adds each; a flop counter counts a multiply-add as 2."""
    B, C, H, W = features
    return 2 * 2 * B * key[1] * C * H * W
