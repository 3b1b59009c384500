"""OpenVINO on the CPU, held to float32; a file of native operators gets the library that has them."""

from __future__ import annotations

import re
from functools import cache
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

NAME = "openvino"
TYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64", "i8": "int8", "u8": "uint8"}
OPSET = "mfedge"  # of the native operators, as bindings/openvino.cpp names it
BUILT_FOR = re.compile(rb"mfedge built for OpenVINO ([0-9.]+)\0")  # in the library, by the same file
# Operators that a dynamic model keeps compiled for the sizes it has seen. OpenVINO's own 5000 are 6 MB per size of
# Mobile-Former-26M, and never less: a camera of any resolution would fill the memory.
CACHE_CAPACITY = 100


def _library() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise missing(NAME, error) from None
    return openvino


def version() -> str:
    return str(_library().__version__).partition("-")[0]


def load(path: Path, threads: int = 1) -> OpenvinoSession:
    return OpenvinoSession(path, threads)


def is_native(path: Path) -> bool:
    """Whether an IR file has operators of OPSET. False for a file that cannot be read; loading it reports the error."""
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
    return _core_with(extension()) if is_native(path) else _library().Core()


@cache
def _core_with(library: Path) -> Any:
    """A core with native operators. It lives as long as the process: without it, OpenVINO unloads their code, and a
    model that has them would crash when it is freed."""
    core = _library().Core()
    try:
        core.add_extension(str(library))
    except RuntimeError as error:
        raise MissingRuntimeError(
            f"native kernels: OpenVINO {version()} cannot load {library}: {said(error)}; reinstall mfedge"
        ) from None
    return core


def said(error: Exception) -> str:
    """What a native operator has said, else the first line of OpenVINO's own message."""
    found = re.search(rf"{OPSET}\.\w+ '.*", str(error))
    return found[0] if found else foreign.reason(error)


class OpenvinoSession:
    """One compiled model: latency hint, one stream, float32 asked for and read back."""

    def __init__(self, path: Path, threads: int) -> None:
        config: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # its default is bfloat16 where the CPU has it
        }
        core = core_for(path)
        try:
            model = core.read_model(path)
            if model.is_dynamic():
                config["CPU_RUNTIME_CACHE_CAPACITY"] = CACHE_CAPACITY
            self._compiled = core.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise ArtifactError(f"{path}: OpenVINO cannot load it: {said(error)}") from None
        if len(model.inputs) != 1 or model.inputs[0].partial_shape.rank.get_length() != 4:
            raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {model.inputs}")
        element = model.inputs[0].get_element_type().get_type_name()
        check_dtype(path, TYPES.get(element, element))
        self._request = self._compiled.create_infer_request()
        sizes = model.inputs[0].partial_shape
        shape = tuple(size.get_length() if size.is_static else None for size in sizes)
        has_native = is_native(path)
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self._names = [_name(output, i) for i, output in enumerate(self._compiled.outputs)]
        self.metadata = Metadata(
            runtime=NAME,
            version=version(),
            input_shape=shape,
            layout="NCHW",
            outputs=tuple(self._names),
            threads=threads,
            provider="CPU",
            compute=TYPES.get(precision, precision),
            stored=_stored(model),
            kernels="native" if has_native else "portable",
            isa=kernels.isa() if has_native else None,
        )

    def run(self, images: Array) -> dict[str, Array]:
        check_images(self.metadata, images.shape)
        try:  # not infer(): in OpenVINO 2026.4 that one returns old results where an operation fails, and says nothing
            self._request.start_async({0: np.ascontiguousarray(images)})
            self._request.wait()
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO cannot run {images.shape}: {said(error)}") from None
        return {name: np.array(self._request.get_output_tensor(i).data) for i, name in enumerate(self._names)}

    def prepare(self, images: Array) -> Any:
        check_images(self.metadata, images.shape)
        return _library().Tensor(np.ascontiguousarray(images))

    def invoke(self, prepared: Any) -> None:
        self._request.infer({0: prepared}, share_inputs=True, share_outputs=True)


def _name(output: Any, index: int) -> str:
    """An output's name; a file of another tool may have none."""
    names = sorted(output.get_names())
    return names[0] if names else f"output_{index}"


def _stored(model: Any) -> str | None:
    """The type that most weights of a model have."""
    elements: dict[str, int] = {}
    for node in model.get_ops():
        if node.get_type_name() == "Constant":
            name = TYPES.get(node.get_element_type().get_type_name())
            if name is not None and name != "bfloat16":  # which numpy has no name for
                elements[name] = elements.get(name, 0) + int(np.prod(node.get_output_shape(0)))
    return dominant(elements)
