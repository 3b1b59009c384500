"""tflite-runtime 2.14, which shipped apps still embed. It needs numpy < 2, so an environment of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mfedge.errors import MissingRuntimeError
from mfedge.runtimes.litert import TfliteSession

NAME = "tflite-runtime"


def _library() -> Any:
    try:
        from tflite_runtime import interpreter
    except ImportError as error:
        raise MissingRuntimeError(
            f"tflite-runtime: not installed ({error}); it needs numpy < 2: see make test-tflite-runtime"
        ) from None
    return interpreter


def version() -> str:
    import importlib.metadata

    _library()
    return importlib.metadata.version("tflite-runtime")


def load(path: Path, threads: int = 1) -> TfliteSession:
    return TfliteSession(_library(), path, threads, NAME, version())
