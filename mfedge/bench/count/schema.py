"""What is stored of counts: instructions by class, per library and per function, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from mfedge import reading
from mfedge.bench import stored
from mfedge.bench.count.classes import Class
from mfedge.bench.count.cores import Core
from mfedge.errors import UsageError
from mfedge.sizes import Size

STORED = reading.Stored("counts", "mfedge.count", 1, 256 << 20, UsageError)
SCHEMA = f"{STORED.schema}/{STORED.current}"


class Row(Struct, frozen=True):
    """The instructions of one library or function."""

    name: str
    instructions: tuple[int, ...]  # executed, of each class, in the order of Counts.classes
    uses: tuple[int, ...]  # of each pipe, in the order of Core.pipes
    misses: tuple[int, int]  # of the first level of cache, and of the second too; without a prefetcher

    @property
    def total(self) -> int:
        """All instructions."""
        return sum(self.instructions)


class Count(Struct, frozen=True):
    """One inference of one model in one runtime at one size."""

    model: str
    runtime: str
    size: Size
    file: str
    sha256: str
    kernels: str  # "native" where operators of the file are mfedge's own
    isa: str | None  # that the native kernels use
    madds: int | None  # multiply-adds that the file says it has; None: it cannot be read so
    versions: dict[str, str]  # of all that had a hand in the instructions: counts of others are not comparable
    repeats: tuple[
        int, ...
    ]  # all instructions of each inference that was counted; the smallest is the one that follows
    libraries: tuple[Row, ...]  # most instructions first
    functions: tuple[Row, ...]  # of mfedge's own libraries; most instructions first

    @property
    def label(self) -> str:
        """For messages."""
        return f"{self.model} in {self.runtime} at {self.size}"

    @property
    def whole(self) -> Row:
        """All libraries together."""
        return added("all", self.libraries)


class Failure(Struct, frozen=True):
    """A case that could not be counted."""

    model: str
    runtime: str
    size: Size
    message: str
    exit_code: int


class Counts(Struct, frozen=True):
    """What one command counted. Nothing here names a user, a host or a path."""

    schema: str
    title: str
    core_name: str  # as --on took it
    core: Core
    classes: tuple[Class, ...]
    reference: str | None  # the model that ratios are taken to
    counts: tuple[Count, ...]
    failures: tuple[Failure, ...] = ()


class Bound(Struct, frozen=True):
    """The fewest cycles that a core of this kind can take, if every value is in its first cache in time."""

    cycles: float
    limit: str  # "decoding", or the name of the pipe


def added(name: str, rows: Sequence[Row]) -> Row:
    """Rows added up; at least one."""
    return Row(
        name,
        tuple(map(sum, zip(*(row.instructions for row in rows), strict=True))),
        tuple(map(sum, zip(*(row.uses for row in rows), strict=True))),
        (sum(row.misses[0] for row in rows), sum(row.misses[1] for row in rows)),
    )


def bound(row: Row, counts: Counts) -> Bound:
    """The longest of what the decoder and each pipe need: none can be shorter, and no real core reaches all of them."""
    core = counts.core
    fused = sum(number for kind, number in zip(counts.classes, row.instructions, strict=True) if kind in core.fused)
    needs = [Bound((row.total - fused) / core.instructions_per_cycle, "decoding")]
    needs += [Bound(uses / pipe.count, pipe.name) for uses, pipe in zip(row.uses, core.pipes, strict=True)]
    return max(needs, key=lambda need: need.cycles)


def encode(counts: Counts) -> bytes:
    """As stored; the same counts give the same bytes."""
    return stored.encode(counts)


def read(path: Path) -> Counts:
    """Stored counts.

    Raises:
        UsageError: no such file, or not of this schema.
    """
    return reading.load(path, STORED, {1: _checked})


def _checked(data: bytes) -> Counts:
    """Raises msgspec.ValidationError where a row has not one number for each class and pipe."""
    found = msgspec.json.decode(data, type=Counts)
    shape = len(found.classes), len(found.core.pipes)
    for count in found.counts:
        if not count.libraries:
            raise msgspec.ValidationError(f"{count.label}: expected libraries, found none")
        for row in (*count.libraries, *count.functions):
            if (len(row.instructions), len(row.uses)) != shape:
                raise msgspec.ValidationError(f"{count.label}: {row.name}: expected {shape} numbers")
    return found
