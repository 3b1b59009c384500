"""`mfedge doctor`: what is installed, and what is missing for which command."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Annotated, Any

import typer

from mfedge.cli import console
from mfedge.cli.options import Json

NOT_BUILT = "not_built.txt"  # where hatch_build.py says why


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    json: Json = False,
    clear_cache: Annotated[bool, typer.Option("--clear-cache", help="Remove what mfedge keeps to use again.")] = False,
) -> None:
    """Say which runtimes and native kernels can be used here, and what to install for the others."""
    from mfedge import __version__, cache
    from mfedge.errors import MissingRuntimeError, StorageError
    from mfedge.runtimes.table import RUNTIMES

    rows = []
    for name, runtime in RUNTIMES.items():
        try:
            rows.append({"runtime": name, "version": runtime.open().version(), "missing": None})
        except MissingRuntimeError as error:
            rows.append({"runtime": name, "version": None, "missing": str(error)})
    kernels = native_kernels()
    if clear_cache:
        try:
            console.note(f"{cache.folder()}: removed {cache.clear() / 1e6:.1f} MB")
        except OSError as error:
            raise StorageError(f"{cache.folder()}: cannot be removed: {error.strerror}") from None
    kept: dict[str, Any] = {"folder": str(cache.folder()), "bytes": cache.size(cache.folder()), "limit": cache.LIMIT}
    if json:
        console.print_json({"mfedge": __version__, "runtimes": rows, "native": kernels, "cache": kept})
        return
    console.out(f"mfedge {__version__}")
    for row in rows:
        console.out(f"{row['runtime']:16} {row['version'] or 'not usable: ' + str(row['missing'])}")
    console.out(f"{'native kernels':16} {kernels['missing'] or kernels['isa'] + ', ABI ' + str(kernels['abi'])}")
    for row in kernels["bindings"]:
        console.out(f"  {'for ' + row['runtime']:14} {row['missing'] or 'built'}")
    if kernels["static"]:
        console.out(f"  {'for C and C++':14} {kernels['header']}, {kernels['static']}")
    size, limit = kept["bytes"] / 1e6, cache.LIMIT / 1e6
    console.out(f"{'cache':16} {kept['folder']}, {size:.1f} MB of at most {limit:.0f} MB")


def native_kernels() -> dict[str, Any]:
    """What is built of the native kernels.

    Returns:
        isa, abi; header and static: the files that an app links; bindings: each runtime, and why it has none if so;
        missing: why there are no kernels at all, if so.
    """
    from mfedge.errors import MissingRuntimeError
    from mfedge.kernels import find as native

    found: dict[str, Any] = dict.fromkeys(("isa", "abi", "header", "static", "missing")) | {"bindings": []}
    try:
        library = ctypes.CDLL(str(native.path("kernels")))
        found["abi"] = int(library.mfedge_abi_version())
        library.mfedge_isa.restype = ctypes.c_char_p
        found["isa"] = library.mfedge_isa().decode()
    except MissingRuntimeError as error:
        found["missing"] = why_not(native.folder()) or str(error).removeprefix("native kernels: ")
        return found
    except (OSError, AttributeError) as error:
        found["missing"] = f"cannot be loaded: {error}; reinstall mfedge"
        return found
    if found["abi"] != native.ABI:
        found["missing"] = f"ABI version {found['abi']}, expected {native.ABI}; reinstall mfedge"
        return found
    header = Path(native.__file__).parent / "include" / "mfedge_kernels.h"
    static = native.folder() / "libmfedge_kernels.a"
    found["header"], found["static"] = (str(path) if path.is_file() else None for path in (header, static))
    for name in native.NAMES:
        if name != "kernels":
            found["bindings"].append({"runtime": name, "missing": _missing_binding(name)})
    return found


def why_not(folder: Path) -> str | None:
    """What the installation said when it could not build the kernels."""
    try:
        reason = (folder / NOT_BUILT).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return f"not built: {reason}" if reason else None


def _missing_binding(name: str) -> str | None:
    """Why a runtime's library cannot be used, or None."""
    from mfedge.errors import MissingRuntimeError
    from mfedge.kernels import find as native

    try:
        if name == "openvino":
            from mfedge.runtimes import openvino

            # Built for one release of it, which its loader checks; its symbols are OpenVINO's.
            openvino.extension()
            return None
        ctypes.CDLL(str(native.path(name)))
    except MissingRuntimeError as error:
        return str(error).removeprefix("native kernels: ")
    except OSError as error:
        return f"cannot be loaded: {error}; reinstall mfedge"
    return None
