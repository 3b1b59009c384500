"""The protocol all runtimes share: load a model file, run one batch, say what was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Metadata(Struct, frozen=True):
    """What a session knows about the file it has loaded."""

    runtime: str  # "onnxruntime"
    version: str  # of the runtime's library
    input_shape: tuple[int | None, ...]  # in the file's own layout; None where it is dynamic
    layout: str  # "NCHW" or "NHWC", of the file's input
    threads: int  # intra-op threads asked for
    execution: str  # which back end executes: provider, device and precision, or delegate and its partitions


class Session(Protocol):
    """A loaded model. Not thread-safe; make one a thread."""

    metadata: Metadata

    def run(self, images: Array) -> Array:
        """(B, 3, H, W) float32, always NCHW here → (B, classes) float32.

        A session of a dynamic model takes another size at any call. Raises ArtifactError if the
        file does not take this shape.
        """

    def prepare(self, images: Array) -> Any:
        """The same input in the form `invoke` takes: laid out, in the runtime's own memory where it has one."""

    def invoke(self, prepared: Any) -> None:
        """One inference and nothing else: what a latency measurement times."""


class Runtime(Protocol):
    """A module of mfedge.runtimes."""

    NAME: str
    SUFFIX: str  # of the model files it loads: ".onnx"

    def version(self) -> str:
        """Of the installed library. Raises MissingRuntimeError if there is none."""

    def load(self, path: Path, threads: int = 1) -> Session:
        """Raises MissingRuntimeError, or ArtifactError if the file cannot be loaded."""
