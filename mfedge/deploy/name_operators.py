"""Fused operators become layers under the module they came from: op(x, y, 2, 1.0) = Named(op, 2, 1.0)(x, y).

Nothing is computed differently; a trace of the deployed network then still says which block's bridge or
activation each operator is, for error messages, node names and profiles.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx, nn


class Named(nn.Module):
    """One operator with its plain-number arguments bound; takes the tensors."""

    def __init__(self, operator: Any, rest: tuple[Any, ...]) -> None:
        super().__init__()
        self.operator = operator
        self.rest = rest

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.operator(*tensors, *self.rest)


def name_operators(graph: fx.GraphModule) -> int:
    """Wrap every call of an mfedge operator in a layer at its module's path."""
    found = _unnamed(graph)
    for node in found:
        stack = node.meta.get("nn_module_stack") or {"": ("", None)}
        module = str(list(stack.values())[-1][0])
        name = node.target._schema.name.partition("::")[2]
        path = f"{module}.{name}" if module else name
        tensors = [arg for arg in node.args if isinstance(arg, fx.Node)]
        graph.add_submodule(path, Named(node.target, tuple(node.args[len(tensors) :])))
        with graph.graph.inserting_before(node):
            call = graph.graph.call_module(path, tuple(tensors))
        node.replace_all_uses_with(call)
        graph.graph.erase_node(node)
    return len(found)


def unnamed_left(graph: fx.GraphModule) -> list[str]:
    """Calls of mfedge's operators that have no layer."""
    return [str(node.name) for node in _unnamed(graph)]


def _unnamed(graph: fx.GraphModule) -> list[Any]:
    return [
        node
        for node in graph.graph.nodes
        if node.op == "call_function" and getattr(node.target, "namespace", None) == "mfedge"
    ]
