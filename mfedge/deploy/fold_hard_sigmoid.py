"""The hard-sigmoids of Mobile→Former's gate and of the dynamic ReLU become a clip after a scaled Linear layer.

hard-sigmoid(u) = clip(u/6 + 1/2, 0, 1), so
gate:    2 · hard-sigmoid(Wx + b)          = clip(W/3 x + (b/3 + 1),  0, 2)
slopes:  2 · (hard-sigmoid(Wx + b) - 1/2)  = clip(W/3 x +  b/3,      -1, 1)
"""

from __future__ import annotations

from torch import fx, nn

from mfedge.deploy.graph import calls, layer, new_linear, only_user, source
from mfedge.nn.layers import Gate, Slopes


def fold_hard_sigmoids(graph: fx.GraphModule) -> int:
    """Fold every Gate and Slopes layer that alone reads a Linear layer."""
    folded = 0
    for kind, shift in ((Gate, 1.0), (Slopes, 0.0)):
        for node, _ in calls(graph, kind):
            before = source(node)
            linear = layer(graph, before, nn.Linear)
            if linear is None or only_user(before) is not node:
                continue
            graph.set_submodule(str(before.target), new_linear(linear.weight / 3, linear.bias / 3 + shift))
            graph.set_submodule(str(node.target), nn.Hardtanh(shift - 1, shift + 1))
            folded += 1
    return folded


def hard_sigmoids_left(graph: fx.GraphModule) -> list[str]:
    """Gates and slopes."""
    return [str(node.target) for kind in (Gate, Slopes) for node, _ in calls(graph, kind)]
