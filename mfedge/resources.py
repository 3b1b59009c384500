"""Where models/, export/ and benchmarks/ are: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

from pathlib import Path

from mfedge.errors import UsageError


def folder(name: str) -> Path:
    """The folder of TOML files behind --variant ("models"), --target ("export") or --suite ("benchmarks")."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "_data" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise UsageError(f"{name}/: not found beside or inside the mfedge package; reinstall mfedge")
