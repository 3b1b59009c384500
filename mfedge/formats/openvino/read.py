"""Operators and tensors of an OpenVINO IR, reshaped to one size."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from mfedge.errors import ArtifactError
from mfedge.formats import fused_graph as graph_native
from mfedge.formats.graph import Graph, Node, Tensor, check_input
from mfedge.sizes import Size

INERT = {"Constant", "Parameter", "Result"}


def graph(path: Path, size: Size) -> Graph:
    """Raises RuntimeError if OpenVINO cannot read or reshape it; MissingRuntimeError without its native operators."""
    from mfedge.runtimes.openvino import core_for

    model = core_for(path).read_model(str(path))
    if len(model.inputs) != 1:
        raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {len(model.inputs)} inputs")
    taken = model.inputs[0].partial_shape
    if taken.rank.is_static:
        check_input(path, [None if dim.is_dynamic else dim.get_length() for dim in taken], size)
    model.reshape([1, 3, size.height, size.width])
    tensors: dict[str, Tensor] = {}
    nodes, inputs, outputs = [], [], []
    for op in model.get_ordered_ops():
        kind, name = op.get_type_name(), op.get_friendly_name()
        made = []
        for i in range(op.get_output_size()):
            key = f"{name}:{i}"
            tensors[key] = _tensor(op.output(i), kind == "Constant")
            made.append(key)
        read = [_source(value) for value in op.input_values()]
        if kind == "Parameter":
            inputs += made
        elif kind == "Result":
            outputs += read
        elif kind != "Constant":
            nodes.append(Node(name, kind, tuple(read), tuple(made), _madds(op, kind)))
    return Graph(tuple(nodes), tensors, tuple(inputs), tuple(outputs))


def operators(path: Path) -> list[str]:
    """The type of every operation but constants, parameters and results.

    Raises:
        ArtifactError: OpenVINO cannot read the file.
        MissingRuntimeError: without the library of its native operators.
    """
    from mfedge.runtimes.openvino import core_for

    core = core_for(path)
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: not a sound OpenVINO model: {error}") from None
    return [node.get_type_name() for node in model.get_ordered_ops() if node.get_type_name() not in INERT]


def _source(value: Any) -> str:
    return f"{value.get_node().get_friendly_name()}:{value.get_index()}"


def _tensor(output: Any, constant: bool) -> Tensor:
    partial, element = output.get_partial_shape(), output.get_element_type()
    shape = tuple(dim.get_length() for dim in partial) if partial.is_static else None
    real = element.is_real() or element.get_type_name() in ("i8", "u8")
    return Tensor(shape, max(1, element.get_size()), constant, real)


def _madds(op: Any, kind: str) -> int:
    """Output elements × what each is summed over."""
    native = graph_native.kind_of(kind)
    if native:
        features = op.input(0).get_partial_shape()
        shape = tuple(dim.get_length() for dim in features) if features.is_static else None
        return graph_native.madds(native, op.get_attributes(), shape)
    if kind not in ("Convolution", "GroupConvolution", "MatMul"):
        return 0
    if op.output(0).get_partial_shape().is_dynamic or op.input(1).get_partial_shape().is_dynamic:
        return 0
    out = prod(op.output(0).get_shape())
    if kind == "MatMul":
        first = list(op.input(0).get_shape())
        return int(out * first[-2 if op.get_attributes().get("transpose_a") else -1])
    weight = list(op.input(1).get_shape())
    return int(out * prod(weight[1:] if kind == "Convolution" else weight[2:]))
