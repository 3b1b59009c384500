"""The network as an `fx` graph of layers, and the few helpers that all rewrites share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, fx, nn

from mfedge.nn import layers

Layer = TypeVar("Layer", bound=nn.Module)


class LayerTracer(fx.Tracer):
    """Stops at torch's own layers and at the few of `mfedge.nn.layers` that a rewrite knows by type."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, (layers.ChannelShuffle, layers.Gate, layers.Slopes)) or super().is_leaf_module(
            module, qualified_name
        )


def to_graph(network: nn.Module) -> fx.GraphModule:
    """Trace `network` symbolically, for any batch and size. It must be a copy: its layers are rewritten in place."""
    return fx.GraphModule(network, LayerTracer().trace(network))


def layer(graph: fx.GraphModule, node: object, kind: type[Layer]) -> Layer | None:
    """The layer that `node` calls, if it is of this kind."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        if isinstance(module, kind):
            return module
    return None


def calls(graph: fx.GraphModule, kind: type[Layer]) -> Iterator[tuple[fx.Node, Layer]]:
    """Every call of a layer of this kind, in order. The graph may be changed while iterating."""
    for node in list(graph.graph.nodes):
        module = layer(graph, node, kind)
        if module is not None:
            yield node, module


def only_user(node: fx.Node) -> fx.Node | None:
    """The one node that reads `node`, if there is exactly one."""
    users = list(node.users)
    return users[0] if len(users) == 1 else None


def only_reader(node: fx.Node) -> fx.Node | None:
    """As `only_user`, for the values of `node`: who reads its shape alone does not count."""
    users = [user for user in node.users if not (user.target is getattr and user.args[1] == "shape")]
    return users[0] if len(users) == 1 else None


def source(node: fx.Node) -> fx.Node:
    """The node that a one-input layer reads."""
    (argument,) = node.args
    assert isinstance(argument, fx.Node)
    return argument


def bypass(graph: fx.GraphModule, node: fx.Node, replacement: fx.Node) -> None:
    """Let all readers of `node` read `replacement`, and remove `node`."""
    node.replace_all_uses_with(replacement)
    graph.graph.erase_node(node)


@torch.no_grad()
def new_linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A Linear layer with these values: weight (out, in), bias (out,)."""
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.copy_(weight)
    linear.bias.copy_(bias)
    return linear.eval()


INERT = (nn.Identity, nn.Dropout)


def drop_inert(graph: fx.GraphModule) -> int:
    """Identity(x) = x, and Dropout(x) = x at inference."""
    found = [node for kind in INERT for node, _ in calls(graph, kind)]
    for node in found:
        bypass(graph, node, source(node))
    return len(found)


def inert_left(graph: fx.GraphModule) -> list[str]:
    """Layers that compute nothing."""
    return [str(node.target) for kind in INERT for node, _ in calls(graph, kind)]
