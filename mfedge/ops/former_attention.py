"""Former's self-attention among the tokens, its keys and values the tokens themselves, unprojected.

    A_n = softmax(scale · Q_n Z_nᵀ),   out = [A_1 Z_1 … A_N Z_N]

(Paper section 3.1; that K and V carry no projection follows from the parameter counts of every variant.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mfedge.ops.registry import check_heads, check_tokens, register_gradient


def former_attention_reference(query: Tensor, tokens: Tensor, heads: int, scale: float) -> Tensor:
    """The reference of `torch.ops.mfedge.former_attention`; same shapes, differentiable."""
    D = tokens.shape[2]
    query = query.unflatten(2, (heads, D // heads)).transpose(1, 2)  # (B, N, M, D/N)
    value = tokens.unflatten(2, (heads, D // heads)).transpose(1, 2)  # (B, N, M, D/N)
    attention = torch.softmax(scale * (query @ value.transpose(2, 3)), dim=-1)  # (B, N, M, M)
    return (attention @ value).transpose(1, 2).flatten(2)


@torch.library.custom_op("mfedge::former_attention", mutates_args=())
def former_attention(query: Tensor, tokens: Tensor, heads: int, scale: float) -> Tensor:
    """Self-attention of M tokens with projected queries and unprojected keys and values.

    Args:
        query: (B, M, D), the projected tokens W_Q z.
        tokens: (B, M, D), keys and values.
        heads: N, divides D.
        scale: multiplies the scores; (D/N)^-1/2 in the paper, 1 once folded into W_Q.

    Returns:
        (B, M, D), heads concatenated, before the output projection.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_shapes(query, tokens, heads)
    return former_attention_reference(query, tokens, heads, scale).contiguous()  # as the shape function promises


def check_shapes(query: Tensor, tokens: Tensor, heads: int) -> None:
    """Raise ValueError, naming the argument, unless the shapes fit together."""
    B, D = tokens.shape[0], tokens.shape[-1]
    check_tokens("former_attention", "tokens", tokens, B, D)
    check_tokens("former_attention", "query", query, B, D)
    torch._check_value(
        query.shape[1] == tokens.shape[1],
        lambda: f"mfedge::former_attention: query has {query.shape[1]} tokens, expected {tokens.shape[1]}",
    )
    check_heads("former_attention", D, heads)


@former_attention.register_fake
def _(query: Tensor, tokens: Tensor, heads: int, scale: float) -> Tensor:
    check_shapes(query, tokens, heads)
    return torch.empty_like(tokens, memory_format=torch.contiguous_format)


register_gradient(former_attention, former_attention_reference)


@register_flop_formula(torch.ops.mfedge.former_attention)
def flops(query: list[int], tokens: list[int], *_: Any, **__: Any) -> int:
    """Two matmuls, Q Zᵀ and A Z, of B·M·M·D multiply-adds each; a flop counter counts a multiply-add as 2."""
    B, M, D = tokens
    return 2 * 2 * B * M * M * D
