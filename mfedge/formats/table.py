"""One row per format of model files. Everything else that depends on the format asks its row."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from mfedge import reading
from mfedge.errors import ArtifactError, UnknownOperatorError, UnsupportedError, UsageError
from mfedge.precisions import Precision
from mfedge.sizes import Size
from mfedge.workers import foreign

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from mfedge.formats.graph import Graph


class Format(Struct, frozen=True):
    """What mfedge has to know of a format.

    Its package has two modules. `lower` imports PyTorch and the format's own libraries; it has `write(program, path,
    precision, outputs)`, `RULES`, the operators that it can write, and `STORES`, the types that it can store weights
    as. `read` needs only what `runtime` needs; it has `graph(path, size)` and `operators(path)`.
    """

    name: str
    label: str  # as its makers write it
    model_file: str  # the model's name in an artifact
    runtime: str  # proves a file, and runs it unless another one is asked for
    package: str  # "mfedge.formats.onnx"
    libraries: tuple[str, ...]  # distributions that have a hand in the bytes: a manifest records their versions
    reader: str  # who takes a file apart, for messages
    companions: tuple[str, ...] = ()  # suffixes of files that a model keeps its weights in, beside it
    norm: bytes | None = None  # how the file spells a BatchNorm that is still in it; None: the format has none

    @property
    def suffix(self) -> str:
        """Of the model file: ".onnx"."""
        return Path(self.model_file).suffix

    def write(self, program: ExportedProgram, path: Path, precision: Precision, outputs: Sequence[str]) -> None:
        """Lower a trace and write `path`; its outputs bear these names.

        Raises:
            UnsupportedError: the trace has an operator without a rule, or weights cannot be stored so.
            CheckpointError: a weight is too large for the type that it would be stored as.
        """
        from mfedge.formats.lowering import check_range

        module = self._module("lower")
        if precision.stored not in module.STORES:
            raise UnsupportedError(
                f"{self.name}: cannot store weights as {precision.stored}; expected one of {', '.join(module.STORES)}"
            )
        check_range(program, precision)
        try:
            module.write(program, path, precision, outputs)
        except UnknownOperatorError as error:
            known = [row.name for row in FORMATS.values() if error.target in row._module("lower").RULES]
            raise UnsupportedError(f"{error}; formats that can: {', '.join(known) or 'none'}") from None

    def graph(self, path: Path, size: Size) -> Graph:
        """The graph of a model file at an input of (1, 3, height, width).

        Raises:
            ArtifactError: the file is damaged or does not take this size.
        """
        from mfedge.formats.graph import check_plausible

        module = self._module("read")
        self.check(path)
        with foreign.opening(self.reader, path):
            found = cast("Graph", module.graph(path, size))
            check_plausible(path, found)
            return found

    def operators(self, path: Path) -> dict[str, int]:
        """The operators of a model file by type, most frequent first; constants, inputs and outputs are none.

        A custom operator counts under its own name.

        Raises:
            ArtifactError: the file is not a sound model of this format.
            MissingRuntimeError: it has native operators, and the library that is needed to read them is not there.
        """
        module = self._module("read")
        self.check(path)
        with foreign.opening(self.reader, path):
            counts = Counter(module.operators(path))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def files_of(self, path: Path) -> list[Path]:
        """A model's files: itself, and those beside it that hold its weights."""
        named = (place for suffix in self.companions for place in (path.with_suffix(suffix), Path(f"{path}{suffix}")))
        return [path, *(place for place in dict.fromkeys(named) if os.path.lexists(place))]

    def check(self, path: Path) -> None:
        """Refuse a model whose files are none, before a library opens them.

        Raises:
            ArtifactError: a FIFO, a device or a folder is in a file's place, or nothing, or one is too large.
        """
        for file in self.files_of(path):
            reading.check(file, ArtifactError)

    def _module(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")


FORMATS: dict[str, Format] = {}


def add(row: Format) -> None:
    """Add a row.

    Raises:
        ValueError: there is one of that name, or one with that suffix.
    """
    if row.name in FORMATS or any(row.suffix == other.suffix for other in FORMATS.values()):
        raise ValueError(f"format {row.name}: there is one of this name or suffix already")
    FORMATS[row.name] = row


def format_named(name: str) -> Format:
    """The row of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in FORMATS:
        raise UsageError(f"--format {name}: expected one of {', '.join(FORMATS)}")
    return FORMATS[name]


def suffixes() -> tuple[str, ...]:
    """Of model files, in the table's order."""
    return tuple(row.suffix for row in FORMATS.values())


def format_of(path: Path) -> Format:
    """The row of a model file, by its suffix.

    Raises:
        UsageError: no format has it.
    """
    for row in FORMATS.values():
        if path.suffix == row.suffix:
            return row
    raise UsageError(f"{path}: expected a {_listed(suffixes())} file, found {path.suffix or 'no suffix'}")


def read_graph(path: Path, size: Size) -> Graph:
    """The graph of any model file at an input of (1, 3, height, width).

    Raises:
        UsageError: another kind of file.
        ArtifactError: the file is damaged or does not take this size.
    """
    if not os.path.isfile(path):
        raise UsageError(f"{path}: expected a {_listed(suffixes())} file, found nothing there")
    return format_of(path).graph(path, size)


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)


add(
    Format(
        name="onnx",
        label="ONNX",
        model_file="model.onnx",
        runtime="onnxruntime",
        package="mfedge.formats.onnx",
        libraries=("onnx", "onnx-ir", "onnxsim", "onnxruntime"),
        reader="onnx",
        companions=(".data",),
        norm=b"BatchNormalization",
    )
)
add(
    Format(
        name="openvino",
        label="OpenVINO IR",
        model_file="model.xml",
        runtime="openvino",
        package="mfedge.formats.openvino",
        libraries=("openvino",),
        reader="OpenVINO",
        companions=(".bin",),
        norm=b'type="BatchNormInference"',
    )
)
add(
    Format(
        name="tflite",
        label="TFLite",
        model_file="model.tflite",
        runtime="litert",
        package="mfedge.formats.tflite",
        libraries=("ai-edge-litert", "flatbuffers"),
        reader="mfedge's TFLite reader",
    )
)
