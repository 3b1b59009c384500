"""A depthwise convolution with a channel multiplier m becomes m copies of its input and multiplier 1.

    dw(x)[c·m + j] = w[c·m + j] * x[c]   →   dw'([x … x])[j·C + c] = w[c·m + j] * x[c]

XNNPACK's fast depthwise kernels want as many outputs as inputs. Only parameters are permuted: with y' = y[p]
a channelwise step commutes, f(y') = f(y)[p], once its own parameters are permuted, and W y = W[:, p] y'.
(onnxruntime and OpenVINO lose by it, 10 and 2 % at 512 pixels, so this is a step of this format alone.)
"""

from __future__ import annotations

from typing import Any

import torch
from msgspec import Struct
from torch import Tensor
from torch.export import ExportedProgram

aten, mfedge = torch.ops.aten, torch.ops.mfedge
Node = Any  # fx.Node, whose arguments fx types as any of fifteen kinds


class Unrolling(Struct, frozen=True):
    """What the lowering has to do differently."""

    convolutions: dict[str, int]  # name of the convolution's node → m
    permuted: dict[str, tuple[int, Tensor]]  # parameter → axis, order


def plan_unrolling(program: ExportedProgram) -> Unrolling:
    """Find every depthwise multiplier whose output reaches a dense pointwise convolution by channelwise steps."""
    parameters = {
        spec.arg.name: str(spec.target) for spec in program.graph_signature.input_specs if spec.target is not None
    }
    plan = Unrolling({}, {})
    for node in program.graph.nodes:
        if node.target is not aten.conv2d.default:
            continue
        channels = node.args[0].meta["val"].shape[1]
        outputs, inputs_a_group = node.args[1].meta["val"].shape[:2]
        if inputs_a_group != 1 or channels == 1 or outputs <= channels:
            continue
        order = torch.arange(outputs).view(channels, -1).t().flatten()  # j·C + c ← c·m + j
        after = _after(node)
        if after is None:
            continue
        slopes, pointwise = after
        plan.convolutions[node.name] = outputs // channels
        for argument in node.args[1:3]:
            plan.permuted[parameters[argument.name]] = (0, order)
        for linear in slopes:
            for argument in linear.args[1:3]:  # rows: E first slopes, then E second ones
                plan.permuted[parameters[argument.name]] = (0, torch.cat([order, order + outputs]))
        plan.permuted[parameters[pointwise.args[1].name]] = (1, order)
    return plan


def _after(node: Node) -> tuple[list[Node], Node] | None:
    """The Linear layers that make the slopes of the dynamic ReLUs after `node`, and the pointwise convolution."""
    slopes: list[Node] = []
    at = node
    while len(at.users) == 1:
        before, (at,) = at, at.users
        if at.target is mfedge.dynamic_relu.default and at.args[0] is before:
            linear = _slopes_linear(at)
            if linear is None:
                return None
            slopes.append(linear)
        elif at.target is aten.conv2d.default:
            pointwise = tuple(at.args[1].meta["val"].shape[1:]) == (before.meta["val"].shape[1], 1, 1)
            return (slopes, at) if pointwise else None
        elif at.target not in (aten.hardtanh.default, aten.relu.default):
            return None
    return None


def _slopes_linear(activation: Node) -> Node | None:
    """The Linear layer, of 2E outputs, that both slopes are cut from; None if they come from elsewhere."""
    at = activation.args[2]
    while at.op == "call_function" and at.target is not aten.linear.default:
        at = at.args[0]
    return at if at.op == "call_function" else None
