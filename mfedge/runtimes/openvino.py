"""OpenVINO on the CPU, held to float32."""

from __future__ import annotations

import os

os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")

from pathlib import Path
from typing import Any

import numpy as np

from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.runtimes.base import Array, Metadata
from mfedge.runtimes.onnxruntime import first_line

NAME = "openvino"
SUFFIX = ".xml"


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


class OpenvinoSession:
    """One compiled model: latency hint, one stream, float32 asked for and read back."""

    def __init__(self, path: Path, threads: int) -> None:
        library = _library()
        config = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # its default is bfloat16 where the CPU has it
        }
        try:
            model = library.Core().read_model(path)
            self._compiled = library.compile_model(model, "CPU", config)
        except RuntimeError as error:
            raise ArtifactError(f"{path}: OpenVINO cannot load it: {first_line(error)}") from None
        if len(model.inputs) != 1 or model.inputs[0].partial_shape.rank.get_length() != 4:
            raise ArtifactError(f"{path}: expected one input (1, 3, H, W), found {model.inputs}")
        self._request = self._compiled.create_infer_request()
        sizes = model.inputs[0].partial_shape
        shape = tuple(size.get_length() if size.is_static else None for size in sizes)
        precision = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.metadata = Metadata(NAME, version(), shape, "NCHW", threads, f"CPU, precision {precision}")

    def run(self, images: Array) -> Array:
        try:
            result = self._request.infer({0: np.ascontiguousarray(images)})
        except RuntimeError as error:
            raise ArtifactError(f"OpenVINO cannot run {images.shape}: {first_line(error)}") from None
        return np.array(result[0])

    def prepare(self, images: Array) -> Any:
        return _library().Tensor(np.ascontiguousarray(images))

    def invoke(self, prepared: Any) -> None:
        self._request.infer({0: prepared}, share_inputs=True, share_outputs=True)
