"""The one folder outside its outputs that mfedge writes to: exports that `mfedge bench` can use again, and what
matplotlib and PyTorch keep for themselves.

It is MFEDGE_CACHE, or `mfedge` in the user's cache folder (XDG_CACHE_HOME, ~/.cache). It holds at most LIMIT bytes: the
exports that have not been used for the longest time go first. Everything in it can be made again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

LIMIT = 2 << 30  # bytes, of all exports together; the largest one has 0.06e9

_in_use: set[Path] = set()


def folder() -> Path:
    """Where it is, whether or not it is there."""
    if own := os.environ.get("MFEDGE_CACHE"):
        return Path(own)
    home = os.path.expanduser("~")  # unchanged for a user whom the system does not know, in a container for example
    known = os.environ.get("XDG_CACHE_HOME") or (os.path.join(home, ".cache") if home != "~" else None)
    return Path(known or os.path.join(tempfile.gettempdir(), f"mfedge-cache-{os.getuid()}")) / "mfedge"


def exports() -> Path:
    """Exports by what they depend on: a folder per content, an artifact per request in it."""
    return folder() / "bench"


def redirect() -> None:
    """Before matplotlib and PyTorch are imported: what they keep goes here, and not to folders of their own."""
    os.environ.setdefault("MPLCONFIGDIR", str(folder() / "matplotlib"))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder() / "torch"))


def used(entry: Path) -> None:
    """Note that this process uses an export, and remove the oldest of those beyond LIMIT that it does not use."""
    _in_use.add(entry)
    with contextlib.suppress(OSError):
        os.utime(entry)
    entries = [path for content in _folders(exports()) for path in _folders(content)]
    ages = {path: _age(path) for path in entries}
    sizes = {path: size(path) for path in entries}
    total = sum(sizes.values())
    for path in sorted(entries, key=lambda path: ages[path]):
        if total <= LIMIT:
            return
        if path not in _in_use:
            shutil.rmtree(path, ignore_errors=True)
            total -= sizes[path]
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # its last entry is gone


def size(place: Path) -> int:
    """Bytes of all files in it."""
    found = 0
    for path in place.rglob("*"):
        with contextlib.suppress(OSError):  # another process may remove it at this moment
            found += path.lstat().st_size
    return found


def clear() -> int:
    """Remove all of it; returns the bytes that it had.

    Raises:
        OSError: something in it cannot be removed.
    """
    place, found = folder(), size(folder())
    for name in ("bench", "matplotlib", "torch"):  # MFEDGE_CACHE may name a folder with other things in it
        if (place / name).exists():
            shutil.rmtree(place / name)
    with contextlib.suppress(OSError):
        place.rmdir()
    return found


def _folders(place: Path) -> list[Path]:
    try:
        return [path for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")]
    except OSError:
        return []


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
