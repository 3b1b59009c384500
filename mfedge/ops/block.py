"""A whole Mobile-Former block as one operator (paper section 3.1, Figure 3; downsampling after Figure 7).

    Z ← LN(Z + W (gate(Z) · A)),   Z ← Former(Z),   X ← Mobile(X, Z),   X ← Mobile←Former(X, Z)
    A ← attention(Q Z, X, X)

X comes and goes with a row of zeros below its pixels, for the native kernels' sake (`layout.PADDING_ROWS`).
A is the result of Mobile→Former's attention over X. It arrives together with X, already computed by the previous
operator, so the block only finishes Mobile→Former. The block returns A for the next block: the next query, Q Z, needs
only the tokens this block produces. So A is computed while X is written, and X need not be read again for it.

BatchNorm is folded into the convolutions, 2 · hard-sigmoid is a clip after a scaled Linear layer, and 1/√d of every
attention is part of its query (Mobile→Former, Former) or key (Mobile←Former).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mfedge.kernels import layout
from mfedge.kernels.layout import Config, Kind
from mfedge.ops.dynamic_relu import dynamic_relu_reference
from mfedge.ops.former_attention import former_attention_reference
from mfedge.ops.former_to_mobile import former_to_mobile_reference
from mfedge.ops.mobile_to_former import mobile_to_former_reference
from mfedge.ops.registry import register_whole

Parts = Mapping[str, Tensor]  # a block's weights, by the names in the deployed network


class TokenSide(NamedTuple):
    """The results of a block's token half that its pixel half needs. Slopes are [a₁ | a₂], (B, 2E); none with ReLU6."""

    tokens: Tensor  # (B, M, D)
    slopes1: Tensor | None
    slopes2: Tensor | None
    key: Tensor  # (B, M, C')
    value: Tensor


def block_reference(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """One Mobile-Former block, everything foldable folded.

    Args:
        features: (B, in_channels, H + 1, W) float; the values in the last row make no difference.
        tokens: (B, M, D) or (1, M, D).
        attended: (B, M, in_channels), the attention over `features` that the operator that wrote them computed.
        weights: (n,), as `layout.vectors(Kind.BLOCK, …)` lists them.
        matrices: (n,), as `layout.matrices(Kind.BLOCK, …)` lists them.
        config: the integers of `layout.Config`.

    Returns:
        Features (B, out_channels, H' + 1, W'), the last row zeros, H' and W' half of H and W, rounded up, if stride is
        2; tokens (B, M, D); attended (B, M, out_channels), for the next block or the head.
    """
    c = Config(*config)
    p = parts(Kind.BLOCK, c, weights, matrices)
    side = token_side(attended, tokens, p, c)
    x = former_to_mobile_reference(mobile(unpad(features), side, p, c), side.key, side.value, c.heads, 1.0)
    query = linear(side.tokens, p, "next.mobile_to_former.query")
    return pad(x), side.tokens, mobile_to_former_reference(x, query, c.heads, 1.0)


def pad(x: Tensor) -> Tensor:
    """(B, C, H, W) → (B, C, H + 1, W), a row of zeros below the pixels."""
    return F.pad(x, (0, 0, 0, layout.PADDING_ROWS))


def unpad(x: Tensor) -> Tensor:
    """(B, C, H + 1, W) → (B, C, H, W), the pixels."""
    return x[:, :, : -layout.PADDING_ROWS]


def parts(kind: Kind, config: Config, weights: Tensor, matrices: Tensor | None = None) -> Parts:
    """The weights of both flat vectors by name: views, in the shapes that torch's layers have."""
    found: dict[str, Tensor] = {}
    for vector, parted in ((weights, layout.vectors(kind, config)), (matrices, layout.matrices(kind, config))):
        if vector is not None:
            values = vector.split([prod(shape) for _, shape in parted])
            found |= {name: value.view(shape) for (name, shape), value in zip(parted, values, strict=True)}
    return found


def linear(x: Tensor, p: Parts, name: str) -> Tensor:
    """The Linear layer of this name."""
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def bridge(attended: Tensor, tokens: Tensor, p: Parts) -> Tensor:
    """Mobile→Former after its attention: LN(z + W (gate · attended)). (B, M, C), (B | 1, M, D) → (B, M, D)."""
    gate = linear(tokens, p, "mobile_to_former.gate.0").clamp(0, 2)
    return norm(tokens + linear(gate * attended, p, "mobile_to_former.project"), p, "mobile_to_former.norm")


def norm(x: Tensor, p: Parts, name: str) -> Tensor:
    """The LayerNorm of this name."""
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def token_side(attended: Tensor, tokens: Tensor, p: Parts, c: Config) -> TokenSide:
    """Everything that a block computes on tokens, from Mobile→Former's attention, (B, M, C)."""
    z = bridge(attended, tokens, p)
    attention = former_attention_reference(linear(z, p, "former.query"), z, c.former_heads, 1.0)
    z = norm(z + linear(attention, p, "former.project"), p, "former.norm")
    if c.ffn:
        hidden = F.gelu(linear(z, p, "former.ffn.expand"))
        z = norm(z + linear(hidden, p, "former.ffn.project"), p, "former.ffn.norm")
    return TokenSide(
        z,
        _slopes(z[:, 0], p, "mobile.act1.hyper") if c.hyper else None,
        _slopes(z[:, 0], p, "mobile.act2.hyper") if c.hyper else None,
        linear(z, p, "former_to_mobile.key"),
        linear(z, p, "former_to_mobile.value"),
    )


def mobile(x: Tensor, side: TokenSide, p: Parts, c: Config) -> Tensor:
    """The convolutional half. (B, C, H, W) → (B, C', H', W')."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        """Depthwise if it has one input channel per group; then a multiplier of 1 or more."""
        weight = p[f"mobile.{name}.conv.weight"]
        groups = x.shape[1] // weight.shape[1]
        return F.conv2d(x, weight, p[f"mobile.{name}.conv.bias"], stride, weight.shape[-1] // 2, groups=groups)

    if c.stride == 1:
        y = _activate(conv(x, "expand"), side.slopes1)
        y = _activate(conv(y, "depthwise"), side.slopes2)
        y = conv(y, "project")
        return x + y if c.in_channels == c.out_channels else y
    x = conv(_activate(conv(x, "depthwise1", stride=2), side.slopes1), "project1")
    return x + conv(_activate(conv(x, "depthwise2"), side.slopes2), "project2")


def _slopes(first: Tensor, p: Parts, name: str) -> Tensor:
    """(B, D) → [a₁ | a₂], (B, 2E)."""
    h = linear(F.relu(linear(first, p, f"{name}.0")), p, f"{name}.2").clamp(-1, 1)
    slope1, slope2 = h.chunk(2, dim=1)
    return torch.cat([slope1 + 1, slope2], dim=1)


def _activate(x: Tensor, slopes: Tensor | None) -> Tensor:
    return F.relu6(x) if slopes is None else dynamic_relu_reference(x, *slopes.chunk(2, dim=1))


block = register_whole(Kind.BLOCK, block_reference)
