"""Fused operators as custom nodes of the domain "mfedge", which the native kernels run inside onnxruntime.

No tool can infer a custom node's outputs, so each is written with its shape.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir import tape
from torch.export import ExportedProgram

from mfedge.kernels.kinds import BY_NAME
from mfedge.kernels.layout import Config, Kind

DOMAIN, VERSION = "mfedge", 1

Shape = list[int | str]


def append(
    to: tape.Tape, scope: str, kind: Kind, inputs: Sequence[ir.Value], config: Sequence[int], shapes: Sequence[Shape]
) -> list[ir.Value]:
    """Append one custom node of the module `scope`; its outputs, typed."""
    op_type = kind.row.name
    outputs = to.op_multi_out(op_type, inputs, Config(*config)._asdict(), num_outputs=len(shapes), domain=DOMAIN)
    index = len(to.nodes)
    outputs[0].producer().name = f"{scope}/{op_type}_{index}"  # type: ignore[union-attr]  # of a node
    for i, (output, shape) in enumerate(zip(outputs, shapes, strict=True)):
        output.name = f"v{index}" if len(shapes) == 1 else f"v{index}_{i}"
        output.type, output.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
    return list(outputs)


def sizes(program: ExportedProgram, shape: Sequence[Any]) -> Shape:
    """A traced shape; a size that depends on the input's is a formula of `height` and `width`."""
    (name,) = program.graph_signature.user_inputs
    images = next(node for node in program.graph.nodes if node.name == name)
    symbols = {str(size): ("height", "width")[i - 2] for i, size in enumerate(images.meta["val"].shape)}
    return [size if isinstance(size, int) else formula(str(size), symbols) for size in shape]


def formula(expression: str, symbols: dict[str, str]) -> str:
    """`(s77 - 1)//2 + 1` with the names that the input's sizes have."""
    return re.sub(r"[A-Za-z_]\w*", lambda match: symbols.get(match[0], match[0]), expression)


def store_half(model: ir.Model) -> None:
    """Store the matrices of all fused nodes as float16; the kernels read them as they are. Vectors stay float32."""
    for node in model.graph:
        index = BY_NAME[node.op_type].matrices if node.domain == DOMAIN else None
        if index is None:
            continue
        matrices = node.inputs[index]
        assert matrices is not None and matrices.const_value is not None
        half = matrices.const_value.numpy().astype(np.float16)  # shared by two nodes: the same again
        matrices.const_value = ir.tensor(half, name=matrices.name)
        matrices.type = ir.TensorType(ir.DataType.FLOAT16)
