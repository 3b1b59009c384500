"""Files appear whole or not at all; a full disk is one line, and what was measured is not lost with it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from mfedge.errors import StorageError


def write(path: Path, data: bytes) -> None:
    """Write beside, flush to the disk, rename over.

    Raises:
        StorageError: full disk, no permission, no such folder; one line.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from None


def check_writable(path: Path) -> None:
    """Before minutes of measuring: that the result will find its place. Leaves nothing behind.

    Raises:
        StorageError: it will not.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    missing = [folder for folder in path.parents if not folder.exists()]
    write(probe, b"\0" * 4096)
    probe.unlink(missing_ok=True)
    for folder in missing:
        folder.rmdir()


def rescue(path: Path, data: bytes) -> Path:
    """Write to `path`; if that fails, to the first other place that takes it.

    Returns:
        `path`.

    Raises:
        StorageError: `path` could not be written; the message says where the data went instead, if anywhere.
    """
    try:
        write(path, data)
        return path
    except StorageError as error:
        failure = error
    for folder in (Path.cwd(), Path(tempfile.gettempdir()), Path("/dev/shm"), Path.home()):
        if folder.is_dir() and folder.resolve() != path.parent.resolve():
            other = folder / f"rescued-{path.name}"
            with contextlib.suppress(StorageError):
                write(other, data)
                failure = StorageError(f"{failure}; what was measured is in {other}")
                break
    raise failure
