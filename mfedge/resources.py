"""Files that a name on the command line stands for: models/, export/, benchmarks/ and cores/, or anybody's ./FILE.toml.

The folders are beside the package in a checkout, and inside it when it is installed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from mfedge import files
from mfedge.errors import UsageError

MAX_TOML_BYTES = 1 << 20


def folder(name: str) -> Path:
    """The folder of TOML files that --variant ("models"), --target ("export"), --suite ("benchmarks") or --on ("cores")
    names."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "_data" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise UsageError(f"{name}/: not found beside or inside the mfedge package; reinstall mfedge")


def names(of: str) -> list[str]:
    """Every name that a folder has a file for, sorted."""
    return sorted(path.stem for path in folder(of).glob("*.toml"))


def is_file_name(name: str) -> bool:
    """Whether a name is the path of somebody's own TOML file: it has a "/", or ends in ".toml"."""
    return "/" in name or name.endswith(".toml")


def locate(of: str, name: str, typed: str) -> Path:
    """The TOML file that a name stands for.

    Args:
        of: the folder, as `folder` takes it.
        name: of a file in it, or a path.
        typed: what the user typed, for the message: "--suite crossovr".

    Raises:
        UsageError: there is none; the names that there are, are listed.
    """
    path = Path(name) if is_file_name(name) else folder(of) / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f"{typed}: unknown; expected one of {', '.join(names(of))}, or ./FILE.toml")
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's data.

    Raises:
        UsageError: it cannot be read, is larger than 1 MiB, or is no TOML.
    """
    data = files.read(path, MAX_TOML_BYTES, UsageError)
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None
