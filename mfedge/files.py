"""Files appear whole or not at all, and are read only as far as they may go: one home for both."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from mfedge.errors import MfedgeError, StorageError

STAGING = re.compile(r"^\.mfedge-staging-(\d+)-")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RENAME_EXCHANGE = 2  # of renameat2(2)
AT_FDCWD = -100

T = TypeVar("T")


def write(path: Path, data: bytes) -> None:
    """Write a file beside its place, flush it to the disk, and rename it over what was there.

    Raises:
        StorageError: full disk, no permission, no such folder; one line.
    """
    with beside(path) as temporary:
        temporary.write_bytes(data)


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A place beside `path` for a file that takes its place when the block ends without an error.

    Raises:
        StorageError: as `write`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise storage_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Before minutes of measuring: make sure that the result will find its place. Leaves nothing there.

    Raises:
        StorageError: it will not.
    """
    probe = path.with_name(f".{path.name}.{os.getpid()}.probe")
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        write(probe, b"\0" * 4096)
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
        for folder in missing:
            with contextlib.suppress(OSError):
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


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """An empty folder beside `destination`, which takes its place when the block ends without an error.

    It is staged beside its destination, so that publishing is one rename on one file system. A folder that was there
    before is replaced by one exchange of names; on any error it stays as it is. A staging folder carries its process's
    number: what a killed process left is swept by the next one.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _sweep(destination.parent)
        staging = Path(tempfile.mkdtemp(prefix=f".mfedge-staging-{os.getpid()}-", dir=destination.parent))
    except OSError as error:
        raise storage_error(destination, error) from None
    try:
        yield staging
        staging.chmod(0o777 & ~_umask())
        for path in staging.iterdir():
            _sync(path)
        _publish(staging, destination)
    except OSError as error:
        raise storage_error(destination, error) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one line for a disk that does not take a file."""
    if error.errno in FULL:
        return StorageError(f"{path}: no space left on the disk; nothing was written")
    return StorageError(f"{path}: cannot be written: {error.strerror or error}")


def read(path: Path, limit: int, refuse: type[MfedgeError]) -> bytes:
    """All bytes of a regular file.

    Args:
        path: of the file.
        limit: bytes that it may have. A larger one is refused before it is read.
        refuse: the error that this kind of file is refused with.
    """
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise refuse(f"{path}: expected at most {limit:,} bytes, found {size:,}")
            return file.read(limit)
    except OSError as error:
        raise refuse(f"{path}: cannot be read: {error.strerror or error}") from None


def open_regular(path: Path) -> BufferedReader:
    """Open a file that somebody else may have put there. It does not wait for the other end of a FIFO.

    Raises:
        OSError: it cannot be opened, or is a FIFO, a device or a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "expected a regular file, found another kind")
    return os.fdopen(descriptor, "rb")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Stored(Struct, frozen=True):
    """A kind of JSON file that mfedge stores and reads back: its name, and a reader of each schema number."""

    kind: str  # "a result": for messages
    schema: str  # "mfedge.bench" of "mfedge.bench/2"; "" where the file holds the number alone
    current: int
    limit: int  # bytes
    refuse: type[MfedgeError]


class _SchemaOnly(Struct):
    schema: int | str


def load(path: Path, stored: Stored, readers: Mapping[int, Callable[[bytes], T]]) -> T:
    """Read a stored JSON file by the reader of its schema number, which is looked at before anything else.

    Raises:
        stored.refuse: not a regular file, too large, not JSON, of another kind, written by a newer mfedge, or not as
            its schema says; the message names the field.
    """
    data = read(path, stored.limit, stored.refuse)
    expected = f"expected {stored.kind} ({_schema(stored, stored.current)})"
    try:
        found = msgspec.json.decode(data, type=_SchemaOnly).schema
        version = _version(stored, found)
        if version is None:
            raise stored.refuse(f"{path}: {expected}, found schema {str(found)[:60]!r}")
        if version > stored.current:
            raise stored.refuse(
                f"{path}: {expected}, found {_schema(stored, version)}: it was written by a newer mfedge; update mfedge"
            )
        if version not in readers:
            raise stored.refuse(f"{path}: {expected}, found {_schema(stored, version)}, which is no longer read")
        return readers[version](data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise stored.refuse(f"{path}: {expected}; it is damaged: {error}") from None


def _schema(stored: Stored, version: int) -> str:
    return f"{stored.schema}/{version}" if stored.schema else f"schema {version}"


def _version(stored: Stored, found: int | str) -> int | None:
    if isinstance(found, int):
        return found if not stored.schema else None
    match = re.fullmatch(rf"{re.escape(stored.schema)}/(\d{{1,6}})", found, re.ASCII) if stored.schema else None
    return int(match[1]) if match else None


def _publish(staging: Path, destination: Path) -> None:
    if not destination.exists():
        staging.rename(destination)
    elif not _exchange(staging, destination):
        # No exchange on this system: for a moment between two renames nothing stands at the destination.
        aside = staging.with_name(f"{staging.name}-replaced")
        destination.rename(aside)
        try:
            staging.rename(destination)
        except OSError:
            aside.rename(destination)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step (Linux); False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0)


def _sync(path: Path) -> None:
    """Force a file to the disk: a full disk may only be noticed now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Remove the staging folders of processes that are gone."""
    for path in folder.iterdir():
        match = STAGING.match(path.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
