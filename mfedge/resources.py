"""Files that a name on the command line stands for: models/, export/ and benchmarks/, or anybody's ./FILE.toml.

The folders are beside the package in a checkout, and inside it when it is installed.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from mfedge import reading
from mfedge.errors import UsageError

MAX_TOML_BYTES = 64 << 10  # the largest that ships has 2 KB
DEEPEST = 50  # levels of tables and arrays; a network's blocks are two deep
MOST_DOTS = 200  # of a line: a key may have one per level, and Python's parser takes time by their square
TOO_DEEP = f"tables and arrays in each other, more than {DEEPEST} deep"


def folder(name: str) -> Path:
    """The TOML files of an option: --variant ("models"), --target ("export"), --suite ("benchmarks"), --on
    ("benchmarks/cores")."""
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
    if not os.path.isfile(path):  # False too of a name that no file can have
        raise UsageError(f"{typed}: unknown; expected one of {', '.join(names(of))}, or ./FILE.toml")
    return path


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file's data.

    Raises:
        UsageError: it cannot be read, is larger than 64 KiB, or is no TOML.
    """
    data = reading.read(path, MAX_TOML_BYTES, UsageError)
    try:
        return parse_toml(data.decode("utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """The data of a TOML text.

    Raises:
        ValueError: it is no TOML, or has an integer of more than 64 bits, or tables in tables beyond any use.
    """
    if any(line.count(".") > MOST_DOTS for line in text.splitlines()):
        raise ValueError(f"a line with more than {MOST_DOTS} dots")
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    _check(data, 0)
    return data


def _check(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(TOO_DEEP)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError("an integer of more than 64 bits")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check(item, depth + 1)
