"""A TFLite model being built: tensors, constants, operators, and the flatbuffer they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from msgspec import Struct

from mfedge.precisions import PRECISIONS, Precision

SCHEMA_VERSION = 3
ALIGNMENT = 16  # bytes, of every buffer: the schema's force_align, which the generated packers leave out
RAW_ALIGNMENT = 64  # of what a custom operator reads: LiteRT hands kernels no tensor that lies on less
Shape = tuple[int, ...]


class Tensor(Struct, frozen=True):
    """A tensor of the graph: its index and its shape as it is stored (of the example, where a size is dynamic)."""

    index: int
    shape: Shape


class AlignedBuffer:
    """Packs like the schema's own BufferT, its data at a multiple of 16 bytes or more."""

    def __init__(self, data: bytes = b"", alignment: int = ALIGNMENT) -> None:
        self.data = data
        self.alignment = alignment

    def Pack(self, builder: flatbuffers.Builder) -> int:  # the name that ModelT calls
        if self.data:
            builder.StartVector(1, len(self.data), self.alignment)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if self.data:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


class Writer:
    """Collects a single subgraph; constants with the same bytes are written once."""

    def __init__(self, precision: Precision = PRECISIONS["fp32"]) -> None:
        self.half = precision.stored == "float16"
        self.min_elements = precision.min_elements
        self.tensors: list[Any] = []
        self.buffers = [AlignedBuffer()]  # buffer 0 is empty by convention
        self.operators: list[Any] = []
        self.codes: dict[tuple[int, int, str], int] = {}  # builtin operator, version, custom code → index
        self.constants: dict[tuple[str, Shape, bytes], Tensor] = {}

    def tensor(self, name: str, shape: Shape, signature: Sequence[int] | None = None) -> Tensor:
        """A float32 activation; `signature` has -1 for the sizes that change."""
        return self._tensor(name, shape, schema.TensorType.FLOAT32, 0, signature)

    def constant(self, name: str, value: np.ndarray[Any, Any]) -> Tensor:
        """A float32 or int32 constant; large float32 ones are stored as half if the writer was told so."""
        value = np.ascontiguousarray(value)
        key = (str(value.dtype), value.shape, value.tobytes())
        if key in self.constants:
            return self.constants[key]
        if self.half and value.dtype == np.float32 and value.size >= self.min_elements:
            half = self._stored(f"{name}/half", value.astype(np.float16), schema.TensorType.FLOAT16)
            found = self.op("DEQUANTIZE", [half], value.shape, name, version=3)
        else:
            kinds = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32}
            found = self._stored(name, value, kinds[str(value.dtype)])
        self.constants[key] = found
        return found

    def raw(self, name: str, value: np.ndarray[Any, Any]) -> Tensor:
        """A float32 or float16 constant stored as it is, for a custom operator."""
        kind = schema.TensorType.FLOAT16 if value.dtype == np.float16 else schema.TensorType.FLOAT32
        return self._stored(name, np.ascontiguousarray(value), kind, RAW_ALIGNMENT)

    def op(
        self,
        kind: str,
        inputs: Sequence[Tensor],
        shape: Shape,
        name: str,
        options: tuple[str, dict[str, Any]] | None = None,
        version: int = 1,
        outputs: int = 1,
    ) -> Tensor:
        """Append an operator; its first output. Further outputs have the next indices and the same shape."""
        found = [self.tensor(f"{name}:{i}" if outputs > 1 else name, shape) for i in range(outputs)]
        operator = self._operator((getattr(schema.BuiltinOperator, kind), version, ""), inputs, found)
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
            operator.builtinOptions = getattr(schema, f"{options[0]}T")()
            for field, value in options[1].items():
                assert hasattr(operator.builtinOptions, field), (options[0], field)
                setattr(operator.builtinOptions, field, value)
        return found[0]

    def custom(
        self, code: str, inputs: Sequence[Tensor], shapes: Sequence[Shape], name: str, options: bytes
    ) -> list[Tensor]:
        """Append a custom operator with an output of each shape."""
        found = [self.tensor(f"{name}:{i}" if len(shapes) > 1 else name, shape) for i, shape in enumerate(shapes)]
        operator = self._operator((schema.BuiltinOperator.CUSTOM, 1, code), inputs, found)
        operator.customOptions = np.frombuffer(options, np.uint8)
        return found

    def finish(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> bytes:
        """The file's bytes, with one signature of these names."""
        graph = schema.SubGraphT()
        graph.name = b"network"
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs = [tensor.index for tensor in inputs.values()]
        graph.outputs = [tensor.index for tensor in outputs.values()]

        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [_named(*entry) for entry in inputs.items()]
        signature.outputs = [_named(*entry) for entry in outputs.items()]

        model = schema.ModelT()
        model.version, model.description = SCHEMA_VERSION, b"mfedge"
        model.subgraphs, model.buffers, model.signatureDefs = [graph], self.buffers, [signature]
        model.operatorCodes = [_code(*key) for key in self.codes]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _operator(self, code: tuple[int, int, str], inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Any:
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault(code, len(self.codes))
        operator.inputs = [tensor.index for tensor in inputs]
        operator.outputs = [tensor.index for tensor in outputs]
        self.operators.append(operator)
        return operator

    def _stored(self, name: str, value: np.ndarray[Any, Any], kind: int, alignment: int = ALIGNMENT) -> Tensor:
        self.buffers.append(AlignedBuffer(value.tobytes(), alignment))
        return self._tensor(name, value.shape, kind, len(self.buffers) - 1)

    def _tensor(
        self, name: str, shape: Shape, kind: int, buffer: int, signature: Sequence[int] | None = None
    ) -> Tensor:
        tensor = schema.TensorT()
        tensor.name = f"{name}#{len(self.tensors)}".encode()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, buffer
        if signature is not None:
            tensor.shapeSignature = list(signature)
        self.tensors.append(tensor)
        return Tensor(len(self.tensors) - 1, tuple(shape))


def _named(name: str, tensor: Tensor) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor.index
    return entry


def _code(kind: int, version: int, custom: str) -> Any:
    code = schema.OperatorCodeT()
    if custom:
        code.customCode = custom.encode()
    # Readers before the 8-bit code ran out look at the deprecated field; 127 sends them to the new one.
    code.deprecatedBuiltinCode, code.builtinCode, code.version = min(kind, 127), kind, version
    return code
