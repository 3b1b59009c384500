"""One row per runtime. Everything else that depends on the runtime asks its row."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from mfedge import reading
from mfedge.errors import ArtifactError, MissingRuntimeError, UsageError
from mfedge.workers import foreign

if TYPE_CHECKING:
    from mfedge.runtimes.base import Runtime, Session


class RuntimeRow(Struct, frozen=True):
    """What mfedge has to know of a runtime.

    Its module has `version()` and `load(path, threads)`, as `mfedge.runtimes.base.Runtime` says.
    """

    name: str
    label: str  # as its makers write it
    module: str  # "mfedge.runtimes.onnxruntime"
    suffix: str  # of the model files that it loads
    colour: str  # of its lines in charts: Okabe and Ito (2008), told apart by colour-blind readers too
    distribution: str  # on the package index
    library: str  # the import that a worker makes before it measures
    extra: str | None = None  # of mfedge's distribution, that brings the runtime
    profiler: str | None = None  # "module:function" that times its operators; None: it does not tell their times
    kernels: str | None = None  # the library of mfedge's kernels that it loads; None: it takes none
    measured: bool = True  # whether `mfedge bench` measures it unless told otherwise
    artifacts: bool = True  # whether it runs exported files; PyTorch, the reference, runs the network itself

    def open(self) -> Runtime:
        """Its module.

        Raises:
            MissingRuntimeError: what it imports is not installed.
        """
        try:
            return cast("Runtime", importlib.import_module(self.module))
        except ModuleNotFoundError as error:
            raise missing(self.name, error) from None


RUNTIMES: dict[str, RuntimeRow] = {}


def add(row: RuntimeRow) -> None:
    """Add a row.

    Raises:
        ValueError: there is one of that name.
    """
    if row.name in RUNTIMES:
        raise ValueError(f"runtime {row.name}: there is one already")
    RUNTIMES[row.name] = row


def runtime_named(name: str) -> RuntimeRow:
    """The row of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in RUNTIMES:
        raise UsageError(f"runtime {name}: unknown; expected one of {', '.join(RUNTIMES)}")
    return RUNTIMES[name]


def label(name: str) -> str:
    """A runtime's name as its makers write it; of one that is not in the table, the name itself."""
    return RUNTIMES[name].label if name in RUNTIMES else name


def missing(name: str, error: ImportError) -> MissingRuntimeError:
    """The error for a runtime whose library is not installed."""
    extra = RUNTIMES[name].extra
    advice = f"; pip install 'mfedge[{extra}]'" if extra else ""
    return MissingRuntimeError(f"{name}: not installed ({error}){advice}")


def available() -> dict[str, str]:
    """Every runtime that can be used here, with its library's version."""
    found = {}
    for name, row in RUNTIMES.items():
        try:
            found[name] = row.open().version()
        except MissingRuntimeError:
            continue
    return found


def model_file(path: Path) -> Path:
    """The model file of an artifact folder; a file is its own.

    Raises:
        ArtifactError: the folder holds none, or several.
    """
    if not os.path.isdir(path):  # False too of a name that no file can have
        return path
    suffixes = dict.fromkeys(row.suffix for row in RUNTIMES.values())
    found = [file for file in sorted(path.iterdir()) if file.suffix in suffixes]
    if len(found) != 1:
        raise ArtifactError(f"{path}: expected one model file ({', '.join(suffixes)}), found {len(found)}")
    return found[0]


def load(path: Path, runtime: str | None = None, threads: int = 1) -> Session:
    """Load an artifact folder or a bare model file.

    Args:
        path: a folder with a manifest, or a .onnx, .xml, .tflite file; .toml for PyTorch, with random weights.
        runtime: one of `RUNTIMES`; by default the first that takes the file.
        threads: intra-op threads.

    Raises:
        UsageError: no runtime takes such a file.
        MissingRuntimeError: its library is not installed.
        ArtifactError: the file is damaged or not what its suffix says.
    """
    file = model_file(Path(path))
    if not os.path.lexists(file):
        raise ArtifactError(f"{path}: no such file or artifact folder")
    if runtime is None:
        row = next((row for row in RUNTIMES.values() if row.suffix == file.suffix), None)
        if row is None:
            suffixes = ", ".join(dict.fromkeys(row.suffix for row in RUNTIMES.values()))
            raise UsageError(f"{path}: expected an artifact folder or one of {suffixes}")
    else:
        row = runtime_named(runtime)
    if file.suffix != row.suffix:
        raise UsageError(f"{path}: {row.name} takes {row.suffix} files, found {file.suffix or 'no suffix'}")
    opened = row.open()
    reading.check(file, ArtifactError)
    with foreign.opening(row.label, file):
        return opened.load(file, threads)


add(
    RuntimeRow(
        name="torch",
        label="PyTorch",
        module="mfedge.reference",
        suffix=".toml",
        colour="#D55E00",
        distribution="torch",
        library="torch",
        extra="export",
        profiler="mfedge.bench.profile.profilers:torch",
        kernels="kernels",
        artifacts=False,
    )
)
add(
    RuntimeRow(
        name="onnxruntime",
        label="ONNX Runtime",
        module="mfedge.runtimes.onnxruntime",
        suffix=".onnx",
        colour="#0072B2",
        distribution="onnxruntime",
        library="onnxruntime",
        extra="onnxruntime",
        profiler="mfedge.bench.profile.profilers:onnxruntime",
        kernels="onnxruntime",
    )
)
add(
    RuntimeRow(
        name="openvino",
        label="OpenVINO",
        module="mfedge.runtimes.openvino",
        suffix=".xml",
        colour="#009E73",
        distribution="openvino",
        library="openvino",
        extra="openvino",
        profiler="mfedge.bench.profile.profilers:openvino",
        kernels="openvino",
    )
)
add(
    RuntimeRow(
        name="litert",
        label="LiteRT",
        module="mfedge.runtimes.litert",
        suffix=".tflite",
        colour="#CC79A7",
        distribution="ai-edge-litert",
        library="ai_edge_litert.interpreter",
        extra="litert",
        kernels="litert",
    )
)
add(
    RuntimeRow(
        name="tflite-runtime",
        label="tflite-runtime",
        module="mfedge.runtimes.tflite_runtime",
        suffix=".tflite",
        colour="#E69F00",
        distribution="tflite-runtime",
        library="tflite_runtime.interpreter",
        kernels="litert",
        measured=False,
    )
)
