"""Counts as text: one row per case, and one row per library and function of a case."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from mfedge import text
from mfedge.bench.count.classes import Class
from mfedge.bench.count.schema import Bound, Count, Counts, Row, added, bound
from mfedge.bench.report.tables import markdown_table
from mfedge.runtimes.table import label

SHOWN: dict[str, tuple[Class, ...]] = {  # column → classes
    "multiply add": ("multiply-add",),
    "dot product": ("dot-product",),
    "other vector": ("vector",),
    "load": ("load",),
    "store": ("store",),
    "loop, other": ("prefetch", "branch", "scalar"),
}
COSTS = ("M L1 misses", "M L2 misses", "M cycles ≥", "limited by")
CASES = ("model", "runtime", "size px", "M executed", "/ reference", *SHOWN, *COSTS)
PARTS = ("M executed", "share", *SHOWN, *COSTS)
LEAST = 5e-4  # of all instructions: smaller libraries and functions are listed together
NONE = "–"


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
        ratio = NONE if reference is None else f"{whole.total / reference:.2f}"
        rows.append(
            (count.model, label(count.runtime), str(count.size), _millions(whole.total), ratio, *_shares(whole, counts),
             *_costs(whole, counts))
        )  # fmt: skip
    return _without_empty(Table(CASES, rows, 2))


def libraries(count: Count, counts: Counts) -> Table:
    """Of one case, most instructions first."""
    return _without_empty(
        Table(("library", *PARTS), _parts(count.libraries, count.whole.total, counts, len(count.libraries)))
    )


def functions(count: Count, counts: Counts, top: int) -> Table:
    """Of mfedge's own libraries in one case, most instructions first; shares are of the whole inference."""
    return _without_empty(Table(("function", *PARTS), _parts(count.functions, count.whole.total, counts, top)))


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
    core, versions = counts.core, {f"{k} {v}" for count in counts.counts for k, v in count.versions.items()}
    lines = [
        f"# {text.markdown(counts.title)}", "",
        f"One inference, one thread, counted on an emulated {text.markdown(core.title)}. M is a million. Shares are of "
        "the instructions of the row. The cycles are the fewest that such a core can take: no prediction of time.", "",
        *markdown_table(table.columns, table.rows), "",
        *(f"- {text.markdown(f'{f.model} in {f.runtime} at {f.size}: {f.message}')}" for f in counts.failures),
        *([""] if counts.failures else []),
        f"Counted with {text.markdown(', '.join(sorted(versions)))}.", "",
        f"The core's numbers are from: {text.markdown('; '.join(core.sources))}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _without_empty(table: Table) -> Table:
    """Without the columns of classes that no row has: few models have a dot product."""
    kept = [i for i, name in enumerate(table.columns) if name not in SHOWN or any(row[i] != NONE for row in table.rows)]
    return Table(
        tuple(table.columns[i] for i in kept), [tuple(row[i] for i in kept) for row in table.rows], table.texts
    )


def _parts(rows: Sequence[Row], total: int, counts: Counts, top: int) -> list[tuple[str, ...]]:
    """The first `top` rows that are not tiny, and the others in one."""
    top = min(top, sum(row.total >= LEAST * total for row in rows))
    shown = [*rows[:top], *([added(f"{len(rows) - top} others", rows[top:])] if len(rows) > top else [])]
    return [
        (row.name, _millions(row.total), f"{row.total / total:.1%}", *_shares(row, counts), *_costs(row, counts))
        for row in shown
    ]


def _shares(row: Row, counts: Counts) -> tuple[str, ...]:
    """Of each column's classes in the row's instructions."""
    shares = (sum(_of(row, counts, kind) for kind in kinds) / max(1, row.total) for kinds in SHOWN.values())
    return tuple(f"{share:.0%}" if share else NONE for share in shares)


def _costs(row: Row, counts: Counts) -> tuple[str, ...]:
    found: Bound = bound(row, counts)
    return f"{row.misses[0] / 1e6:.3f}", f"{row.misses[1] / 1e6:.3f}", _millions(found.cycles), found.limit


def _of(row: Row, counts: Counts, kind: Class) -> int:
    """Instructions of one class; 0 of one that the counts do not know."""
    return row.instructions[counts.classes.index(kind)] if kind in counts.classes else 0


def _millions(number: float) -> str:
    return f"{number / 1e6:.1f}" if number >= 1e8 else f"{number / 1e6:.2f}"
