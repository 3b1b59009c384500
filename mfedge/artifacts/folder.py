"""An artifact is a folder that appears whole or not at all, and can be checked later.

It is staged beside its destination, so that publishing is one rename on one file system. A staging
folder carries its process's number: what a killed process left is swept by the next export.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mfedge.artifacts import manifest as manifests
from mfedge.checkpoint import sha256
from mfedge.errors import ArtifactError, StorageError, UsageError

STAGING = re.compile(r"^\.mfedge-staging-(\d+)-")
RENAME_EXCHANGE = 2  # of renameat2(2)
AT_FDCWD = -100


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """An empty folder beside `destination`, which takes its place when the block ends without an error.

    An artifact that was there before is replaced by one exchange of names; on any error it stays as it is.

    Raises:
        UsageError: the destination is something else than an artifact or nothing.
        StorageError: the disk is full or cannot be written.
    """
    check_destination(destination)
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


def check_destination(destination: Path) -> None:
    """Raise UsageError unless `destination` is free, an empty folder or an earlier artifact."""
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise UsageError(f"{destination}: expected a folder or nothing there, found another kind of file")
    if destination.is_dir() and any(destination.iterdir()) and not (destination / manifests.FILE).is_file():
        raise UsageError(f"{destination}: a folder with other files is there; mfedge replaces only its own artifacts")


def file_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the manifest, by name, sorted."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir()) if path.name != manifests.FILE}


def check_sums(folder: Path, manifest: manifests.Manifest) -> None:
    """Raise ArtifactError, naming the files, if any is missing, added or not as it was written."""
    present = {path.name for path in folder.iterdir()} - {manifests.FILE}
    missing, added = sorted(manifest.files.keys() - present), sorted(present - manifest.files.keys())
    changed = [
        name
        for name, digest in sorted(manifest.files.items())
        if name in present and (not (folder / name).is_file() or sha256(folder / name) != digest)
    ]
    complaints = [
        f"{what}: {', '.join(names)}"
        for what, names in (("missing", missing), ("changed since the export", changed), ("not of the artifact", added))
        if names
    ]
    if complaints:
        raise ArtifactError(f"{folder}: {'; '.join(complaints)}; export it again")


def storage_error(path: Path, error: OSError) -> StorageError:
    """The one line for a disk that does not take the file."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageError(f"{path}: no space left on the disk (about 100 MB are needed); nothing was written")
    return StorageError(f"{path}: cannot be written: {error.strerror or error}")


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
