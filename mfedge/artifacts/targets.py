"""Deployment targets: files in export/ that fix formats, size, precision and kernels under one name."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from mfedge.errors import UsageError
from mfedge.kernels.find import KERNELS
from mfedge.resources import folder

PRECISIONS = ("fp32", "fp16")


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """What a target file holds."""

    description: str
    formats: tuple[Literal["onnx", "openvino", "tflite"], ...]
    size: str = "224"
    precision: Literal["fp32", "fp16"] = "fp32"
    kernels: Literal["portable", "native"] = "portable"


def targets() -> list[str]:
    """Every target that ships."""
    return sorted(path.stem for path in folder("export").glob("*.toml"))


def load_target(
    name: str | None, formats: Sequence[str], size: str | None, precision: str | None, kernels: str | None = None
) -> Target:
    """A target with what the command line says in place of its own fields.

    Raises:
        UsageError: no such target; a bad file, by field; an unknown precision; unknown kernels.
    """
    if kernels is not None and kernels not in KERNELS:
        raise UsageError(f"--kernels {kernels}: expected one of {', '.join(KERNELS)}")
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    base = Target(description="", formats=()) if name is None else _read(name)
    return msgspec.structs.replace(
        base,
        formats=tuple(formats) or base.formats,
        size=size or base.size,
        precision=precision or base.precision,
        kernels=kernels or base.kernels,
    )


def _read(name: str) -> Target:
    is_path = "/" in name or name.endswith(".toml")
    path = Path(name) if is_path else folder("export") / f"{name}.toml"
    if not path.is_file():
        raise UsageError(f"--target {name}: unknown; expected one of {', '.join(targets())}, or ./FILE.toml")
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Target)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--target {name}: not a TOML file: {error}") from None
    except msgspec.ValidationError as error:
        raise UsageError(f"--target {name}: {error}") from None
