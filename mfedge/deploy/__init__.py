"""The same network, rewritten for inference: exact, one rewrite per file, then one trace for every format.

Each rewrite takes a `torch.fx.GraphModule` whose leaves are layers, finds its pattern, checks what has to hold,
replaces it, and says in how many places. Its docstring states the transformation as a formula.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from msgspec import Struct
from torch import fx, nn

from mfedge.deploy.constant_tokens import constants_left, fold_constants
from mfedge.deploy.dense_pointwise import fold_channel_shuffles, shuffles_left
from mfedge.deploy.fold_attention_scale import fold_attention_scales, scales_left
from mfedge.deploy.fold_batch_norm import batch_norms_left, fold_batch_norms
from mfedge.deploy.fold_hard_sigmoid import fold_hard_sigmoids, hard_sigmoids_left
from mfedge.deploy.graph import drop_inert, inert_left, to_graph
from mfedge.deploy.merge_projections import merge_projections, projections_left
from mfedge.deploy.name_operators import name_operators, unnamed_left
from mfedge.deploy.trace import trace
from mfedge.errors import UnsupportedError
from mfedge.families.spec import Spec
from mfedge.families.table import check_kernels, family_of, imported
from mfedge.kernels import find as built

__all__ = ["deploy", "trace"]

SHOWN = 5  # places that a message lists


class Rewrite(Struct, frozen=True):
    """One exact rewrite: it changes every place that it should, or the network is refused."""

    what: str  # it counts, in a sentence: "BatchNorms folded"
    apply: Callable[[fx.GraphModule], int]  # changes the graph; in how many places
    left: Callable[[fx.GraphModule], list[str]]  # places where the pattern still stands


# In this order: later rewrites expect what earlier ones leave (biases, single Linear layers, no Identity).
FOLDS = (
    Rewrite("inert layers dropped", drop_inert, inert_left),
    Rewrite("BatchNorms folded", fold_batch_norms, batch_norms_left),
    Rewrite("shuffles and groups folded", fold_channel_shuffles, shuffles_left),
    Rewrite("hard-sigmoids folded", fold_hard_sigmoids, hard_sigmoids_left),
    Rewrite("attention scales folded", fold_attention_scales, scales_left),
)
REWRITES = (
    *FOLDS,
    Rewrite("constants folded", fold_constants, constants_left),
    Rewrite("projections merged", merge_projections, projections_left),
    Rewrite("operators named", name_operators, unnamed_left),
)


def deploy(network: nn.Module, kernels: str = "portable") -> fx.GraphModule:
    """A rewritten copy of `network` that computes the same in fewer and cheaper steps; `network` is left alone.

    Args:
        network: any network of `mfedge.nn`, in eval mode.
        kernels: "portable": standard operators in every format. "native": one operator per block, which a format
            keeps as a custom one and mfedge's own kernels compute.

    Returns:
        (B, 3, H, W) → the network's outputs, equal up to float32 rounding. Its `meta["rewrites"]` says how many places
        each rewrite has changed.

    Raises:
        UsageError: unknown kernels, or no native ones for this family of networks.
        UnsupportedError: a field of the spec that the native kernels have no code for, or a place that a rewrite
            should have changed and could not.
    """
    spec = getattr(network, "spec", None)  # any module can be rewritten; for native kernels its spec has to be known
    built.check_kernels(kernels)
    if kernels == "native":
        assert isinstance(spec, Spec), "a network of mfedge.nn"
        check_kernels(spec)
    graph = to_graph(copy.deepcopy(network).eval())
    counts: dict[str, int] = {}
    for rewrite in FOLDS if kernels == "native" else REWRITES:
        counts[rewrite.what] = rewrite.apply(graph)
        graph.graph.eliminate_dead_code()
        graph.delete_all_unused_submodules()
        graph.recompile()
        _check_nothing_left(rewrite, graph)
    if kernels == "native":
        assert isinstance(spec, Spec)
        fuse = family_of(spec).fuse
        assert fuse is not None, "check_kernels has seen to it"
        graph = imported(fuse)(graph, spec)
        counts["blocks fused"] = len(list(graph.graph.find_nodes(op="call_module")))
    graph.meta |= {"spec": spec, "rewrites": counts}
    return graph


def _check_nothing_left(rewrite: Rewrite, graph: fx.GraphModule) -> None:
    left = rewrite.left(graph)
    if left:
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        raise UnsupportedError(
            f"{rewrite.what}: expected none left, found {len(left)}: {', '.join(left[:SHOWN])}{more}; "
            "the network's layers are not in an order that this rewrite knows"
        )
