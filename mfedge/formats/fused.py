"""One rule for all fused operators and all formats: a custom operator with its weights beside its inputs.

    Stem(images, weights)                                  → features, attended
    Block(features, tokens, attended, weights, matrices)   → features, tokens, attended
    Head(features, tokens, attended, weights, matrices)    → logits

`attended` is the result of Mobile→Former's attention over `features`, computed by the operator that wrote them. The
attributes are the sizes of `mfedge.kernels.layout.Config`; `weights` and `matrices` are flat constants, laid out as
mfedge_kernels.h says. Tokens keep their batch, (1, M, D). A format says in `Lowering.custom` how it writes all this;
`mfedge.kernels` has the operators for its runtime.
"""

from __future__ import annotations

from typing import Any

from torch import fx
from torch.export import ExportedProgram

import mfedge.ops  # noqa: F401  # registers them
from mfedge.formats.lowering import Lowering, Rule, Rules
from mfedge.kernels.layout import Kind
from mfedge.ops.registry import WHOLE

RULES = Rules()


def rule_for(kind: Kind) -> Rule:
    """The rule of one kind: its arguments are its inputs, its weights and its configuration."""

    def rule(g: Lowering[Any], *arguments: Any) -> Any:
        *inputs, config = arguments
        outputs = g.custom(kind, inputs, config)
        return outputs[0] if len(kind.row.outputs) == 1 else outputs

    return rule


for target, kind in WHOLE.items():
    RULES(target)(rule_for(kind))


def has_fused(program: ExportedProgram) -> bool:
    """Whether a trace has fused operators. Then it has nothing else that computes: whole networks are fused."""
    return any(node.target in WHOLE for node in program.graph.nodes)


def result_shapes(node: fx.Node) -> list[tuple[Any, ...]]:
    """The traced shapes of a node's results, symbolic where they are dynamic."""
    value = node.meta["val"]
    return [tuple(result.shape) for result in (value if isinstance(value, (list, tuple)) else [value])]
