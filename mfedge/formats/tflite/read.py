"""Operators and tensors of a TFLite file, resized to one size by the interpreter itself, no delegate but, where it has
native operators, the one that knows them."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.formats import fused_graph as graph_native
from mfedge.formats.graph import Graph, Node, Tensor, check_input
from mfedge.runtimes.litert import CUSTOM, delegate
from mfedge.runtimes.table import label
from mfedge.sizes import Size
from mfedge.workers import foreign


def graph(path: Path, size: Size) -> Graph:
    """Raises MissingRuntimeError without ai-edge-litert, or the native kernels of a file of theirs; ArtifactError for
    what it cannot load."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401 - whether it is there
    except ImportError:
        raise MissingRuntimeError(f"{path}: reading it needs ai-edge-litert, which is not installed") from None
    with foreign.opening(label("litert"), path):
        return _graph(path, size)


def _graph(path: Path, size: Size) -> Graph:
    import ai_edge_litert.interpreter as library
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = path.read_bytes()
    native = CUSTOM.encode() in content
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_delegates=[delegate(library, "litert")] if native else [],
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    inputs = interpreter.get_input_details()
    if len(inputs) != 1:
        raise ArtifactError(f"{path}: expected one input (1, H, W, 3), found {len(inputs)} inputs")
    image = inputs[0]
    signature = [None if side < 0 else int(side) for side in image["shape_signature"]]
    channels_last = signature[-1:] == [3]
    check_input(
        path, [signature[i] for i in (0, 3, 1, 2)] if channels_last and len(signature) == 4 else signature, size
    )
    shape = (1, size.height, size.width, 3) if channels_last else (1, 3, size.height, size.width)
    interpreter.resize_tensor_input(image["index"], shape, strict=False)
    interpreter.allocate_tensors()
    operators = [op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    made = {int(i) for op in operators for i in op["outputs"]} | {int(image["index"])}
    tensors = {}
    for detail in interpreter.get_tensor_details():
        kind = np.dtype(detail["dtype"])
        real = kind.kind == "f" or kind.itemsize == 1
        tensors[str(detail["index"])] = Tensor(
            tuple(int(n) for n in detail["shape"]), kind.itemsize, int(detail["index"]) not in made, real
        )
    names = {str(detail["index"]): detail["name"] for detail in interpreter.get_tensor_details()}
    configs = graph_native.of_file(content) if native else {}
    nodes = [_node(op, tensors, names, configs) for op in operators]
    outputs = tuple(str(detail["index"]) for detail in interpreter.get_output_details())
    used = {name for node in nodes for name in (*node.inputs, *node.outputs)} | {str(image["index"]), *outputs}
    kept = {name: tensor for name, tensor in tensors.items() if name in used}
    return Graph(tuple(nodes), kept, (str(image["index"]),), outputs)


def operators(path: Path) -> list[str]:
    """The type of every operator, custom ones by their own name.

    Raises:
        ArtifactError: not a TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ArtifactError(f"{path}: not a TFLite model")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(data, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    subgraph = model.Subgraphs(0)
    used = [codes[subgraph.Operators(i).OpcodeIndex()] for i in range(subgraph.OperatorsLength())]
    return [
        code.CustomCode().decode("utf-8", "replace").rstrip(".0123456789")  # mfedge.Block.3: one type, numbered
        if code.CustomCode()
        else names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        for code in used
    ]


def _node(
    op: dict[str, Any], tensors: dict[str, Tensor], names: dict[str, str], configs: dict[int, dict[str, int]]
) -> Node:
    """Named after its first output, as TFLite's operators have no names."""
    inputs = tuple(str(i) for i in op["inputs"] if int(i) >= 0)
    outputs = tuple(str(i) for i in op["outputs"])
    out = tensors[outputs[0]].elements
    madds = 0
    if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        weight = tensors[inputs[1]].shape or ()
        madds = out * prod(weight[1:3] if op["op_name"] == "DEPTHWISE_CONV_2D" else weight[1:])
    elif op["op_name"] == "BATCH_MATMUL":
        first, result = (tensors[name].shape or (1, 1) for name in (inputs[0], outputs[0]))
        madds = out * (first[-1] if first[-2] == result[-2] else first[-2])
    native = graph_native.kind_of(op["op_name"])
    if native and (config := configs.get(int(op["outputs"][0]))):
        madds = graph_native.madds(native, config, tensors[inputs[0]].shape)
    return Node(names.get(outputs[0], outputs[0]), native or op["op_name"], inputs, outputs, madds)
