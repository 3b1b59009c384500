"""The runtimes an artifact can run in, all behind one protocol (`mfedge.runtimes.base`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from mfedge.errors import ArtifactError, MissingRuntimeError, UsageError
from mfedge.runtimes.base import Metadata, Runtime, Session

__all__ = ["RUNTIMES", "Metadata", "Runtime", "Session", "available", "get", "load", "model_file"]

# Name → module. The first of a suffix is the one taken when none is named.
RUNTIMES = {
    "torch": "mfedge.reference",
    "onnxruntime": "mfedge.runtimes.onnxruntime",
    "openvino": "mfedge.runtimes.openvino",
    "litert": "mfedge.runtimes.litert",
    "tflite-runtime": "mfedge.runtimes.tflite_runtime",
}
SUFFIXES = {".toml": "torch", ".onnx": "onnxruntime", ".xml": "openvino", ".tflite": "litert"}


def get(name: str) -> Runtime:
    """The runtime of this name.

    Raises:
        UsageError: no such runtime.
    """
    if name not in RUNTIMES:
        raise UsageError(f"runtime {name}: unknown; expected one of {', '.join(RUNTIMES)}")
    return cast(Runtime, importlib.import_module(RUNTIMES[name]))


def available() -> dict[str, str]:
    """Every runtime that can be used here, with its library's version."""
    found = {}
    for name in RUNTIMES:
        try:
            found[name] = get(name).version()
        except MissingRuntimeError:
            continue
    return found


def model_file(path: Path) -> Path:
    """The model file of an artifact folder; a file is its own.

    Raises:
        ArtifactError: the folder holds none, or several.
    """
    if not path.is_dir():
        return path
    found = [file for file in sorted(path.iterdir()) if file.suffix in SUFFIXES]
    if len(found) != 1:
        raise ArtifactError(f"{path}: expected one model file ({', '.join(SUFFIXES)}), found {len(found)}")
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
    if not file.is_file():
        raise ArtifactError(f"{path}: no such file or artifact folder")
    if runtime is None:
        if file.suffix not in SUFFIXES:
            raise UsageError(f"{path}: expected an artifact folder or one of {', '.join(SUFFIXES)}")
        runtime = SUFFIXES[file.suffix]
    module = get(runtime)
    if file.suffix != module.SUFFIX:
        raise UsageError(f"{path}: {runtime} takes {module.SUFFIX} files, found {file.suffix or 'no suffix'}")
    return module.load(file, threads)
