"""A whole Mobile-Former block as one operator (paper section 3.1, Figure 3; downsampling after Figure 7).

    Z ← LN(Z + W (gate(Z) · A)),   Z ← Former(Z),   X ← Mobile(X, Z),   X ← Mobile←Former(X, Z)
    A ← attention(Q Z, X, X)

X comes and goes with a row of zeros below its pixels, for the native kernels' sake (`layout.PADDING_ROWS`).
A, what Mobile→Former attended to in X, comes in with X: the first step is the rest of it. The A that goes out is for
the Mobile→Former behind this block, whose query Q Z is known as soon as this block's tokens are. So a map is attended
to while it is being written, and never read again for the bridge.

BatchNorm is folded into the convolutions, 2 · hard-sigmoid is a clip behind a scaled Linear layer, and 1/√d of every
attention is part of its query (Mobile→Former, Former) or key (Mobile←Former).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from mfedge.kernels import layout
from mfedge.kernels.layout import Config, Kind
from mfedge.ops import packed as operators
from mfedge.ops.dynamic_relu import dynamic_relu_reference
from mfedge.ops.former_attention import former_attention_reference
from mfedge.ops.former_to_mobile import former_to_mobile_reference
from mfedge.ops.mobile_to_former import mobile_to_former_reference
from mfedge.ops.registry import check_block_inputs, check_vectors, register_gradient

Parts = Mapping[str, Tensor]  # a block's weights, by the names in the deployed network


class TokenSide(NamedTuple):
    """What the token half of a block hands to the pixel half. Slopes are [a₁ | a₂], (B, 2E); none with ReLU6."""

    tokens: Tensor  # (B, M, D)
    slopes1: Tensor | None
    slopes2: Tensor | None
    key: Tensor  # (B, M, C')
    value: Tensor


def block_reference(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The plain twin of `torch.ops.mfedge.block`; same shapes, differentiable."""
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


def parts(kind: Kind, config: Config, weights: Tensor, matrices: Tensor) -> Parts:
    """Both flat vectors as one dictionary."""
    vectors = layout.split(weights, layout.vectors(kind, config))
    return vectors | layout.split(matrices, layout.matrices(kind, config))


def linear(x: Tensor, p: Parts, name: str) -> Tensor:
    """The Linear layer of this name."""
    return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])


def bridge(attended: Tensor, tokens: Tensor, p: Parts) -> Tensor:
    """Mobile→Former behind its attention: LN(z + W (gate · attended)). (B, M, C), (B | 1, M, D) → (B, M, D)."""
    gate = linear(tokens, p, "mobile_to_former.gate.0").clamp(0, 2)
    return norm(tokens + linear(gate * attended, p, "mobile_to_former.project"), p, "mobile_to_former.norm")


def norm(x: Tensor, p: Parts, name: str) -> Tensor:
    """The LayerNorm of this name."""
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])


def token_side(attended: Tensor, tokens: Tensor, p: Parts, c: Config) -> TokenSide:
    """All that a block computes on tokens, from what Mobile→Former has attended to, (B, M, C)."""
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
        """Depthwise if it has one input channel a group; then a multiplier of 1 or more."""
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


@torch.library.custom_op("mfedge::block", mutates_args=())
def block(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """One Mobile-Former block, everything foldable folded.

    Args:
        features: (B, in_channels, H + 1, W) float; what is in the last row makes no difference.
        tokens: (B, M, D) or (1, M, D).
        attended: (B, M, in_channels), what the operator that wrote `features` attended to in it.
        weights: (n,), as `layout.vectors(Kind.BLOCK, …)` lists them.
        matrices: (n,), as `layout.matrices(Kind.BLOCK, …)` lists them.
        config: the thirteen integers of `layout.Config`.

    Returns:
        Features (B, out_channels, H' + 1, W'), the last row zeros, H' and W' half of H and W, rounded up, if stride is
        2; tokens (B, M, D); attended (B, M, out_channels), for the block or head behind.

    Raises:
        ValueError: if the shapes do not fit.
    """
    c = check_shapes(features, tokens, attended, weights, matrices, config)
    if operators.serves(features, tokens, attended) and operators.serves_weights(weights, matrices):
        x, z, a = operators.of_weights(Kind.BLOCK, c, weights, matrices).run(features, tokens, attended)
        return x, z, a
    x, z, a = block_reference(features, tokens, attended, weights, matrices, config)
    return x.contiguous(), z.contiguous(), a.contiguous()  # as the shape function promises


def check_shapes(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> Config:
    """Raise ValueError, naming the argument, unless the shapes fit together."""
    c = layout.check_config(Kind.BLOCK, config)
    check_block_inputs("block", features, tokens, attended, c)
    check_vectors("block", Kind.BLOCK, c, weights, matrices)
    return c


@block.register_fake
def _(
    features: Tensor, tokens: Tensor, attended: Tensor, weights: Tensor, matrices: Tensor, config: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    c = check_shapes(features, tokens, attended, weights, matrices, config)
    B, (H, W) = features.shape[0], layout.height_width(Kind.BLOCK, features.shape)
    if c.stride == 2:
        H, W = layout.halved(H), layout.halved(W)
    return (
        features.new_empty((B, c.out_channels, H + layout.PADDING_ROWS, W)),
        tokens.new_empty((B, c.tokens, c.token_dim)),
        attended.new_empty((B, c.tokens, c.out_channels)),
    )


register_gradient(block, block_reference)


@register_flop_formula(torch.ops.mfedge.block)
def flops(
    features: list[int], tokens: list[int], attended: list[int], weights: list[int], matrices: list[int],
    config: Sequence[int], **_: Any,
) -> int:  # fmt: skip
    """Its convolutions, Linear layers and attention products; a flop counter counts a multiply-add as 2."""
    return 2 * features[0] * layout.madds(Kind.BLOCK, Config(*config), *layout.height_width(Kind.BLOCK, features))
