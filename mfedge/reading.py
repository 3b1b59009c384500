"""Files of somebody else are read only as far as they may go, and only where they are files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from mfedge import text
from mfedge.errors import MfedgeError, StorageError, UsageError

TOO_LONG = "expected a path that the system takes, found one that is too long"
LARGEST = 4 << 30  # bytes of a model or a file beside it; the largest of a network here has 0.06e9

T = TypeVar("T")


def real(path: Path) -> Path:
    """The absolute path without links. `Path.resolve` raises a RuntimeError for a link to itself."""
    return Path(os.path.realpath(path))


def read(path: Path, limit: int, refuse: type[MfedgeError]) -> bytes:
    """All bytes of a regular file.

    Args:
        path: of the file.
        limit: bytes that it may have. A larger one is refused before it is read.
        refuse: the error that this kind of file is refused with.
    """
    with opened(path, limit, refuse) as file:
        return file.read(limit)


def check(path: Path, refuse: type[MfedgeError], limit: int = LARGEST) -> None:
    """Refuse what a library must not be given to open: a FIFO would keep it waiting, and a device has no end.

    Args:
        path: of the file.
        refuse: the error that this kind of file is refused with.
        limit: bytes that it may have.
    """
    with opened(path, limit, refuse):
        pass


@contextlib.contextmanager
def opened(path: Path, limit: int, refuse: type[MfedgeError]) -> Iterator[BufferedReader]:
    """A regular file of at most `limit` bytes, open for reading; arguments and errors as of `read`."""
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise refuse(f"{path}: expected at most {limit:,} bytes, found {size:,}")
            yield file
    except FileNotFoundError:
        raise refuse(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # a ValueError for a NUL in the name
        raise refuse(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


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


def name_of(path: os.PathLike[str]) -> str:
    """A path as a library or another process can be told of it.

    Raises:
        UsageError: it is not in UTF-8, or longer than the system takes.
    """
    name = os.fspath(path)
    if not text.is_utf8(name):
        raise UsageError(f"{name}: expected a name in UTF-8, found another encoding; rename it")
    try:
        os.lstat(name)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UsageError(f"{name}: {TOO_LONG}") from None
    return name


def sha256(path: Path, refuse: type[MfedgeError] = StorageError) -> str:
    """Hex digest of the bytes of a file.

    Args:
        path: of the file.
        refuse: the error for what is no file, or a larger one than any.
    """
    with opened(path, LARGEST, refuse) as file:
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
