"""LiteRT (ai-edge-litert) on the CPU with XNNPACK; its session also serves the older tflite-runtime.

Files with native operators run in the same interpreter, which hands those to mfedge's delegate.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.kernels import find as native
from mfedge.runtimes.base import Array, Metadata

NAME = "litert"
SUFFIX = ".tflite"
CUSTOM = "mfedge."  # how the names of native operators begin, as no other text in a file does


def _library() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise MissingRuntimeError(f"litert: not installed ({error}); pip install ai-edge-litert") from None
    return interpreter


def version() -> str:
    import importlib.metadata

    _library()
    return importlib.metadata.version("ai-edge-litert")


def load(path: Path, threads: int = 1) -> TfliteSession:
    return TfliteSession(_library(), path, threads, NAME, version())


class TfliteSession:
    """One interpreter, resized when the input's size changes and the file allows it."""

    def __init__(self, library: Any, path: Path, threads: int, name: str, library_version: str) -> None:
        # From memory: the path variant also maps files of any kind, and says less about bad ones.
        content = path.read_bytes()
        delegates = [delegate(library, name)] if CUSTOM.encode() in content else []
        try:
            self._interpreter = library.Interpreter(
                model_content=content, num_threads=threads, experimental_delegates=delegates
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"{path}: {name} cannot load it: {_first_line(error)}") from None
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise ArtifactError(f"{path}: expected one input (1, H, W, 3), found {[i['shape'] for i in inputs]}")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._shape = tuple(int(size) for size in inputs[0]["shape"])
        signature = tuple(None if size < 0 else int(size) for size in inputs[0]["shape_signature"])
        self.metadata = Metadata(name, library_version, signature, "NHWC", threads, self._execution())

    def _execution(self) -> str:
        """Which operators the native kernels and XNNPACK took, from the interpreter's plan."""
        operators = self._interpreter._get_ops_details()
        ours = {int(operator["outputs"][0]) for operator in operators if operator["op_name"].startswith(CUSTOM)}
        delegates = [
            operator
            for operator in operators
            if operator["op_name"] == "DELEGATE" and int(operator["outputs"][0]) not in ours
        ]
        if ours:
            return f"native kernels, float32, {len(ours)} operators; XNNPACK, {len(delegates)} of the rest"
        if not delegates:
            return "CPU, float32, no delegate"
        whole = len(delegates) == 1 and self._output in delegates[0]["outputs"]
        return f"XNNPACK, float32, {len(delegates)} partition{'s' * (len(delegates) > 1)}" + (
            ", the whole graph" if whole and self._input in delegates[0]["inputs"] else ""
        )

    def run(self, images: Array) -> Array:
        self.invoke(self.prepare(images))
        return np.array(self._interpreter.get_tensor(self._output))

    def prepare(self, images: Array) -> Array:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ArtifactError(f"{self.metadata.runtime}: expected images (1, 3, H, W), found {images.shape}")
        prepared = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if prepared.shape != self._shape:
            self._resize(prepared.shape)
        return prepared

    def invoke(self, prepared: Any) -> None:
        self._interpreter.set_tensor(self._input, prepared)
        self._interpreter.invoke()

    def _resize(self, shape: tuple[int, ...]) -> None:
        allowed = self.metadata.input_shape
        if any(size not in (wanted, None) for wanted, size in zip(shape, allowed, strict=True)):
            raise ArtifactError(f"{self.metadata.runtime} cannot run {shape}: the file takes {allowed} (NHWC)")
        try:
            self._interpreter.resize_tensor_input(self._input, list(shape), strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"{self.metadata.runtime} cannot run {shape}: {_first_line(error)}") from None
        self._shape = shape


def delegate(library: Any, name: str) -> Any:
    """mfedge's own, which runs the native operators; one an interpreter.

    Raises:
        MissingRuntimeError: it is not built, or this runtime does not take it.
    """
    file = native.path("litert")
    try:
        ctypes.CDLL(str(file))  # first: load_delegate leaves a traceback behind where this fails
        return library.load_delegate(str(file))
    except (ValueError, OSError, AttributeError) as error:
        raise MissingRuntimeError(
            f"{name}: does not take the native kernels of {file}: {_first_line(error)}; use --kernels portable"
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
