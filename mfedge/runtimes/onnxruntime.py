"""onnxruntime on the CPU; a file of native operators gets the library that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.kernels import find as native
from mfedge.runtimes.base import Array, Metadata

NAME = "onnxruntime"
SUFFIX = ".onnx"
DOMAIN = b"mfedge"  # of the native operators, as mfedge/formats/onnx_native.py writes it


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingRuntimeError(f"onnxruntime: not installed ({error}); pip install onnxruntime") from None
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
            raise ArtifactError(f"{path}: onnxruntime cannot load it: {first_line(error)}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {[i.shape for i in inputs]}")
        self._input, self._output = inputs[0].name, outputs[0].name
        shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
        execution = f"{', '.join(self._session.get_providers())}, float32{', native kernels' if has_native else ''}"
        self.metadata = Metadata(NAME, version(), shape, "NCHW", threads, execution)

    def run(self, images: Array) -> Array:
        try:
            (logits,) = self._session.run([self._output], {self._input: np.ascontiguousarray(images)})
        except Exception as error:  # as above
            raise ArtifactError(f"onnxruntime cannot run {images.shape}: {first_line(error)}") from None
        return np.asarray(logits)

    def prepare(self, images: Array) -> Array:
        return np.ascontiguousarray(images)

    def invoke(self, prepared: Any) -> None:
        self._session.run([self._output], {self._input: prepared})


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
            f"native kernels: onnxruntime {version()} cannot load {library}: {first_line(error)}; reinstall mfedge"
        ) from None


def is_native(path: Path) -> bool:
    """Whether an ONNX file imports the operators of DOMAIN. Reads a few bytes: the graph is skipped, weights and all.

    The file is a ModelProto, a sequence of fields; field 8 is an opset_import, whose field 1 is the domain. A file that
    is none, or is not there, has no native operators: onnxruntime says what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                field, wire = divmod(_varint(file), 8)
                if wire == 0:
                    _varint(file)
                elif wire == 2 and field == 8:
                    if bytes((10, len(DOMAIN))) + DOMAIN in file.read(_varint(file)):
                        return True
                elif wire in (1, 2, 5):
                    file.seek({1: 8, 5: 4}.get(wire) or _varint(file), 1)
                else:
                    return False
    except (OSError, EOFError):
        pass
    return False


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


def first_line(error: Exception) -> str:
    """A library's message without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
