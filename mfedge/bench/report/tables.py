"""A summary as a terminal table, Markdown, and CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from mfedge import text
from mfedge.bench.quantities import mebibytes, milliseconds
from mfedge.bench.results.intervals import Interval
from mfedge.bench.results.summary import CaseRow, Summary
from mfedge.runtimes.table import label

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = (
    "size px",
    "runtime",
    "model",
    "median ms",
    "fastest ms",
    "p90 ms",
    "ratio",
    "interval",
    "load ms",
    "peak MiB",
)
CSV_COLUMNS = (
    "model", "runtime", "height", "width", "status", "message", "median_s", "median_low_s", "median_high_s",
    "fastest_s", "p90_s", "samples", "rounds", "ratio", "ratio_low", "ratio_high", "load_s", "peak_rss_bytes",
)  # fmt: skip


def ratio_text(row: CaseRow) -> tuple[str, str]:
    """The ratio and its interval, "1.53×" and "1.50 – 1.56"."""
    if row.ratio is None:
        return "", ""
    between = row.ratio_interval
    return f"{row.ratio:.2f}×", interval_text(between) if between else "too few rounds"


def interval_text(between: Interval) -> str:
    """ "1.50 – 1.56"."""
    return f"{between.low:.2f} – {between.high:.2f}"


def cells(row: CaseRow) -> tuple[str, ...]:
    """One line of the table, in the order of COLUMNS."""
    median = milliseconds(row.median) if row.median is not None or row.status == "unmeasured" else row.status
    if row.median is not None and row.status != "ok":  # it ended before its rounds did
        median = f"{row.status}, {median}"
    return (
        str(row.size), row.runtime, row.model, median, milliseconds(row.fastest), milliseconds(row.p90),
        *ratio_text(row), milliseconds(row.load_seconds), mebibytes(row.peak_rss_bytes),
    )  # fmt: skip


def terminal(summary: Summary) -> Table:
    """For rich."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=None, pad_edge=False)
    for i, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if i in (1, 2) else "right", no_wrap=i != 2)
    last = None
    for row in summary.rows:
        if last not in (None, row.size):
            table.add_section()
        last = row.size
        table.add_row(*cells(row))
    return table


def statements(summary: Summary) -> list[str]:
    """The crossovers, as sentences."""
    lines = []
    for row in summary.crossovers:
        found = row.crossover
        span = f"{found.smallest:.0f} to {found.largest:.0f} px"
        doubt = str(found).partition(" px")[2].strip() if found.kind != "at" else ""
        if found.kind == "at":
            where = f"from {found}".replace(" px (", " px on (")
        else:
            where = f"{'at no size' if found.kind == 'none' else 'at every size'} from {span} {doubt}".strip()
        lines.append(f"{label(row.runtime)}: {row.model} is at least as fast as {summary.reference} {where}")
    return lines


def markdown(summary: Summary) -> str:
    """Ratios by runtime and size first, then every case."""
    lines = [f"# {text.markdown(summary.title)}", ""]
    lines += [f"> **{text.markdown(line)}**\n>" for line in summary.warnings]
    lines += [f"- {text.markdown(line)}" for line in statements(summary)]
    for model in summary.models:
        if model != summary.reference and any(row.ratio is not None for row in summary.rows if row.model == model):
            title = f"{model} / {summary.reference}, same round; below 1 is faster"
            lines += ["", text.markdown(title), ""]
            lines += markdown_table(("size px", *summary.runtimes), _ratio_rows(summary, model))
    for model in dict.fromkeys(row.model for row in summary.bests):
        title = f"{model} / the fastest {summary.reference} of any runtime, same round; below 1 is faster"
        lines += ["", text.markdown(title), ""]
        lines += markdown_table(("size px", *summary.runtimes, "fastest"), _best_rows(summary, model))
    lines += ["", *markdown_table(COLUMNS, [cells(row) for row in summary.rows]), ""]
    lines += [f"- {mark(check.fair)} {text.markdown(check.text)}" for check in summary.fairness]
    lines += ["", f"Measured for {summary.seconds:.0f} s; {text.markdown(summary.ended)}.", ""]
    return "\n".join(lines)


def to_csv(summary: Summary) -> str:
    """One line per case, SI units. What a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in summary.rows:
        between, ratio = row.interval, row.ratio_interval
        writer.writerow([
            text.csv(row.model), text.csv(row.runtime), row.size.height, row.size.width, row.status,
            text.csv(row.message), row.median,
            between and between.low, between and between.high, row.fastest, row.p90, row.samples, row.rounds,
            row.ratio, ratio and ratio.low, ratio and ratio.high, row.load_seconds, row.peak_rss_bytes,
        ])  # fmt: skip
    return out.getvalue()


def _ratio_rows(summary: Summary, model: str) -> list[tuple[str, ...]]:
    rows = []
    mine = {(row.runtime, row.size): row for row in summary.rows if row.model == model}
    for size in summary.sizes:
        found = [mine.get((runtime, size)) for runtime in summary.runtimes]
        cells = [" ".join(ratio_text(row)).strip() if row else "" for row in found]
        rows.append((str(size), *(cell.replace("× ", "× (") + ")" if "× " in cell else cell for cell in cells)))
    return rows


def _best_rows(summary: Summary, model: str) -> list[tuple[str, ...]]:
    rows = []
    for size in summary.sizes:
        found = {row.runtime: row for row in summary.bests if (row.model, row.size) == (model, size)}
        texts = [
            f"{row.ratio:.2f}×" + (f" ({interval_text(row.interval)})" if row.interval else "") if row else ""
            for row in (found.get(runtime) for runtime in summary.runtimes)
        ]
        rows.append((str(size), *texts, next((label(row.reference_runtime) for row in found.values()), "")))
    return rows


def markdown_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a table, whose cells are text and cannot leave it."""
    names, *lines = ["| " + " | ".join(map(text.markdown, row)) + " |" for row in (header, *rows)]
    return [names, "|" + "---|" * len(header), *lines]


def mark(fair: bool | None) -> str:
    return {True: "✓", False: "✗", None: "?"}[fair]
