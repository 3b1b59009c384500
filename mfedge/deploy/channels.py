"""Renaming channels: what stands between a permutation and the pointwise convolution that takes it.

With y' = y[p], a channelwise step f commutes, f(y') = f(y)[p], once its own parameters are permuted,
and W y = W[:, p] y'.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from mfedge.deploy.graph import layer, only_reader


def channels_after(graph: fx.GraphModule, node: fx.Node) -> int | None:
    """Input channels of the dense pointwise convolution that `node` reaches by channelwise steps alone, if any."""
    _, _, conv = _walk(graph, node)
    return None if conv is None else conv.in_channels


@torch.no_grad()
def rename_channels_after(graph: fx.GraphModule, node: fx.Node, order: Tensor) -> bool:
    """Let everything after `node` expect y[order] where it expected y; False, changing nothing, if it cannot."""
    steps, at, conv = _walk(graph, node)
    if conv is None or at is None:
        return False
    for step in steps:
        if step.target is torch.ops.mfedge.dynamic_relu.default:
            hyper = _hyper_layer(graph, step)
            both = torch.cat([order, order + len(order)])  # rows: E first slopes, then E second ones
            hyper.weight.copy_(hyper.weight[both])
            hyper.bias.copy_(hyper.bias[both])
    graph.set_submodule(str(at.target), pointwise(conv.weight[:, order], conv.bias))
    return True


@torch.no_grad()
def pointwise(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A dense 1×1 convolution with these values: weight (out, in, 1, 1), bias (out,)."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    conv.weight.copy_(weight)
    if bias is not None and conv.bias is not None:
        conv.bias.copy_(bias)
    return conv.eval()


def _walk(graph: fx.GraphModule, node: fx.Node) -> tuple[list[fx.Node], fx.Node | None, nn.Conv2d | None]:
    """The channelwise steps after `node`, then the dense pointwise convolution, if that is what follows."""
    steps, at = [], only_reader(node)
    while at is not None and (
        (at.target is torch.ops.mfedge.dynamic_relu.default and at.args[1] is not node)
        or layer(graph, at, nn.ReLU6) is not None
    ):
        steps.append(at)
        at = only_reader(at)
    conv = layer(graph, at, nn.Conv2d)
    if conv is not None and (conv.groups > 1 or conv.kernel_size != (1, 1) or conv.stride != (1, 1)):
        conv = None
    return steps, at, conv


def _hyper_layer(graph: fx.GraphModule, node: fx.Node) -> nn.Linear:
    """The Linear layer, of 2E outputs, that a channelwise dynamic ReLU's slopes come from."""
    at = node.args[2]
    while isinstance(at, fx.Node):
        if (linear := layer(graph, at, nn.Linear)) is not None:
            return linear
        at = at.args[0]
    raise AssertionError("a dynamic ReLU without a hyper-function")
