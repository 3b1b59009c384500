"""The protocol all runtimes share: load a model file, run one batch, say what was loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from msgspec import Struct

from mfedge.arrays import Array
from mfedge.errors import ArtifactError, UsageError


class Metadata(Struct, frozen=True):
    """What a session knows about the file it has loaded, and what executes it, as read back."""

    runtime: str  # "onnxruntime"
    version: str  # of the runtime's library
    input_shape: tuple[int | None, ...]  # in the file's own layout; None where it is dynamic
    layout: str  # "NCHW" or "NHWC", of the file's input
    outputs: tuple[str, ...]  # their names, in the file's order
    threads: int  # intra-op threads asked for
    provider: str  # which back end executes: "CPUExecutionProvider", "XNNPACK", …
    compute: str | None  # numpy's name of the type it computes in; None: the runtime does not tell
    stored: str | None = None  # of the type that most weights have in the file; None: the runtime does not tell
    kernels: str = "portable"  # "native" where operators of the file are mfedge's own
    isa: str | None = None  # instruction set that the native kernels use
    partitions: int | None = None  # that the provider took, where it takes parts of a graph
    whole: bool | None = None  # whether these are all of the graph

    @property
    def execution(self) -> str:
        """All of it in one line, for people."""
        words = [self.provider, self.compute or "precision not told"]
        if self.stored not in (None, self.compute):
            words.append(f"weights {self.stored}")
        if self.kernels == "native":
            words.append(f"native kernels, {self.isa}")
        if self.partitions is not None:
            parts = f"{self.partitions} partition{'s' * (self.partitions != 1)}"
            words.append(f"{parts}, the whole graph" if self.whole else parts)
        return ", ".join(words)


class Session(Protocol):
    """A loaded model. Not thread-safe; make one per thread."""

    metadata: Metadata

    def run(self, images: Array) -> dict[str, Array]:
        """Compute every output of a batch.

        Args:
            images: (B, 3, H, W) float32, always NCHW here. A session of a dynamic model takes another size at any call.

        Returns:
            Name → array, in the order of `metadata.outputs`.

        Raises:
            UsageError: the file does not take this shape.
            ArtifactError: the runtime cannot run it.
        """

    def prepare(self, images: Array) -> Any:
        """The same input in the form `invoke` takes: laid out, in the runtime's own memory where it has one."""

    def invoke(self, prepared: Any) -> None:
        """One inference and nothing else: what a latency measurement times."""


class Runtime(Protocol):
    """A runtime's module."""

    def version(self) -> str:
        """Of the installed library. Raises MissingRuntimeError if there is none."""

    def load(self, path: Path, threads: int = 1) -> Session:
        """Raises MissingRuntimeError, or ArtifactError if the file cannot be loaded."""

    def is_native(self, path: Path) -> bool:
        """Whether a file has operators of mfedge's; asked of runtimes that take its kernels."""


def check_dtype(path: Path, found: str) -> None:
    """Refuse a file whose input is of another type than the images of `Session.run`.

    Raises:
        ArtifactError: not float32.
    """
    if found != "float32":
        raise ArtifactError(f"{path}: expected an input of float32, found {found}; export it with a float32 input")


def check_images(metadata: Metadata, shape: Sequence[int]) -> None:
    """Refuse images that the file does not take, before its runtime does so in words of its own.

    Raises:
        UsageError: of another size, or not (B, 3, H, W).
    """
    batch, _, *sides = nchw(metadata.input_shape, metadata.layout)
    if len(shape) != 4 or shape[1] != 3 or batch not in (None, shape[0]):
        raise UsageError(f"{metadata.runtime}: expected images ({batch or 'B'}, 3, H, W), found {tuple(shape)}")
    if any(side not in (None, found) for side, found in zip(sides, shape[2:], strict=True)):
        expected = "x".join(str(side or "any") for side in sides)
        raise UsageError(f"{metadata.runtime}: the model takes {expected}, found {shape[2]}x{shape[3]}")


def nchw(shape: Sequence[int | None], layout: str) -> tuple[int | None, ...]:
    """A shape in another layout as (B, 3, H, W)."""
    return tuple(shape[layout.index(letter)] for letter in "NCHW")


def dominant(elements: dict[str, int]) -> str | None:
    """The type that most weights have, of elements by numpy's name of the type."""
    real = {name: count for name, count in elements.items() if np.dtype(name).kind == "f" or name in ("int8", "uint8")}
    return max(real, key=lambda name: real[name]) if real else None
