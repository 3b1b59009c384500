"""Counts as text: one row per case, and one row per library and function of a case."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from mfedge.bench.count.classes import Class
from mfedge.bench.count.schema import Bound, Count, Counts, Row, added, bound
from mfedge.runtimes.table import label

SHOWN: dict[str, tuple[Class, ...]] = {  # column → classes
    "multiply-add": ("multiply-add",),
    "dot product": ("dot-product",),
    "other vector": ("vector",),
    "load": ("load",),
    "store": ("store",),
    "loop, other": ("prefetch", "branch", "scalar"),
}
COSTS = ("M L1 misses", "M L2 misses", "M cycles ≥", "limited by")
CASES = ("model", "runtime", "size px", "M instructions", "/ reference", *SHOWN, *COSTS)
PARTS = ("M instructions", "share", *SHOWN, *COSTS)
FEW = 6  # libraries in a table


class Table(Struct, frozen=True):
    """A heading and its rows; the first `texts` columns are words."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    texts: int = 1


def cases(counts: Counts) -> Table:
    """One row per case; the ratio is to the reference in the same runtime at the same size."""
    references = {(c.runtime, c.size): c.whole.total for c in counts.counts if c.model == counts.reference}
    rows = []
    for count in counts.counts:
        whole, reference = count.whole, references.get((count.runtime, count.size))
        ratio = "–" if reference is None else f"{whole.total / reference:.2f}"
        rows.append(
            (count.model, label(count.runtime), str(count.size), _millions(whole.total), ratio, *_shares(whole, counts),
             *_costs(whole, counts))
        )  # fmt: skip
    return Table(CASES, rows, 2)


def libraries(count: Count, counts: Counts) -> Table:
    """Of one case, most instructions first."""
    return Table(("library", *PARTS), _parts(count.libraries, count.whole.total, counts, FEW))


def functions(count: Count, counts: Counts, top: int) -> Table:
    """Of mfedge's own libraries in one case, most instructions first; shares are of the whole inference."""
    return Table(("function", *PARTS), _parts(count.functions, count.whole.total, counts, top))


def headline(count: Count, counts: Counts) -> str:
    """One case in one line."""
    whole = count.whole
    least = bound(whole, counts)
    useful = sum(_of(whole, counts, kind) for kind in ("multiply-add", "dot-product"))
    return (
        f"{count.model} in {label(count.runtime)} {count.versions.get(count.runtime, '')} at {count.size} on "
        f"{counts.core.title}: {_millions(whole.total)} M instructions, {useful / whole.total:.0%} of them "
        f"multiply-adds; at least {_millions(least.cycles)} M cycles ({least.limit})"
    )


def markdown(counts: Counts) -> str:
    """The table of cases, and what each number is."""
    table = cases(counts)
    lines = [f"# {counts.title}", "", f"One inference, one thread, counted on an emulated {counts.core.title}.", ""]
    lines += [
        "| " + " | ".join(table.columns) + " |",
        "|" + "---|" * table.texts + "---:|" * (len(table.columns) - table.texts),
    ]
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    lines += [
        "",
        *(
            f"- {failure.model} in {failure.runtime} at {failure.size}: {failure.message}"
            for failure in counts.failures
        ),
    ]
    versions = {f"{name} {version}" for count in counts.counts for name, version in count.versions.items()}
    lines += ["", f"Counted with {', '.join(sorted(versions))}.", ""]
    lines += [f"The bound of the cycles is from {source}." for source in counts.core.sources]
    return "\n".join(lines) + "\n"


def _parts(rows: Sequence[Row], total: int, counts: Counts, top: int) -> list[tuple[str, ...]]:
    """The first `top` rows, and the others in one."""
    shown = [*rows[:top], *([added(f"{len(rows) - top} others", rows[top:])] if len(rows) > top else [])]
    return [
        (row.name, _millions(row.total), f"{row.total / total:.1%}", *_shares(row, counts), *_costs(row, counts))
        for row in shown
    ]


def _shares(row: Row, counts: Counts) -> tuple[str, ...]:
    """Of each column's classes in the row's instructions."""
    shares = (sum(_of(row, counts, kind) for kind in kinds) / max(1, row.total) for kinds in SHOWN.values())
    return tuple(f"{share:.0%}" if share else "–" for share in shares)


def _costs(row: Row, counts: Counts) -> tuple[str, ...]:
    found: Bound = bound(row, counts)
    return f"{row.misses[0] / 1e6:.3f}", f"{row.misses[1] / 1e6:.3f}", _millions(found.cycles), found.limit


def _of(row: Row, counts: Counts, kind: Class) -> int:
    """Instructions of one class; 0 of one that the counts do not know."""
    return row.instructions[counts.classes.index(kind)] if kind in counts.classes else 0


def _millions(number: float) -> str:
    return f"{number / 1e6:.1f}" if number >= 1e8 else f"{number / 1e6:.2f}"
