"""The gate's exact half: instructions of one inference on an emulated core, by class, library and function."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from mfedge.bench.cases import Case
from mfedge.bench.count.schema import Count, Counts, Row, added
from mfedge.bench.count.symbols import OURS
from mfedge.errors import Exit, GateError, UsageError
from mfedge.sizes import Size

ALL, OWN = "all instructions", "mfedge's library"  # the two totals, which have limits
MOVED = 1e-4  # of all instructions: what changes by less is not listed; Python's own part varies by a tenth of this
FEW = 4  # cases that a message names


class CountLine(Struct, frozen=True):
    """One number of both sides."""

    runtime: str
    size: Size
    part: str  # ALL, OWN, "class load", "library libc.so.6" or "function multiply<6, 4>"
    baseline: int  # instructions
    candidate: int
    misses: tuple[int, int] | None  # of the first level of cache, baseline and candidate; None of a class
    limit: float | None = None  # growth allowed, 0.01 is 1 %; None: it is shown and never blocks

    @property
    def growth(self) -> float:
        """0.03 is 3 % more; infinite from nothing to something."""
        if self.baseline == 0:
            return 0.0 if self.candidate == 0 else float("inf")
        return self.candidate / self.baseline - 1

    @property
    def blocks(self) -> bool:
        """Whether it grew beyond its limit."""
        return self.limit is not None and self.candidate > self.baseline * (1 + self.limit)


def compare(before: Counts, after: Counts, limit: float, library_limit: float) -> list[CountLine]:
    """Both totals of every case, and each part that changed by more than MOVED of all instructions.

    Args:
        before: of the baseline, one count per case.
        after: of the candidate, the same cases.
        limit: growth allowed of all instructions.
        library_limit: growth allowed of mfedge's own library, if both sides use it.

    Raises:
        GateError: the two were not counted on the same emulated core with the same versions.
    """
    check_comparable(before, after)
    lines: list[CountLine] = []
    for old, new in zip(before.counts, after.counts, strict=True):
        lines += _totals(old, new, limit, library_limit)
        least = MOVED * old.whole.total
        lines += [line for line in _parts(old, new, after) if abs(line.candidate - line.baseline) > least]
    return lines


def moved(lines: Sequence[CountLine]) -> set[tuple[str, Size]]:
    """(runtime, size) of the cases in which anything is listed beside the totals."""
    return {(line.runtime, line.size) for line in lines if line.part not in (ALL, OWN)}


def matching(stored: Counts, cases: Sequence[Case]) -> tuple[Counts, list[Case]]:
    """The stored counts and the candidate's cases of the same runtime and size, in one order.

    Args:
        stored: of one model, or of several, one of which has the candidate's name.
        cases: of the candidate.

    Raises:
        UsageError: there are none, or it is not known of which model.
    """
    models = {count.model for count in stored.counts}
    model = cases[0].model if len(models) > 1 else next(iter(models), "")
    found = {(count.runtime, count.size): count for count in stored.counts if count.model == model}
    chosen = [case for case in cases if (case.runtime, case.size) in found]
    if not chosen:
        has = ", ".join(count.label for count in stored.counts[:FEW]) or "nothing"
        wanted = ", ".join(case.label for case in cases[:FEW])
        raise UsageError(f"stored counts: expected one of {wanted}; found {has}")
    return replace(stored, counts=tuple(found[case.runtime, case.size] for case in chosen)), chosen


def check_comparable(before: Counts, after: Counts) -> None:
    """Refuse counts that differ by more than the model and mfedge's own code.

    Raises:
        GateError: naming what differs.
    """
    cores = [(c.core.architecture, c.core.emulated, c.core.midr, c.core.caches, c.classes) for c in (before, after)]
    if cores[0] != cores[1]:
        raise GateError(
            Exit.ENVIRONMENT, f"counts: expected one emulated core, found {before.core.title} and {after.core.title}, "
            "or another description of it; count the baseline again",
        )  # fmt: skip
    for old, new in zip(before.counts, after.counts, strict=True):
        named = sorted(old.versions.keys() & new.versions.keys())  # a portable model has no compiler of ours
        differing = [name for name in named if old.versions[name] != new.versions[name]]
        if differing:
            found = ", ".join(f"{name} {old.versions[name]} and {new.versions[name]}" for name in differing)
            message = f"{new.label}: expected one set of versions, found {found}; count the baseline again"
            raise GateError(Exit.ENVIRONMENT, message)


def _totals(old: Count, new: Count, limit: float, library_limit: float) -> Iterator[CountLine]:
    yield _line(new, ALL, old.whole, new.whole, limit)
    before, after = (
        added(OWN, [row for row in count.libraries if row.name.startswith(OURS)] or [_nothing(count)])
        for count in (old, new)
    )
    if before.total or after.total:
        yield _line(new, OWN, before, after, library_limit if before.total else None)


def _parts(old: Count, new: Count, counts: Counts) -> Iterator[CountLine]:
    """Classes in their order, then libraries and functions in the candidate's order."""
    was, now = old.whole.instructions, new.whole.instructions
    for which, before, after in zip(counts.classes, was, now, strict=True):
        yield CountLine(new.runtime, new.size, f"class {which}", before, after, None)
    for kind, rows in (("library", (old.libraries, new.libraries)), ("function", (old.functions, new.functions))):
        before_by_name, after_by_name = ({row.name: row for row in side} for side in rows)
        for name in dict.fromkeys((*after_by_name, *before_by_name)):
            yield _line(
                new, f"{kind} {name}", before_by_name.get(name, _nothing(old)), after_by_name.get(name, _nothing(new))
            )


def _line(count: Count, part: str, before: Row, after: Row, limit: float | None = None) -> CountLine:
    misses = before.misses[0], after.misses[0]
    return CountLine(count.runtime, count.size, part, before.total, after.total, misses, limit)


def _nothing(count: Count) -> Row:
    """A row of a part that is not there."""
    one = count.libraries[0]
    return Row("", (0,) * len(one.instructions), (0,) * len(one.uses), (0, 0))
