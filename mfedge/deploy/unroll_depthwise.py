"""A depthwise convolution with a channel multiplier m becomes m copies of its input and multiplier 1.

    dw(x)[c·m + j] = w[c·m + j] * x[c]   →   dw'([x … x])[j·C + c] = w[c·m + j] * x[c]

The runtimes' fast depthwise kernels want as many outputs as inputs (XNNPACK and onnxruntime both leave
theirs otherwise). The new channel order is carried to the next pointwise convolution, like a shuffle's.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from mfedge.deploy.channels import rename_channels_behind
from mfedge.deploy.graph import calls, source
from mfedge.nn.layers import ChannelShuffle


@torch.no_grad()
def unroll_depthwise(graph: fx.GraphModule) -> None:
    """Unroll every depthwise multiplier whose output reaches a dense pointwise convolution by channelwise steps."""
    for node, conv in calls(graph, nn.Conv2d):
        multiplier = conv.out_channels // conv.in_channels
        if conv.groups != conv.in_channels or multiplier == 1:
            continue
        order = ChannelShuffle(conv.in_channels).source(conv.out_channels)  # j·C + c ← c·m + j
        if not rename_channels_behind(graph, node, order):
            continue
        unrolled = nn.Conv2d(
            conv.out_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]  # torch types it as a tuple of any length
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            groups=conv.out_channels,
        ).eval()
        assert unrolled.bias is not None
        assert conv.bias is not None, "BatchNorm was folded before"
        unrolled.weight.copy_(conv.weight[order])
        unrolled.bias.copy_(conv.bias[order])
        graph.set_submodule(str(node.target), unrolled)
        with graph.graph.inserting_before(node):
            copies = graph.graph.call_function(torch.cat, ([source(node)] * multiplier, 1))
        node.args = (copies,)
