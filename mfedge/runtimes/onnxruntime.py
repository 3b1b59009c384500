"""onnxruntime on the CPU; a file of native operators gets the library that has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mfedge import kernels
from mfedge.arrays import Array
from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.kernels import find as native
from mfedge.runtimes.base import Metadata, check_dtype, check_images, dominant
from mfedge.runtimes.table import missing
from mfedge.workers import foreign

NAME = "onnxruntime"
DOMAIN = b"mfedge"  # of the native operators
MOST_FIELDS = 1_000_000  # of one message; a graph has one per operator and weight
COMPUTE = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
TYPES = {1: "float32", 2: "uint8", 3: "int8", 10: "float16", 11: "float64"}  # of TensorProto.DataType


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing(NAME, error) from None
    onnxruntime.set_default_logger_severity(3)  # errors only: they arrive as exceptions too
    return onnxruntime


def version() -> str:
    return str(_library().__version__)


def load(path: Path, threads: int = 1) -> OnnxruntimeSession:
    return OnnxruntimeSession(path, threads)


class OnnxruntimeSession:
    """One InferenceSession: sequential execution, no spinning."""

    def __init__(self, path: Path, threads: int) -> None:
        library = _library()
        options = library.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        has_native = is_native(path)
        if has_native:
            register(options)
        try:
            self._session = library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own C++ module, with no common base but this
            raise ArtifactError(f"{path}: onnxruntime cannot load it: {foreign.reason(error)}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {[i.shape for i in inputs]}")
        check_dtype(path, COMPUTE.get(inputs[0].type) or inputs[0].type.removeprefix("tensor(").removesuffix(")"))
        self._input, self._outputs = inputs[0].name, [output.name for output in outputs]
        stored = stored_as(path)
        self.metadata = Metadata(
            runtime=NAME,
            version=version(),
            input_shape=tuple(size if isinstance(size, int) else None for size in inputs[0].shape),
            layout="NCHW",
            outputs=tuple(self._outputs),
            threads=threads,
            provider=", ".join(self._session.get_providers()),
            # Its kernels compute in the type of their inputs, and cast a weight stored as half once, as they load it.
            # What they make of quantised weights, they do not tell.
            compute=None if stored in ("int8", "uint8") else COMPUTE.get(inputs[0].type),
            stored=stored,
            kernels="native" if has_native else "portable",
            isa=kernels.isa() if has_native else None,
        )

    def run(self, images: Array) -> dict[str, Array]:
        check_images(self.metadata, images.shape)
        try:
            values = self._session.run(self._outputs, {self._input: np.ascontiguousarray(images)})
        except Exception as error:  # as above
            raise ArtifactError(f"onnxruntime cannot run {images.shape}: {foreign.reason(error)}") from None
        return {name: np.asarray(value) for name, value in zip(self._outputs, values, strict=True)}

    def prepare(self, images: Array) -> Array:
        check_images(self.metadata, images.shape)
        return np.ascontiguousarray(images)

    def invoke(self, prepared: Any) -> None:
        self._session.run(self._outputs, {self._input: prepared})


def register(options: Any) -> None:
    """Let sessions of these options run the native operators.

    Raises:
        MissingRuntimeError: they are not built, or this onnxruntime cannot load them.
    """
    library = native.path(NAME)
    try:
        options.register_custom_ops_library(str(library))
    except Exception as error:  # as in OnnxruntimeSession
        raise MissingRuntimeError(
            f"native kernels: onnxruntime {version()} cannot load {library}: {foreign.reason(error)}; reinstall mfedge"
        ) from None


def is_native(path: Path) -> bool:
    """Whether an ONNX file imports the operators of DOMAIN.

    Few bytes are read: the graph is skipped, weights and all. Field 8 of a ModelProto is an opset_import, whose field 1
    is the domain. A file that cannot be read has no native operators; loading it will report the error.
    """
    try:
        with path.open("rb") as file:
            return any(
                field == 8 and bytes((10, len(DOMAIN))) + DOMAIN in file.read(length)
                for field, length in _fields(file, path.stat().st_size)
            )
    except (OSError, EOFError):
        return False


def stored_as(path: Path) -> str | None:
    """numpy's name of the type that most weights of an ONNX file have; None if it cannot be read.

    Field 7 of a ModelProto is the graph, whose field 5 is an initializer, a TensorProto: field 2 is the type of its
    elements, field 9 their bytes. The bytes themselves are skipped.
    """
    elements: dict[str, int] = {}
    try:
        with path.open("rb") as file:
            for field, length in _fields(file, path.stat().st_size):
                if field != 7:
                    continue
                for inner, size in _fields(file, file.tell() + length):
                    if inner != 5:
                        continue
                    kind, count = _initializer(file, file.tell() + size)
                    if kind in TYPES:
                        name = TYPES[kind]
                        elements[name] = elements.get(name, 0) + count // np.dtype(name).itemsize
    except (OSError, EOFError):
        return None
    return dominant(elements)


def _initializer(file: BinaryIO, end: int) -> tuple[int, int]:
    """A TensorProto's type, and how many bytes its elements have."""
    kind = count = 0
    for field, length in _fields(file, end):
        if field == 2:
            kind = length
        elif field in (4, 9):  # floats one by one, or raw bytes
            count = length
    return kind, count


def _fields(file: BinaryIO, end: int) -> Iterator[tuple[int, int]]:
    """(number, length of the payload that follows) of every field of a message that ends at `end`.

    A varint field has no payload: its value stands in the length's place. What the caller does not read is skipped.
    """
    for _ in range(MOST_FIELDS):
        if file.tell() >= end:
            return
        number, wire = divmod(_varint(file), 8)
        if wire == 0:
            yield number, _varint(file)
            continue
        if wire not in (1, 2, 5) or not number:
            raise EOFError  # no protobuf
        length = {1: 8, 5: 4}.get(wire) or _varint(file)
        after = file.tell() + length
        yield number, length
        file.seek(after)
    raise EOFError


def _varint(file: BinaryIO) -> int:
    """Seven bits a byte, the lowest first, until one without the top bit."""
    value = 0
    for shift in range(0, 64, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise EOFError  # longer than any protobuf writes
