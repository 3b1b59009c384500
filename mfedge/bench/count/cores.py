"""Cores are files, benchmarks/cores/NAME.toml or ./FILE.toml: what is emulated, and what a cycle can do at most."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mfedge import resources
from mfedge.bench.count.classes import Class
from mfedge.errors import UsageError

Positive = Annotated[int, Meta(ge=1, le=1 << 20)]
Architecture = Literal["aarch64", "x86_64"]


class Pipe(Struct, frozen=True, forbid_unknown_fields=True):
    """Pipes that share work: an instruction uses one of them for one cycle, or several cycles if it is wide."""

    name: str
    count: Positive
    bytes: dict[Class, Positive]  # of an instruction's operand, or of its access to memory, that one use deals with


class Level(Struct, frozen=True, forbid_unknown_fields=True):
    """A level of the data cache."""

    kib: Positive
    ways: Positive


class Caches(Struct, frozen=True, forbid_unknown_fields=True):
    """Two levels of cache."""

    line: Positive  # bytes; a power of two
    l1: Level
    l2: Level


class Core(Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of CPU core."""

    title: str
    sources: Annotated[tuple[str, ...], Meta(min_length=1)]  # of all numbers here
    architecture: Architecture
    emulated: str  # -cpu of qemu
    instructions_per_cycle: Positive
    pipes: Annotated[tuple[Pipe, ...], Meta(min_length=1)]
    caches: Caches
    midr: int | None = None  # main ID register, by which runtimes on ARM choose their kernels
    fused: tuple[Class, ...] = ()  # classes that may be one with the instruction before


def read(name: str) -> Core:
    """The core of this name, or of a TOML file.

    Raises:
        UsageError: an unknown core, or a file that is none.
    """
    path = resources.locate("benchmarks/cores", name, f"--on {name}")
    try:
        core = msgspec.convert(resources.read_toml(path), Core)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: not a core: {error}") from None
    line, levels = core.caches.line, (core.caches.l1, core.caches.l2)
    if line & (line - 1) or any((level.kib << 10) % (line * level.ways) for level in levels):
        raise UsageError(f"{path}: not a core: expected caches of whole sets of lines, found {core.caches}")
    if core.architecture == "aarch64" and core.midr is None:
        raise UsageError(f"{path}: not a core: expected midr, the main ID register of an aarch64 core, found none")
    return core
