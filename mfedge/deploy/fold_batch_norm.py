"""BatchNorm after a convolution or Linear layer becomes part of it.

γ (Wx + b - μ) / √(σ² + ε) + β  =  W'x + b',      W' = γ/√(σ² + ε) · W,  b' = γ/√(σ² + ε) · (b - μ) + β
"""

from __future__ import annotations

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from mfedge.deploy.graph import bypass, calls, layer, only_user, source


def fold_batch_norms(graph: fx.GraphModule) -> int:
    """Fold every BatchNorm that alone reads a convolution or a Linear layer."""
    folded = 0
    for node, norm in calls(graph, nn.modules.batchnorm._BatchNorm):
        before = source(node)
        if only_user(before) is not node:
            continue
        if (conv := layer(graph, before, nn.Conv2d)) is not None:
            graph.set_submodule(str(before.target), fuse_conv_bn_eval(conv, norm))
        elif (linear := layer(graph, before, nn.Linear)) is not None:
            graph.set_submodule(str(before.target), fuse_linear_bn_eval(linear, norm))
        else:
            continue
        bypass(graph, node, before)
        folded += 1
    return folded


def batch_norms_left(graph: fx.GraphModule) -> list[str]:
    """BatchNorms."""
    return [str(node.target) for node, _ in calls(graph, nn.modules.batchnorm._BatchNorm)]
