"""The chart of a result: curves over the input size, or bars where one size was measured."""

from __future__ import annotations

import textwrap
from typing import Any

from mfedge import text
from mfedge.bench.report import bars, curves
from mfedge.bench.report.palette import DESKTOP, INK, MOST_LINES, WARNING, Page, drawing, saved
from mfedge.bench.results.summary import Summary


def draw(summary: Summary, page: Page = DESKTOP) -> dict[str, bytes]:
    """The chart as "svg" and "png" bytes. Deterministic: no dates, no random identifiers.

    Args:
        summary: of a result. Of more than 48 lines or bars the first are drawn, and the chart says so.
        page: the width that it is read at.

    Raises:
        MissingRuntimeError: nothing can be drawn.
    """
    with drawing():
        sides = {row.size.side for row in summary.rows if row.median is not None}
        figure, top = (curves if len(sides) > 1 else bars).draw(summary, page)
        _heading(figure, top, summary, page)
        return saved(figure)


def _heading(figure: Any, top: Any, summary: Summary, page: Page) -> None:
    """The title, and below it what a reader must know first."""
    sizes = "over input size" if len(summary.sizes) > 1 else f"at {summary.sizes[0]} px" if summary.sizes else ""
    title = textwrap.fill(f"Single-thread CPU latency, batch 1, {sizes}", page.letters // 2 + 8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    notes = [text.line(line) for line in summary.warnings[:1]]
    lines = len(summary.models) * len(summary.runtimes)
    if lines > MOST_LINES:
        notes.append(f"{MOST_LINES} of {lines} pairs of a model and a runtime are drawn; the tables have all.")
    filled = [textwrap.fill(note, page.letters, max_lines=3, placeholder=" …") for note in notes]
    if filled:
        top.set_title("\n".join(filled), loc="left", fontsize=8, color=WARNING)
