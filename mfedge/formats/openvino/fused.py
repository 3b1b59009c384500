"""Whole blocks as custom operations of the opset "mfedge": what the native kernels run inside OpenVINO.

    Stem(images, weights)                                  → features, attended
    Block(features, tokens, attended, weights, matrices)   → features, tokens, attended
    Head(features, tokens, attended, weights, matrices)    → logits

`attended` is what Mobile→Former of the node that takes it attended to, computed by the node that wrote the features.
The attributes are the sizes of `mfedge.kernels.layout.Config`; `weights` and `matrices` are flat constants, laid out as
mfedge_kernels.h says. Tokens keep their batch, (1, M, D). The operations are made by the library that runs them, so
what is written has passed its checks, and its shapes are in the file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from openvino.utils.node_factory import NodeFactory
from torch.export import ExportedProgram

from mfedge.formats.lowering import Rules
from mfedge.kernels.layout import Config  # and torch.ops.mfedge, registered
from mfedge.runtimes.openvino import OPSET, extension

if TYPE_CHECKING:
    from mfedge.formats.openvino.lower import OpenvinoLowering, Value

MATRICES = 4  # the input of Block and Head that may be half

mfedge = torch.ops.mfedge
RULES = Rules()


def is_native(program: ExportedProgram) -> bool:
    """Whether a trace has native operators."""
    return any(node.target in RULES for node in program.graph.nodes)


@RULES(mfedge.stem.default)
def stem(g: OpenvinoLowering, images: Value, weights: Value, config: list[int]) -> list[Value]:
    return custom(g, "Stem", [images, weights], config)


@RULES(mfedge.block.default)
def block(
    g: OpenvinoLowering, features: Value, tokens: Value, attended: Value, weights: Value, matrices: Value,
    config: list[int],
) -> list[Value]:  # fmt: skip
    return custom(g, "Block", [features, tokens, attended, weights, matrices], config)


@RULES(mfedge.head.default)
def head(
    g: OpenvinoLowering, features: Value, tokens: Value, attended: Value, weights: Value, matrices: Value,
    config: list[int],
) -> Value:  # fmt: skip
    return custom(g, "Head", [features, tokens, attended, weights, matrices], config)[0]


def custom(g: OpenvinoLowering, kind: str, inputs: list[Value], config: list[int]) -> list[Value]:
    """Append one custom operation; its outputs."""
    node = factory(extension()).create(kind, inputs, Config(*config)._asdict())
    node.set_friendly_name(g.name(kind))
    return list(node.outputs())


@cache
def factory(library: Path) -> Any:
    """What makes operations of a library; kept, as long as the process runs, for the library's code to stay."""
    made = NodeFactory()
    made.add_extension(str(library))
    return made


def store_half(model: ov.Model) -> None:
    """Store all matrices as float16, which the kernels read as they are; vectors stay float32."""
    halves: dict[str, Any] = {}  # by name: two operations may share theirs
    for node in model.get_ordered_ops():
        if node.get_type_info().version_id != OPSET or node.get_input_size() <= MATRICES:
            continue
        matrices = node.input_value(MATRICES).get_node()
        name = matrices.get_friendly_name()
        if name not in halves:
            halves[name] = ops.constant(matrices.data.astype(np.float16), name=name)
        node.input(MATRICES).replace_source_output(halves[name].output(0))
    model.validate_nodes_and_infer_types()
