"""Shared by all lowerings: the walk over the traced graph, the table of rules, and the error where a rule is missing.

A format is a subclass of `Lowering` with a table of rules, one per operator. A rule takes the node's arguments, graph
values already lowered, and returns the lowered value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from mfedge.errors import CheckpointError, UnknownOperatorError
from mfedge.kernels.layout import Kind
from mfedge.precisions import Precision

Value = TypeVar("Value")
Rule = Callable[..., Any]


class Rules(dict[object, Rule]):
    """A lowering's table: `@RULES(torch.ops.aten.relu.default)` adds the function below it."""

    def __call__(self, *targets: object) -> Callable[[Rule], Rule]:
        def register(rule: Rule) -> Rule:
            for target in targets:
                if target in self:
                    raise KeyError(f"{target} has two rules")
                self[target] = rule
            return rule

        return register


def check_range(program: ExportedProgram, precision: Precision) -> None:
    """Refuse weights that would be stored as infinity. Folded weights can be: BatchNorm divides by a small deviation.

    Raises:
        CheckpointError: naming them and the largest.
    """
    if not np.issubdtype(np.dtype(precision.stored), np.floating):
        return
    most = float(np.finfo(precision.stored).max)
    tensors = {**program.state_dict, **program.constants}
    largest = {
        name: float(value.detach().abs().max())
        for name, value in tensors.items()
        if hasattr(value, "is_floating_point") and value.is_floating_point() and value.numel()
    }
    beyond = {name: value for name, value in largest.items() if not value <= most}
    if beyond:
        worst = max(beyond, key=lambda name: beyond[name])
        raise CheckpointError(
            f"weights for {precision.name}: expected magnitudes up to {most:g}, found {beyond[worst]:g} in {worst}"
            f"{f' and {len(beyond) - 1} more' if len(beyond) > 1 else ''}; take --precision fp32"
        )


class Lowering(Generic[Value]):
    """Walks a traced graph in order, handing each node to its rule.

    A rule is called as ``rule(lowering, *args, **kwargs)`` with lowered values in place of graph
    nodes and plain Python values as they are. Parameters and buffers arrive as `constant()` returns them.
    `self.node` is the graph node being lowered; its `meta["val"]` carries shape and dtype.
    """

    format: ClassVar[str]
    rules: ClassVar[Rules]

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self.node: fx.Node = next(iter(program.graph.nodes))
        self.scope = ""  # the module that the node being lowered came from

    def input(self, name: str, shape: tuple[int | None, ...]) -> Value:
        """The network's input; `shape` is (1, 3, H, W), None where it is dynamic."""
        raise NotImplementedError("each format says how")  # abstract

    def constant(self, name: str, value: Tensor) -> Value:
        """A parameter or buffer, under its name in the deployed network."""
        raise NotImplementedError("each format says how")  # abstract

    def custom(self, kind: Kind, inputs: Sequence[Any], config: Sequence[int]) -> list[Value]:
        """A fused operator as the format writes custom ones; its outputs. `inputs` has its weights at the end."""
        raise NotImplementedError("each format says how")  # abstract

    def run(self) -> list[Value]:
        """Lower the whole graph; the values of its outputs, in order.

        Raises:
            UnknownOperatorError: naming the operator and its module.
        """
        signature = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        tensors: Mapping[str, Any] = {**self.program.state_dict, **self.program.constants}
        values: dict[fx.Node, Any] = {}
        for node in self.program.graph.nodes:
            self.node = node
            self.scope = module_path(node) or self.scope
            if node.op == "placeholder":
                spec = signature[node.name]
                if spec.kind is InputKind.USER_INPUT:
                    values[node] = self.input(node.name, static_shape(node))
                else:
                    values[node] = self.constant(str(spec.target), tensors[str(spec.target)].detach())
            elif node.op == "output":
                return [values[result] for result in node.args[0]]
            elif node.target is operator.getitem:
                values[node] = values[node.args[0]][node.args[1]]
            elif node.op == "call_function" and node.target in self.rules:
                args = fx.node.map_arg(node.args, values.__getitem__)
                kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
                values[node] = self.rules[node.target](self, *args, **kwargs)
            else:
                raise unknown(node, self.format)
        raise AssertionError("a graph without an output")


def static_shape(node: fx.Node) -> tuple[int | None, ...]:
    """The shape of a node's value, None where the trace left it open."""
    return tuple(size if isinstance(size, int) else None for size in node.meta["val"].shape)


def module_path(node: fx.Node) -> str:
    """The dotted path of the module a node was traced in; "" at the top."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def unknown(node: fx.Node, format_name: str) -> UnknownOperatorError:
    """The error for an operator without a rule."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "name", lambda: str(node.target))()
    module = module_path(node) or "(the network itself)"
    return UnknownOperatorError(node.target, f"{format_name}: cannot lower operator {name} of module {module}")
