"""onnxruntime on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.runtimes.base import Array, Metadata

NAME = "onnxruntime"
SUFFIX = ".onnx"


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
        try:
            self._session = library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own C++ module, with no common base but this
            raise ArtifactError(f"{path}: onnxruntime cannot load it: {first_line(error)}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {[i.shape for i in inputs]}")
        self._input, self._output = inputs[0].name, outputs[0].name
        shape = tuple(size if isinstance(size, int) else None for size in inputs[0].shape)
        execution = f"{', '.join(self._session.get_providers())}, float32"
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


def first_line(error: Exception) -> str:
    """A library's message without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
