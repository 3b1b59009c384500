"""OpenVINO on the CPU, held to float32; a file of native operators gets the library that has them."""

from __future__ import annotations

import os

os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.kernels import find as native
from mfedge.runtimes.base import Array, Metadata
from mfedge.runtimes.onnxruntime import first_line

NAME = "openvino"
SUFFIX = ".xml"
OPSET = "mfedge"  # of the native operators, as bindings/openvino.cpp names it
BUILT_FOR = re.compile(rb"mfedge built for OpenVINO ([0-9.]+)\0")  # in the library, by the same file


def _library() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingRuntimeError(f"openvino: not installed ({error}); pip install openvino") from None
    return openvino


def version() -> str:
    return str(_library().__version__).partition("-")[0]


def load(path: Path, threads: int = 1) -> OpenvinoSession:
    return OpenvinoSession(path, threads)


def is_native(path: Path) -> bool:
    """Whether an IR file has operators of OPSET. One that cannot be read has none: OpenVINO says what is wrong."""
    try:
        return f'version="{OPSET}"'.encode() in path.read_bytes()
    except OSError:
        return False


def extension() -> Path:
    """The library with the native operators, for `Core.add_extension`.

    Raises:
        MissingRuntimeError: it is not built, or for another OpenVINO: its C++ interface changes with every version.
    """
    library = native.path(NAME)
    built, found = _built_for(library), version()
    if built != found:
        raise MissingRuntimeError(
            f"native kernels: {library.name} is built for OpenVINO {built}, found {found}; reinstall mfedge"
        )
    return library


@cache
def _built_for(library: Path) -> str:
    try:
        found = BUILT_FOR.search(library.read_bytes())
    except OSError as error:
        raise MissingRuntimeError(f"native kernels: {library} cannot be read: {error.strerror}") from None
    return found[1].decode() if found else "of an unknown version"


def core_for(path: Path) -> Any:
    """A core that can read this file.

    Raises:
        MissingRuntimeError: OpenVINO, or the native operators that the file has, are not there.
    """
    core = _library().Core()
    if is_native(path):
        library = extension()
        try:
            core.add_extension(str(library))
        except RuntimeError as error:
            raise MissingRuntimeError(
                f"native kernels: OpenVINO {version()} cannot load {library}: {reason(error)}; reinstall mfedge"
            ) from None
    return core


def reason(error: Exception) -> str:
    """What a native operator has said, else the first line of OpenVINO's own message."""
    found = re.search(rf"{OPSET}\.\w+ '.*", str(error))
    return found[0] if found else first_line(error)


class OpenvinoSession:
    """One compiled model: latency hint, one stream, float32 asked for and read back."""

    def __init__(self, path: Path, threads: int) -> None:
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # its default is bfloat16 where the CPU has it
        }
        core = core_for(path)
        try:
            model = core.read_model(path)
            self._compiled = core.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise ArtifactError(f"{path}: OpenVINO cannot load it: {reason(error)}") from None
        if len(model.inputs) != 1 or model.inputs[0].partial_shape.rank.get_length() != 4:
            raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {model.inputs}")
        self._request = self._compiled.create_infer_request()
        sizes = model.inputs[0].partial_shape
        shape = tuple(size.get_length() if size.is_static else None for size in sizes)
        kernels = ", native kernels" if is_native(path) else ""
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.metadata = Metadata(NAME, version(), shape, "NCHW", threads, f"CPU, precision {precision}{kernels}")

    def run(self, images: Array) -> Array:
        try:  # not infer(): in OpenVINO 2026.4 that one returns old results where an operation fails, and says nothing
            self._request.start_async({0: np.ascontiguousarray(images)})
            self._request.wait()
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO cannot run {images.shape}: {reason(error)}") from None
        return np.array(self._request.get_output_tensor(0).data)

    def prepare(self, images: Array) -> Any:
        return _library().Tensor(np.ascontiguousarray(images))

    def invoke(self, prepared: Any) -> None:
        self._request.infer({0: prepared}, share_inputs=True, share_outputs=True)
