"""Whole blocks as custom nodes of the domain "mfedge": what the native kernels run inside onnxruntime.

    Stem(images, weights)                                  → features, attended
    Block(features, tokens, attended, weights, matrices)   → features, tokens, attended
    Head(features, tokens, attended, weights, matrices)    → logits

`attended` is what Mobile→Former of the node that takes it attended to, computed by the node that wrote the features.
The attributes are the sizes of `mfedge.kernels.layout.Config`; `weights` and `matrices` are flat initializers, laid
out as mfedge_kernels.h says. Tokens keep their batch, (1, M, D). No tool can infer a custom node's outputs, so each is
written with its shape.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import torch
from torch.export import ExportedProgram

from mfedge.formats.lowering import Rules
from mfedge.kernels.layout import Config  # and torch.ops.mfedge, registered

if TYPE_CHECKING:
    from mfedge.formats.onnx.lower import OnnxLowering

DOMAIN, VERSION = "mfedge", 1
MATRICES = 4  # the input of Block and Head that may be half

mfedge = torch.ops.mfedge
RULES = Rules()


def is_native(program: ExportedProgram) -> bool:
    """Whether a trace has native operators."""
    return any(node.target in RULES for node in program.graph.nodes)


@RULES(mfedge.stem.default)
def stem(g: OnnxLowering, images: ir.Value, weights: ir.Value, config: list[int]) -> list[ir.Value]:
    return custom(g, "Stem", [images, weights], config)


@RULES(mfedge.block.default)
def block(
    g: OnnxLowering, features: ir.Value, tokens: ir.Value, attended: ir.Value, weights: ir.Value, matrices: ir.Value,
    config: list[int],
) -> list[ir.Value]:  # fmt: skip
    return custom(g, "Block", [features, tokens, attended, weights, matrices], config)


@RULES(mfedge.head.default)
def head(
    g: OnnxLowering, features: ir.Value, tokens: ir.Value, attended: ir.Value, weights: ir.Value, matrices: ir.Value,
    config: list[int],
) -> ir.Value:  # fmt: skip
    return custom(g, "Head", [features, tokens, attended, weights, matrices], config)[0]


def custom(g: OnnxLowering, op_type: str, inputs: list[ir.Value], config: list[int]) -> list[ir.Value]:
    """Append one custom node; its outputs, typed."""
    value = g.node.meta["val"]
    results = value if isinstance(value, (list, tuple)) else [value]
    attributes = Config(*config)._asdict()
    outputs = g.tape.op_multi_out(op_type, inputs, attributes, num_outputs=len(results), domain=DOMAIN)
    index = len(g.tape.nodes)
    outputs[0].producer().name = f"{g.scope}/{op_type}_{index}"  # type: ignore[union-attr]
    for i, (output, result) in enumerate(zip(outputs, results, strict=True)):
        output.name = f"v{index}" if len(results) == 1 else f"v{index}_{i}"
        output.type, output.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(sizes(g.program, result.shape))
    return list(outputs)


def sizes(program: ExportedProgram, shape: torch.Size) -> list[int | str]:
    """A traced shape; what depends on the input's size, as a formula of `height` and `width`."""
    (name,) = program.graph_signature.user_inputs
    images = next(node for node in program.graph.nodes if node.name == name)
    symbols = {str(size): ("height", "width")[i - 2] for i, size in enumerate(images.meta["val"].shape)}
    return [size if isinstance(size, int) else formula(str(size), symbols) for size in shape]


def formula(expression: str, symbols: dict[str, str]) -> str:
    """`(s77 - 1)//2 + 1` with the names that the input's sizes have."""
    return re.sub(r"[A-Za-z_]\w*", lambda match: symbols.get(match[0], match[0]), expression)


def store_half(model: ir.Model) -> None:
    """Store the matrices of all native nodes as float16; the kernels read them as they are. Vectors stay float32."""
    for node in model.graph:
        if node.domain != DOMAIN or len(node.inputs) <= MATRICES:
            continue
        matrices = node.inputs[MATRICES]
        assert matrices is not None and matrices.const_value is not None
        half = matrices.const_value.numpy().astype(np.float16)  # shared by two nodes: the same again
        matrices.const_value = ir.tensor(half, name=matrices.name)
        matrices.type = ir.TensorType(ir.DataType.FLOAT16)
