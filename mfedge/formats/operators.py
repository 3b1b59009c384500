"""What a model file is made of: its operators by type, read from the file itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from mfedge.errors import ArtifactError


def count_operators(path: Path) -> dict[str, int]:
    """Operators by type, most frequent first; constants, inputs and outputs are not operators.

    A custom operator counts under its own name.

    Raises:
        ArtifactError: the file is not a sound model of its format.
        MissingRuntimeError: an OpenVINO file of native operators, which its library has to be there to read.
    """
    counts = Counter({".onnx": _onnx, ".xml": _openvino, ".tflite": _tflite}[path.suffix](path))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _onnx(path: Path) -> list[str]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
    except (DecodeError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ArtifactError(f"{path}: not a sound ONNX model: {error}") from None
    return [node.op_type for node in model.graph.node]


def _openvino(path: Path) -> list[str]:
    from mfedge.runtimes.openvino import core_for

    core = core_for(path)
    try:
        model = core.read_model(path)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: not a sound OpenVINO model: {error}") from None
    inert = {"Constant", "Parameter", "Result"}
    return [node.get_type_name() for node in model.get_ordered_ops() if node.get_type_name() not in inert]


def _tflite(path: Path) -> list[str]:
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    if data[4:8] != b"TFL3":
        raise ArtifactError(f"{path}: not a TFLite model")
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.Model.GetRootAs(data, 0)
    codes = [model.OperatorCodes(i) for i in range(model.OperatorCodesLength())]
    graph = model.Subgraphs(0)
    used = [codes[graph.Operators(i).OpcodeIndex()] for i in range(graph.OperatorsLength())]
    return [
        code.CustomCode().decode("utf-8", "replace").rstrip(".0123456789")  # mfedge.Block.3: one type, numbered
        if code.CustomCode()
        else names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        for code in used
    ]
