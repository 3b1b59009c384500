"""The stem and the lite bottleneck after it as one operator (paper, Table 11, first two rows).

    X ← relu6(conv₃ₓ₃,₂(images)),   X ← pointwise(relu6(depthwise(X)))  [+ X where nothing changes shape]
    A ← attention(Q, X, X)

A is the first Mobile→Former's attention. The stem computes it over the map while it writes the map, so that the next
block need not read it again. The query Q depends on the learned tokens alone: it is a constant, with 1/√d in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from mfedge.kernels.layout import Config, Kind
from mfedge.ops.block import pad, parts
from mfedge.ops.mobile_to_former import mobile_to_former_reference
from mfedge.ops.registry import register_whole


def stem_reference(images: Tensor, weights: Tensor, config: Sequence[int]) -> tuple[Tensor, Tensor]:
    """First convolution and lite bottleneck, BatchNorm folded, and the attention of the first Mobile→Former.

    Args:
        images: (B, 3, H, W) float.
        weights: (n,), as `layout.vectors(Kind.STEM, …)` lists them.
        config: the integers of `layout.Config`.

    Returns:
        Features (B, out_channels, H' + 1, W'), the last row zeros, H' and W' a half or a quarter of H and W, rounded
        up; attended (B, M, out_channels).
    """
    c = Config(*config)
    p = parts(Kind.STEM, c, weights)

    def conv(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        weight = p[f"{name}.weight"]
        return F.conv2d(x, weight, p[f"{name}.bias"], stride, weight.shape[-1] // 2, groups=groups)

    x = F.relu6(conv(images, "stem.0.conv", stride=2))  # (B, C, H/2, W/2)
    y = F.relu6(conv(x, "blocks.0.mobile.depthwise.conv", c.stride, groups=c.in_channels))
    y = conv(y, "blocks.0.mobile.project.conv")
    x = x + y if c.stride == 1 and c.in_channels == c.out_channels else y
    query = p["blocks.1.mobile_to_former.query"].unsqueeze(0)  # (1, M, C')
    return pad(x), mobile_to_former_reference(x, query, c.heads, 1.0)


stem = register_whole(Kind.STEM, stem_reference)
