"""Instructions added up: by class, and by the pipes of a core that they use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from mfedge.bench.count.blocks import Executed
from mfedge.bench.count.classes import CLASSES, Instruction
from mfedge.bench.count.cores import Core, Pipe
from mfedge.bench.count.schema import Row


class Sums:
    """The numbers of a row as they grow."""

    def __init__(self, core: Core) -> None:
        self.instructions = dict.fromkeys(CLASSES, 0)
        self.uses = [0] * len(core.pipes)
        self.misses = [0, 0]

    def row(self, name: str) -> Row:
        """As stored."""
        first, second = self.misses
        return Row(name, tuple(self.instructions.values()), tuple(self.uses), (first, second))


def rows(entries: Iterable[tuple[str, Executed]], core: Core) -> tuple[Row, ...]:
    """A row for each name, most instructions first."""

    @cache
    def uses_of(instruction: Instruction) -> tuple[int, ...]:
        return tuple(uses(instruction, pipe) for pipe in core.pipes)

    sums: dict[str, Sums] = {}
    for name, entry in entries:
        into = sums.setdefault(name, Sums(core))
        into.instructions[entry.instruction.kind] += entry.runs
        for i, number in enumerate(uses_of(entry.instruction)):
            into.uses[i] += number * entry.runs
        for level in (0, 1):
            into.misses[level] += entry.misses[level]
    made = [found.row(name) for name, found in sums.items()]
    return tuple(sorted(made, key=lambda row: (-row.total, row.name)))


def uses(instruction: Instruction, pipe: Pipe) -> int:
    """Cycles of one of these pipes that an instruction takes; a wide operand or access takes several."""
    total = 0
    for kind, width in pipe.bytes.items():
        if kind in ("load", "store"):
            moved = instruction.loads if kind == "load" else instruction.stores
            total += -(-moved // width)
        elif instruction.kind == kind:
            total += max(1, -(-instruction.width // width))
    return total
