"""Files and folders appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mfedge.errors import StorageError, UsageError

STAGING = re.compile(r"^\.mfedge-staging-(\d+)-(\d+)-")  # number and start of the process
SEALED = "manifest.json"  # a folder with this file is an artifact
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RENAME_EXCHANGE = 2  # of renameat2(2)
AT_FDCWD = -100


def write(path: Path, data: bytes) -> None:
    """Write a file whole, or leave what was there.

    Raises:
        StorageError: full disk, no permission, no such folder; one line.
    """
    write_all(path.parent, {path.name: data})


def write_all(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files of one answer into a folder: all of them appear, or none does and what was there stays.

    Every file is written and flushed to the disk before the first one appears. A folder that is not there yet appears
    by one rename. In one that is there, each file takes its place by a rename; should one of these fail, those before
    it are undone.

    Args:
        folder: made if it is not there.
        contents: name → bytes.

    Raises:
        StorageError: full disk, no permission, a folder or device in a file's place; one line.
    """
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder}: expected a folder or nothing there, found another kind of file")
    if not folder.exists():
        with staged(folder) as staging:
            for name, data in contents.items():
                _write_synced(staging / name, data)
        return
    with _staging(folder, folder / next(iter(contents)) if len(contents) == 1 else folder) as staging:
        for name, data in contents.items():
            if (folder / name).exists() and not (folder / name).is_file():
                raise StorageError(f"{folder / name}: expected a file or nothing there, found another kind")
            _write_synced(staging / name, data)
        _replace_all(staging, folder, list(contents))


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A place for a file that takes that of `path` when the block ends without an error.

    Raises:
        StorageError: as `write`.
    """
    with _staging(path.parent, path) as staging:
        yield staging / path.name
        _sync(staging / path.name)
        _replace_all(staging, path.parent, [path.name])


def check_writable(path: Path) -> None:
    """Before minutes of measuring: make sure that the result will find its place. Leaves nothing there.

    Raises:
        StorageError: it will not.
        UsageError: it would become part of an artifact.
    """
    if (path.parent / SEALED).exists():
        raise UsageError(f"{path}: lies in an artifact, whose files are sealed; choose another place")
    with _staging(path.parent, path) as staging:
        _write_synced(staging / path.name, b"\0" * 4096)


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
    for folder in (Path.cwd(), Path(tempfile.gettempdir()), Path("/dev/shm"), Path(os.path.expanduser("~"))):
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
    before is replaced by one exchange of names; on any error it stays as it is. What a killed process left is swept
    by the next one.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    with _staging(destination.parent, destination) as staging:
        yield staging
        staging.chmod(0o777 & ~_umask())
        for path in staging.iterdir():
            _sync(path)
        _take_place(staging, destination)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder among the system's temporary files, gone after the block. Its path has always the same length.

    Raises:
        StorageError: the disk is full or cannot be written.
    """
    place = Path(tempfile.gettempdir())
    with _staging(place, place) as staging:
        yield staging


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one line for a disk that does not take a file."""
    if error.errno in FULL:
        return StorageError(f"{path}: no space left on the disk; nothing was written")
    return StorageError(f"{path}: cannot be written: {error.strerror or error}")


@contextlib.contextmanager
def _staging(folder: Path, destination: Path) -> Iterator[Path]:
    """An empty folder in `folder`, which is made if need be; neither is left if it fails.

    Its name carries the process's number and start, and as long as the process lives it holds a lock on it: a later
    process sees that the owner is gone even if the number is in use again, or belongs to another container.

    Raises:
        StorageError: in place of OSError, about `destination`.
    """
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    staging = lock = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # another process may be sweeping too
            _sweep(folder)
        prefix = f".mfedge-staging-{os.getpid():010}-{_start(os.getpid()) or 0:020}-"
        staging = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        lock = _lock(staging)
        yield staging
    except OSError as error:
        raise storage_error(destination, error) from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if lock is not None:
            os.close(lock)
        for parent in missing:  # those that nothing was published into
            with contextlib.suppress(OSError):
                parent.rmdir()


def _replace_all(staging: Path, folder: Path, names: Sequence[str]) -> None:
    """Each file takes its place in `folder`; on an error all that did give it back to what was there."""
    if len(names) == 1:
        (staging / names[0]).replace(folder / names[0])
        return
    new = {name: (staging / name).stat().st_ino for name in names}
    old = [name for name in names if (folder / name).exists()]
    try:
        for name in names:
            _take_place(staging / name, folder / name)
    except BaseException:
        for name in names:
            if (folder / name).exists() and (folder / name).stat().st_ino == new[name]:
                if name in old:
                    _take_place(staging / name, folder / name)
                else:
                    (folder / name).unlink()
        raise


def _take_place(new: Path, place: Path) -> None:
    """Move a file or folder to its place; what was there, if anything, is then where it came from."""
    if not place.exists():
        new.rename(place)
    elif not _exchange(new, place):
        # No exchange on this system: for a moment between two renames nothing stands in the place.
        aside = new.with_name(f"{new.name}-replaced")
        place.rename(aside)
        try:
            new.rename(place)
        except OSError:
            aside.rename(place)
            raise
        aside.rename(new)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two names in one step (Linux); False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0)


def _write_synced(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def _sync(path: Path) -> None:
    """Force a file to the disk: that it is full may only be noticed then."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sweep(folder: Path) -> None:
    """Remove this user's staging folders whose processes are gone."""
    for path in folder.iterdir():
        match = STAGING.match(path.name)
        if match is None or not _mine(path) or _alive(int(match[1]), int(match[2])):
            continue
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _mine(path: Path) -> bool:
    """Whether it is a folder, and no link to one, of this user."""
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and (os.name != "posix" or status.st_uid == os.geteuid())


def _lock(folder: Path) -> int | None:
    """Lock a folder for as long as the returned descriptor is open; None if another process has locked it."""
    if os.name != "posix":  # no such locks: the process's number has to do
        return os.open(os.devnull, os.O_RDONLY)
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system without locks: number and start have to do
        pass
    return descriptor


def _alive(pid: int, start: int) -> bool:
    """Whether the process of this number that started then is there, as far as can be seen from here."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return start == 0 or _start(pid) in (start, None)


def _start(pid: int) -> int | None:
    """When a process started, in clock ticks since the system did (proc(5)); None where it is not told."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
