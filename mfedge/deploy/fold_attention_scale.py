"""The 1/√d of an attention becomes part of the projection whose output it scales.

softmax(s · (Wz + b) Xᵀ) = softmax((sW z + sb) Xᵀ)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from mfedge.deploy.graph import layer, new_linear, only_user

# Which argument the scores are linear in and a Linear layer computes, and where the scale is.
PROJECTED = {
    torch.ops.mfedge.mobile_to_former.default: (1, 3),  # query
    torch.ops.mfedge.former_to_mobile.default: (1, 4),  # key
    torch.ops.mfedge.former_attention.default: (0, 3),  # query
}


def fold_attention_scales(graph: fx.GraphModule) -> int:
    """Fold the scale of every fused attention whose query or key comes from a Linear layer of its own."""
    nodes: list[Any] = list(graph.graph.nodes)  # fx types an argument as any of fifteen kinds
    folded = 0
    for node in nodes:
        if node.target not in PROJECTED:
            continue
        projected, scale = PROJECTED[node.target]
        before, factor = node.args[projected], node.args[scale]
        linear = layer(graph, before, nn.Linear)
        if linear is None or only_user(before) != node:
            continue
        graph.set_submodule(str(before.target), new_linear(linear.weight * factor, linear.bias * factor))
        node.args = (*node.args[:scale], 1.0, *node.args[scale + 1 :])
        folded += 1
    return folded


def scales_left(graph: fx.GraphModule) -> list[str]:
    """Fused attentions that still scale their scores, though a Linear layer makes their query or key."""
    left = []
    for node in graph.graph.nodes:
        if node.target in PROJECTED:
            projected, scale = PROJECTED[node.target]
            if node.args[scale] != 1 and layer(graph, node.args[projected], nn.Linear) is not None:
                left.append(node.name)
    return left
