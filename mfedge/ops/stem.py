"""The stem and the lite bottleneck behind it as one operator (paper, Table 11, first two rows).

    X ← relu6(conv₃ₓ₃,₂(images)),   X ← pointwise(relu6(depthwise(X)))  [+ X where nothing changes shape]
    A ← attention(Q, X, X)

A is what the first Mobile→Former attends to. The map is attended to while it is being written, so that the block behind
never reads it for the bridge; the query Q is that of the learned tokens, a constant with 1/√d in it.
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
from mfedge.ops.block import pad
from mfedge.ops.mobile_to_former import mobile_to_former_reference
from mfedge.ops.registry import check_features, check_vectors, register_gradient


def stem_reference(images: Tensor, weights: Tensor, config: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The plain twin of `torch.ops.mfedge.stem`; same shapes, differentiable."""
    c = Config(*config)
    p = layout.split(weights, layout.vectors(Kind.STEM, c))

    def conv(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = p[f"{name}.weight"]
        return F.conv2d(x, weight, p[f"{name}.bias"], stride, weight.shape[-1] // 2, groups=groups)

    x = F.relu6(conv(images, "stem.0.conv", stride=2))  # (B, C, H/2, W/2)
    y = F.relu6(conv(x, "blocks.0.mobile.depthwise.conv", c.stride, groups=c.in_channels))
    y = conv(y, "blocks.0.mobile.project.conv")
    x = x + y if c.stride == 1 and c.in_channels == c.out_channels else y
    query = p["blocks.1.mobile_to_former.query"].unsqueeze(0)  # (1, M, C')
    return pad(x), mobile_to_former_reference(x, query, c.heads, 1.0)


@torch.library.custom_op("mfedge::stem", mutates_args=())
def stem(images: Tensor, weights: Tensor, config: Sequence[int]) -> tuple[Tensor, Tensor]:
    """First convolution and lite bottleneck, BatchNorm folded, and the attention of the first Mobile→Former.

    Args:
        images: (B, 3, H, W) float.
        weights: (n,), as `layout.vectors(Kind.STEM, …)` lists them.
        config: the thirteen integers of `layout.Config`.

    Returns:
        Features (B, out_channels, H' + 1, W'), the last row zeros, H' and W' a half or a quarter of H and W, rounded
        up; attended (B, M, out_channels).

    Raises:
        ValueError: if the shapes do not fit.
    """
    c = check_shapes(images, weights, config)
    if operators.serves(images) and operators.serves_weights(weights):
        x, attended = operators.of_weights(Kind.STEM, c, weights).run(images)
        return x, attended
    x, attended = stem_reference(images, weights, config)
    return x.contiguous(), attended.contiguous()  # as the shape function promises


def check_shapes(images: Tensor, weights: Tensor, config: Sequence[int]) -> Config:
    """Raise ValueError, naming the argument, unless the shapes fit together."""
    c = layout.check_config(Kind.STEM, config)
    check_features("stem", images)
    torch._check_value(
        images.shape[1] == 3, lambda: f"mfedge::stem: images must have 3 channels, found {images.shape[1]}"
    )
    check_vectors("stem", Kind.STEM, c, weights)
    return c


@stem.register_fake
def _(images: Tensor, weights: Tensor, config: Sequence[int]) -> tuple[Tensor, Tensor]:
    c = check_shapes(images, weights, config)
    B, height, width = images.shape[0], layout.halved(images.shape[2]), layout.halved(images.shape[3])
    if c.stride == 2:
        height, width = layout.halved(height), layout.halved(width)
    map_shape = (B, c.out_channels, height + layout.PADDING_ROWS, width)
    return images.new_empty(map_shape), images.new_empty((B, c.tokens, c.out_channels))


register_gradient(stem, stem_reference)


@register_flop_formula(torch.ops.mfedge.stem)
def flops(images: list[int], weights: list[int], config: Sequence[int], **_: Any) -> int:
    """Its convolutions and attention products; a flop counter counts a multiply-add as 2."""
    return 2 * images[0] * layout.madds(Kind.STEM, Config(*config), *layout.height_width(Kind.STEM, images))
