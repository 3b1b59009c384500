"""Grouped pointwise convolutions and the channel shuffles between them (26M) become dense convolutions.

    shuffle(x)[i] = x[p(i)], and a grouped W is a block-diagonal matrix, so
    shuffle(Wx + b)  = W[p]x + b[p]                      rows permuted, once W is dense
    W shuffle(x)     = W[:, p⁻¹] x                       columns permuted, once W is dense
    shuffle(max(a₁x, a₂x)) = max(a₁[p] x[p], a₂[p] x[p])  a channelwise step only renames channels

No shuffle and no grouped convolution is left: with 3 - 144 channels a group they fill no vector register,
and a shuffle is a transpose of the whole map.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from mfedge.deploy.channels import channels_after, pointwise, rename_channels_after
from mfedge.deploy.graph import bypass, calls, layer, only_user, source
from mfedge.nn.layers import ChannelShuffle


def fold_channel_shuffles(graph: fx.GraphModule) -> int:
    """Make every grouped pointwise convolution dense, then fold every shuffle into the weights around it."""
    changed = 0
    for node, conv in calls(graph, nn.Conv2d):
        if _is_grouped(conv):
            graph.set_submodule(str(node.target), dense(conv))
            changed += 1
    for node, shuffle in calls(graph, ChannelShuffle):
        if _fold_into_convolution_before(graph, node, shuffle) or _fold_after(graph, node, shuffle):
            bypass(graph, node, source(node))
            changed += 1
    return changed


def shuffles_left(graph: fx.GraphModule) -> list[str]:
    """Shuffles, and grouped pointwise convolutions."""
    grouped = [str(node.target) for node, conv in calls(graph, nn.Conv2d) if _is_grouped(conv)]
    return [str(node.target) for node, _ in calls(graph, ChannelShuffle)] + grouped


def _is_grouped(conv: nn.Conv2d) -> bool:
    return 1 < conv.groups < conv.in_channels and conv.kernel_size == (1, 1) and conv.stride == (1, 1)


@torch.no_grad()
def dense(conv: nn.Conv2d) -> nn.Conv2d:
    """The same grouped pointwise convolution with its zeros written out: weight (out, in, 1, 1)."""
    out_group, in_group = conv.out_channels // conv.groups, conv.in_channels // conv.groups
    weight = torch.zeros(conv.out_channels, conv.in_channels, 1, 1)
    for g in range(conv.groups):
        rows = slice(g * out_group, (g + 1) * out_group)
        weight[rows, g * in_group : (g + 1) * in_group] = conv.weight[rows]
    return pointwise(weight, conv.bias)


def _fold_into_convolution_before(graph: fx.GraphModule, node: fx.Node, shuffle: ChannelShuffle) -> bool:
    """shuffle(Wx + b): permute the rows, if W is pointwise and dense and nobody else reads its output."""
    before = source(node)
    conv = layer(graph, before, nn.Conv2d)
    if conv is None or conv.groups > 1 or conv.kernel_size != (1, 1) or only_user(before) is not node:
        return False
    order = shuffle.source(conv.out_channels)
    permuted = pointwise(conv.weight[order], None if conv.bias is None else conv.bias[order])
    graph.set_submodule(str(before.target), permuted)
    return True


def _fold_after(graph: fx.GraphModule, node: fx.Node, shuffle: ChannelShuffle) -> bool:
    """f(shuffle(x)): what follows reads x's own order instead, up to the next pointwise convolution."""
    channels = channels_after(graph, node)
    if channels is None:
        return False
    return rename_channels_after(graph, node, torch.argsort(shuffle.source(channels)))
