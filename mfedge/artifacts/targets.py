"""Deployment targets: files in export/ that fix formats, size, precision and kernels under one name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from mfedge import resources
from mfedge.errors import UsageError
from mfedge.formats.table import format_named
from mfedge.kernels.find import check_kernels
from mfedge.precisions import precision_named
from mfedge.sizes import parse_size


class Target(Struct, frozen=True, forbid_unknown_fields=True):
    """What a target file holds."""

    description: str
    formats: Annotated[tuple[str, ...], Meta(max_length=16)]
    size: str = "224"
    precision: str = "fp32"
    kernels: str = "portable"


def load_target(
    name: str | None, formats: Sequence[str], size: str | None, precision: str | None, kernels: str | None = None
) -> Target:
    """A target with what the command line says in place of its own fields.

    Raises:
        UsageError: no such target; a bad file, by field; an unknown format, precision or kernels.
    """
    base = Target(description="", formats=()) if name is None else _read(name)
    target = msgspec.structs.replace(
        base,
        formats=tuple(formats) or base.formats,
        size=base.size if size is None else size,
        precision=base.precision if precision is None else precision,
        kernels=base.kernels if kernels is None else kernels,
    )
    _check(target)
    return target


def _read(name: str) -> Target:
    path = resources.locate("export", name, f"--target {name}")
    try:
        target = msgspec.convert(resources.read_toml(path), Target)
        _check(target)
    except msgspec.ValidationError as error:
        raise UsageError(f"--target {name}: {error}") from None
    except UsageError as error:
        raise UsageError(f"--target {name}: {error}") from None
    return target


def _check(target: Target) -> None:
    """Raise UsageError for a name or size that is none."""
    for row in target.formats:
        format_named(row)
    precision_named(target.precision)
    check_kernels(target.kernels)
    parse_size(target.size, dynamic=True)
