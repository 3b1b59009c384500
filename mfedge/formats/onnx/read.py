"""Operators and tensors of an ONNX file, shapes by ONNX's own inference."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from mfedge.errors import ArtifactError
from mfedge.formats import fused_graph as graph_native
from mfedge.formats.graph import Graph, Node, Tensor, check_input
from mfedge.sizes import Size

CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1}  # where the weight is
PRODUCTS = {"MatMul": (0, 1), "MatMulInteger": (0, 1), "QLinearMatMul": (0, 3)}


def graph(path: Path, size: Size) -> Graph:
    """Raises ArtifactError or UsageError if the file does not take one image of this size."""
    import onnx

    model = onnx.load(str(path))
    weights = {initializer.name for initializer in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {len(inputs)} inputs")
    dims = inputs[0].type.tensor_type.shape.dim
    check_input(path, [dim.dim_value or None for dim in dims], size)
    for dim, value in zip(dims, (1, 3, size.height, size.width), strict=True):
        dim.dim_value = value
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    tensors = {i.name: _tensor(i.data_type, tuple(i.dims), True) for i in inferred.initializer}
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.name not in tensors:
            tensors[value.name] = _value(value)
    nodes = []
    for index, node in enumerate(inferred.node):
        for name in (*node.input, *node.output):
            if name and name not in tensors:
                tensors[name] = Tensor(None, 4, node.op_type == "Constant", True)
        native = graph_native.kind_of(node.op_type) if node.domain == "mfedge" else None
        madds = _native(native, node, tensors) if native else _madds(node, tensors)
        nodes.append(
            Node(
                node.name or f"{node.op_type}_{index}",
                node.op_type,
                tuple(filter(None, node.input)),
                tuple(filter(None, node.output)),
                madds,
            )
        )
    return Graph(tuple(nodes), tensors, (inputs[0].name,), tuple(value.name for value in inferred.output))


def operators(path: Path) -> list[str]:
    """The type of every node, of a file that ONNX's own checker accepts.

    Raises:
        ArtifactError: it does not.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError(f"{path}: not a sound ONNX model: {error}") from None
    return [node.op_type for node in model.graph.node]


def _native(kind: str, node: Any, tensors: dict[str, Tensor]) -> int:
    """Multiply-adds; ONNX's inference knows nothing of the outputs, so they are sized here."""
    config = {attribute.name: attribute.i for attribute in node.attribute}
    features = tensors[node.input[0]].shape
    if features is not None:
        for name, shape in zip(node.output, graph_native.shapes(kind, config, features), strict=True):
            tensors[name] = Tensor(shape, 4, False, True)
    return graph_native.madds(kind, config, features)


def _tensor(data_type: int, shape: tuple[int, ...] | None, constant: bool) -> Tensor:
    import onnx
    from onnx import TensorProto

    try:
        itemsize = onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except (KeyError, ValueError):
        itemsize = 4
    weights = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    real = data_type in (*weights, TensorProto.INT8, TensorProto.UINT8)
    return Tensor(shape, itemsize, constant, real)


def _value(value: Any) -> Tensor:
    kind = value.type.tensor_type
    known = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
    return _tensor(kind.elem_type, tuple(dim.dim_value for dim in kind.shape.dim) if known else None, False)


def _madds(node: Any, tensors: dict[str, Tensor]) -> int:
    """Output elements × what each is summed over."""
    out = tensors[node.output[0]].elements
    if node.op_type in CONVOLUTIONS:
        weight = tensors[node.input[CONVOLUTIONS[node.op_type]]].shape
        return out * prod(weight[1:]) if weight else 0
    if node.op_type == "Gemm":
        first = tensors[node.input[0]].shape
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return out * (first[0] if transposed else first[1]) if first else 0
    if node.op_type in PRODUCTS:
        first = tensors[node.input[PRODUCTS[node.op_type][0]]].shape
        return out * first[-1] if first else 0
    return 0
