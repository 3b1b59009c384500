"""What a case is made of, and what came of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from mfedge.errors import Exit

GIB = 1 << 30
ARTIFACT = frozenset({Exit.ARTIFACT})
USAGE = frozenset({Exit.USAGE})


@dataclass(frozen=True)
class Call:
    """A function of mfedge on the files of a case."""

    name: str
    function: Callable[[], Any]
    allowed: frozenset[Exit]  # exit codes that such a file may be refused with
    check: Callable[[Any], str | None] = lambda value: None  # what is wrong with an answer, if anything


@dataclass
class Case:
    """Files in a folder, and what is called for them, in order."""

    note: str  # what was done to the seed
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True)
class Kind:
    """A kind of input."""

    name: str
    make: Callable[[random.Random, Path, Path], Case]  # (generator, folder of the seeds, empty folder for the files)
    prepare: Callable[[Path], None] = lambda folder: None  # writes the seeds
    modules: tuple[str, ...] = ()  # imported once, before the first case
    memory: int = GIB  # bytes of address space beyond what the modules take
    seconds: float = 20.0  # of CPU time of one case
    quick: bool = True  # whether its seeds are made fast enough for `make test`


Status = Literal["accepted", "refused", "died", "finding"]


class Came(Struct):
    """What came of one call."""

    call: str
    status: Status
    message: str = ""  # of an error, or of a death
    code: int | None = None  # exit code of a refusal
    detail: str = ""  # of a finding: traceback or frames
    signature: str = ""  # of a finding: two of one signature are the same fault


class Outcome(Struct):
    """What came of a case."""

    kind: str
    seed: int
    note: str
    folder: str
    came: list[Came]
