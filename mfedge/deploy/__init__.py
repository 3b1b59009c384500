"""The same network, rewritten for inference: exact, one rewrite a file, then one trace for every format.

Each rewrite takes a `torch.fx.GraphModule` whose leaves are layers, finds its pattern, checks what
has to hold, and replaces it. Its docstring states the transformation as a formula.
"""

from __future__ import annotations

import copy

from torch import fx, nn

from mfedge.deploy.constant_tokens import fold_constants
from mfedge.deploy.dense_pointwise import fold_channel_shuffles
from mfedge.deploy.fold_attention_scale import fold_attention_scales
from mfedge.deploy.fold_batch_norm import fold_batch_norms
from mfedge.deploy.fold_hard_sigmoid import fold_hard_sigmoids
from mfedge.deploy.fuse_blocks import check_native, fuse_blocks
from mfedge.deploy.graph import drop_inert, to_graph
from mfedge.deploy.merge_projections import merge_projections
from mfedge.deploy.name_operators import name_operators
from mfedge.deploy.trace import trace
from mfedge.errors import UsageError
from mfedge.kernels.find import KERNELS

__all__ = ["deploy", "trace"]

# In this order: later rewrites expect what earlier ones leave (biases, single Linear layers, no Identity).
FOLDS = (drop_inert, fold_batch_norms, fold_channel_shuffles, fold_hard_sigmoids, fold_attention_scales)
REWRITES = (*FOLDS, fold_constants, merge_projections, name_operators)


def deploy(network: nn.Module, kernels: str = "portable") -> fx.GraphModule:
    """A rewritten copy of `network` that computes the same in fewer and cheaper steps; `network` is left alone.

    Args:
        network: any network of `mfedge.nn`, in eval mode.
        kernels: "portable": standard operators in every format. "native": one operator a block, which a format
            keeps as a custom one and mfedge's own kernels compute.

    Returns:
        (B, 3, H, W) → (B, classes), equal up to float32 rounding.

    Raises:
        UsageError: unknown kernels, or no native ones for this family of networks.
        UnsupportedError: a field of the spec that the native kernels have no code for.
    """
    if kernels not in KERNELS:
        raise UsageError(f"--kernels {kernels}: expected one of {', '.join(KERNELS)}")
    spec = check_native(network.spec) if kernels == "native" else None  # type: ignore[arg-type]  # both families have one
    graph = to_graph(copy.deepcopy(network).eval())
    for rewrite in REWRITES if spec is None else FOLDS:
        rewrite(graph)
        graph.graph.eliminate_dead_code()
        graph.delete_all_unused_submodules()
        graph.recompile()
    return graph if spec is None else fuse_blocks(graph, spec)
