"""An artifact is a folder that appears whole or not at all, and whose sums can be checked later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from mfedge import files, reading
from mfedge.errors import ArtifactError, UsageError

MANIFEST = files.SEALED


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """As `files.staged`, for a destination that is free or an earlier artifact.

    Raises:
        UsageError: the destination is something else.
        StorageError: the disk is full or cannot be written.
    """
    check_destination(destination)
    with files.staged(destination) as staging:
        yield staging


def check_destination(destination: Path) -> None:
    """Raise UsageError unless `destination` is free, an empty folder or an earlier artifact."""
    if destination.is_symlink() or (destination.exists() and not destination.is_dir()):
        raise UsageError(f"{destination}: expected a folder or nothing there, found another kind of file")
    if destination.is_dir() and any(destination.iterdir()) and not (destination / MANIFEST).is_file():
        raise UsageError(f"{destination}: a folder with other files is there; mfedge replaces only its own artifacts")


def file_sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the manifest, by name, sorted."""
    return {path.name: reading.sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}


def check_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Raise ArtifactError, naming the files, if any is missing, added or not as it was written.

    Args:
        folder: of the artifact.
        sums: name → SHA-256, as the manifest has them.
    """
    try:
        present = {path.name for path in folder.iterdir()} - {MANIFEST}
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be read: {error.strerror or error}") from None
    missing, added = sorted(sums.keys() - present), sorted(present - sums.keys())
    changed = [
        name
        for name, digest in sorted(sums.items())
        if name in present and reading.sha256(folder / name, ArtifactError) != digest
    ]
    complaints = [
        f"{what}: {', '.join(names)}"
        for what, names in (("missing", missing), ("changed since the export", changed), ("not of the artifact", added))
        if names
    ]
    if complaints:
        raise ArtifactError(f"{folder}: {'; '.join(complaints)}; export it again")
