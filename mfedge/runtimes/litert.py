"""LiteRT (ai-edge-litert) on the CPU with XNNPACK; its session also serves the older tflite-runtime.

Files with native operators run in the same interpreter, which hands those to mfedge's delegate.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from mfedge import kernels
from mfedge.arrays import Array
from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.kernels import find as native
from mfedge.runtimes.base import Metadata, check_dtype, check_images, dominant
from mfedge.runtimes.table import missing
from mfedge.workers import foreign

NAME = "litert"
CUSTOM = "mfedge."  # how the names of native operators begin, as no other text in a file does


def _library() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as error:
        raise missing(NAME, error) from None
    return interpreter


def version() -> str:
    import importlib.metadata

    _library()
    return importlib.metadata.version("ai-edge-litert")


def load(path: Path, threads: int = 1) -> TfliteSession:
    return TfliteSession(_library(), path, threads, NAME, version())


def is_native(path: Path) -> bool:
    """Whether a TFLite file has operators of mfedge's. False for a file that cannot be read; loading it says why."""
    try:
        return CUSTOM.encode() in path.read_bytes()
    except OSError:
        return False


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
            raise ArtifactError(f"{path}: {name} cannot load it: {foreign.reason(error)}") from None
        stored = _stored(self._interpreter)
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise ArtifactError(f"{path}: expected one input (1, H, W, 3), found {[i['shape'] for i in inputs]}")
        check_dtype(path, np.dtype(inputs[0]["dtype"]).name)
        self._input = inputs[0]["index"]
        self._outputs = _outputs(self._interpreter, outputs)
        self._shape = tuple(int(size) for size in inputs[0]["shape"])
        took, whole, ours = self._delegated({int(output["index"]) for output in outputs})
        self.metadata = Metadata(
            runtime=name,
            version=library_version,
            input_shape=tuple(None if size < 0 else int(size) for size in inputs[0]["shape_signature"]),
            layout="NHWC",
            outputs=tuple(self._outputs),
            threads=threads,
            provider="XNNPACK" if took else "CPU without a delegate",
            # XNNPACK computes in float32 what is float32; what it makes of a quantised graph, it does not tell.
            compute="float32" if stored in ("float32", "float16") else None,
            stored=stored,
            kernels="native" if ours else "portable",
            isa=kernels.isa() if ours else None,
            partitions=took,
            whole=whole,
        )

    def _delegated(self, outputs: set[int]) -> tuple[int, bool, int]:
        """From the interpreter's plan: parts that XNNPACK took, whether they are all, and native operators."""
        operators = self._interpreter._get_ops_details()
        ours = {int(operator["outputs"][0]) for operator in operators if operator["op_name"].startswith(CUSTOM)}
        parts = [
            operator
            for operator in operators
            if operator["op_name"] == "DELEGATE" and int(operator["outputs"][0]) not in ours
        ]
        one = parts[0] if len(parts) == 1 and not ours else None
        whole = one is not None and self._input in one["inputs"] and outputs <= {int(i) for i in one["outputs"]}
        return len(parts), whole, len(ours)

    def run(self, images: Array) -> dict[str, Array]:
        self.invoke(self.prepare(images))
        return {name: np.array(self._interpreter.get_tensor(index)) for name, index in self._outputs.items()}

    def prepare(self, images: Array) -> Array:
        check_images(self.metadata, images.shape)
        prepared = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if prepared.shape != self._shape:
            self._resize(prepared.shape)
        return prepared

    def invoke(self, prepared: Any) -> None:
        self._interpreter.set_tensor(self._input, prepared)
        self._interpreter.invoke()

    def _resize(self, shape: tuple[int, ...]) -> None:
        try:
            self._interpreter.resize_tensor_input(self._input, list(shape), strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ArtifactError(f"{self.metadata.runtime} cannot run {shape}: {foreign.reason(error)}") from None
        self._shape = shape


def delegate(library: Any, name: str) -> Any:
    """mfedge's own, which runs the native operators; one per interpreter.

    Raises:
        MissingRuntimeError: it is not built, or this runtime does not take it.
    """
    file = native.path("litert")
    try:
        ctypes.CDLL(str(file))  # first: load_delegate leaves a traceback where this fails
        return library.load_delegate(str(file))
    except (ValueError, OSError, AttributeError) as error:
        raise MissingRuntimeError(
            f"{name}: does not take the native kernels of {file}: {foreign.reason(error)}",
            about="kernels",
        ) from None


def _outputs(interpreter: Any, details: list[dict[str, Any]]) -> dict[str, int]:
    """Name → tensor index, by the file's signature; of a file without one, by its tensors' names."""
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        named = {name: int(detail["index"]) for name, detail in runner.get_output_details().items()}
        order = [int(detail["index"]) for detail in details]
        if sorted(named.values()) == sorted(order):
            return dict(sorted(named.items(), key=lambda item: order.index(item[1])))
    return {str(detail["name"]): int(detail["index"]) for detail in details}


def _stored(interpreter: Any) -> str | None:
    """The type that most weights have: of tensors that no operator writes."""
    written = {int(i) for operator in interpreter._get_ops_details() for i in operator["outputs"]}
    elements: dict[str, int] = {}
    for detail in interpreter.get_tensor_details():
        if int(detail["index"]) not in written:
            name = np.dtype(detail["dtype"]).name
            elements[name] = elements.get(name, 0) + int(np.prod(detail["shape"]))
    return dominant(elements)
