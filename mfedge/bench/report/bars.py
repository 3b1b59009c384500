"""The chart of one size: a bar per model and runtime, with its numbers beside it."""

from __future__ import annotations

from typing import Any

from mfedge.bench.quantities import milliseconds
from mfedge.bench.report.palette import INK, MOST_LINES, QUIET, Page, colour, frame, model_name, runtime_name
from mfedge.bench.report.tables import ratio_text
from mfedge.bench.results.summary import CaseRow, Summary

BAR = 0.3  # inches from one to the next
NAME = 32  # letters of a name left of its bar


def draw(summary: Summary, page: Page) -> tuple[Any, Any]:
    """The figure and its axes: milliseconds from zero; the reference's bars are pale, as the others are held to it."""
    from matplotlib import pyplot

    order = {runtime: i for i, runtime in enumerate(summary.runtimes)}
    rows = sorted(summary.rows, key=lambda row: (order[row.runtime], row.size, row.model == summary.reference))
    rows = rows[:MOST_LINES]
    groups = list(dict.fromkeys(row.runtime for row in rows))
    tall = 2 * BAR if page.narrow else BAR  # on a phone the numbers stand below the name
    height = 1.2 + BAR * len(groups) + tall * len(rows)
    figure, axes = pyplot.subplots(figsize=(page.width, max(2.2, height)), layout="constrained")
    largest = max((row.median for row in rows if row.median is not None), default=1e-3)
    axes.set_xlim(0, 1e3 * largest * (1.12 if page.narrow else 1.7 if any(row.ratio for row in rows) else 1.25))
    place = 0.0
    for runtime in groups:
        shade = colour(runtime, summary.runtimes)
        axes.annotate(runtime_name(runtime), (0, place), (0, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", fontweight="bold", color=shade)  # fmt: skip
        place += 0.5 * (BAR + tall)
        for row in (row for row in rows if row.runtime == runtime):
            _bar(axes, row, place, tall, shade, row.model == summary.reference, len(summary.sizes) > 1, page)
            place += tall
        place += 0.5 * (BAR - tall) + 0.5 * BAR
    axes.set_ylim(place - 0.2, -0.25)
    axes.set_yticks([])
    axes.set_xlabel(_what_is_drawn(rows, summary, page), fontsize=8 if page.narrow else 9)
    frame(axes, along="x")
    axes.spines[["left"]].set_visible(False)
    return figure, axes


def _what_is_drawn(rows: list[CaseRow], summary: Summary, page: Page) -> str:
    """Below the axis: what bar, line and ratio are."""
    said = ["latency, ms: the bar is the median, the line its interval"]
    if any(row.ratio for row in rows):
        said.append(f"× is the ratio to {model_name(summary.reference or '', page.name)}")
    return ("\n" if page.narrow else "; ").join(said)


def _bar(
    axes: Any, row: CaseRow, place: float, tall: float, shade: str, reference: bool, sized: bool, page: Page
) -> None:
    """One bar; its name left of it, or on a phone above it, its numbers at its end."""
    name = model_name(row.model, page.name if page.narrow else NAME) + (f" at {row.size}" if sized else "")
    middle = place + (0.25 * tall if page.narrow else 0.0)
    numbers = row.status
    end = 0.0
    if row.median is not None:
        end = 1e3 * max(row.median, row.interval.high if row.interval else 0.0)
        end = min(end, axes.get_xlim()[1])
        axes.barh(middle, 1e3 * row.median, height=0.62 * BAR, color=shade, alpha=0.35 if reference else 0.9)
        if row.interval is not None:
            interval = 1e3 * row.interval.low, min(1e3 * row.interval.high, axes.get_xlim()[1])
            axes.plot(interval, (middle, middle), color=INK, linewidth=1)
        ratio, between = ratio_text(row)
        numbers = f"{milliseconds(row.median)} ms" + (f"   {ratio} ({between})" if ratio else "")
        numbers += f", {row.status}" if row.status != "ok" else ""
    if page.narrow:
        axes.annotate(f"{name}: {numbers}", (0, place - 0.22 * tall), (0, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", fontsize=8)  # fmt: skip
        return
    axes.annotate(name, (0, middle), (-6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                  ha="right", va="center", fontsize=9, annotation_clip=False)  # fmt: skip
    axes.annotate(numbers, (end, middle), (5, 0), textcoords="offset points", va="center", fontsize=9,
                  color=QUIET if reference else INK)  # fmt: skip
