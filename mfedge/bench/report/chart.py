"""The crossover chart: latency against size per runtime, the ratio with its band below, the paper's figure marked."""

from __future__ import annotations

import io
import math
import textwrap
from typing import Any

from mfedge.bench.report.palette import GRID, INK, QUIET, colour, matplotlib
from mfedge.bench.results.summary import CaseRow, Summary
from mfedge.families.table import family_of_model
from mfedge.runtimes.table import label

WIDTH, HEIGHT = 8.6, 8.2  # inches; at 110 dots an inch about what a README shows
DPI = 160
MARKERS = ("o", "s", "^", "D")
STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2, 1)), "-.")
TICKS_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
TICKS_RATIO = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10)


def draw(summary: Summary) -> dict[str, bytes]:
    """The chart as "svg" and "png" bytes. Deterministic: no dates, no random identifiers."""
    library = matplotlib()
    from matplotlib import pyplot

    style: dict[Any, Any] = {
        "svg.hashsalt": "mfedge", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10,
        "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
    }  # fmt: skip
    with library.rc_context(style):
        ratios = [row for row in summary.rows if row.ratio is not None]
        if ratios:
            figure, (top, bottom) = pyplot.subplots(
                2, 1, figsize=(WIDTH, HEIGHT), sharex=True, height_ratios=(1.15, 1), layout="constrained"
            )
        else:
            figure, top = pyplot.subplots(figsize=(WIDTH, HEIGHT * 0.6), layout="constrained")
            bottom = None
        _latency(top, summary)
        if bottom is not None:
            _ratios(bottom, summary)
        (bottom or top).set_xlabel("input size, pixels a side (height = width)")
        _heading(figure, top, summary)
        files = {}
        for kind in ("svg", "png"):
            buffer = io.BytesIO()
            metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata, facecolor="white")
            files[kind] = buffer.getvalue()
        pyplot.close(figure)
    return files


def _latency(axes: Any, summary: Summary) -> None:
    """Upper half: milliseconds, logarithmic, one colour per runtime, one stroke per model."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    values = []
    drawn = [r for r in summary.runtimes if any(row.runtime == r and row.median for row in summary.rows)]
    models = _models(summary)
    for runtime in summary.runtimes:
        for m, model in enumerate(models):
            rows = _line(summary, model, runtime)
            rows = [row for row in rows if row.median is not None]
            x, y = [row.size.side for row in rows], [1e3 * (row.median or 0) for row in rows]
            values += y
            axes.plot(
                x, y, color=colour(runtime, summary.runtimes), linestyle=STYLES[m % 4], marker=MARKERS[m % 4],
                markersize=4, linewidth=1.6, markerfacecolor="white" if model == summary.reference else None,
            )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylabel("latency, ms (log scale)")
    axes.yaxis.set_major_locator(FixedLocator(TICKS_MS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    if values:
        axes.set_ylim(min(values) / 1.25, max(values) * 1.25)
    _frame(axes)
    runtimes = [Line2D([], [], color=colour(r, summary.runtimes), linewidth=3, label=label(r)) for r in drawn]
    strokes = [
        Line2D([], [], color=INK, linestyle=STYLES[m % 4], marker=MARKERS[m % 4], markersize=4, label=model,
               markerfacecolor="white" if model == summary.reference else None)
        for m, model in enumerate(models)
    ]  # fmt: skip
    first = axes.legend(handles=runtimes, loc="upper left", frameon=False, fontsize=9)
    axes.add_artist(first)
    axes.legend(handles=strokes, loc="lower right", frameon=False, fontsize=9, handlelength=3.2)


def _ratios(axes: Any, summary: Summary) -> None:
    """Lower half: model / reference within rounds, with its interval, and where it crosses 1."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    others = [model for model in _models(summary) if model != summary.reference]
    ends: list[tuple[float, str, str]] = []
    low, high = 0.95, 1.05
    for runtime in summary.runtimes:
        shade = colour(runtime, summary.runtimes)
        for m, model in enumerate(others):
            rows = [row for row in _line(summary, model, runtime) if row.ratio is not None]
            if not rows:
                continue
            x, y = [row.size.side for row in rows], [row.ratio or 1.0 for row in rows]
            lows = [row.ratio_interval.low if row.ratio_interval else row.ratio or 1.0 for row in rows]
            highs = [row.ratio_interval.high if row.ratio_interval else row.ratio or 1.0 for row in rows]
            axes.fill_between(x, lows, highs, color=shade, alpha=0.2, linewidth=0)
            axes.plot(x, y, color=shade, linestyle=STYLES[m % 4], marker=MARKERS[m % 4], markersize=4, linewidth=1.6)
            low, high = min(low, *lows), max(high, *highs)
            ends.append((y[-1], label(runtime) + (f", {_distinct(model, others)}" if len(others) > 1 else ""), shade))
    axes.set_yscale("log")
    crosses = any(row.crossover.side is not None for row in summary.crossovers)
    span = high / low
    axes.set_ylim(low / span ** (0.16 if crosses else 0.06), high * span**0.06)
    ticks = [t for t in TICKS_RATIO if span < 2.2 or t in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)]
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.axhline(1, color=INK, linewidth=1.1)
    numerator = others[0] if len(others) == 1 else "model"
    axes.set_ylabel(f"{_short(numerator)} / {_short(summary.reference or '')}")
    _frame(axes)
    _paper(axes, summary)
    _end_labels(axes, ends)
    _crossings(axes, summary)
    faster = f"{_short(numerator)} faster ↓" if len(others) == 1 else "faster than the reference ↓"
    # At the end of the line where the other lines leave room for it.
    left, right = (
        min((abs(math.log(row.ratio)) for row in summary.rows if row.ratio and row.size == size), default=1.0)
        for size in (summary.sizes[0], summary.sizes[-1])
    )
    at, align = (0.01, "left") if left >= right else (0.99, "right")
    for text, offset, side in (("reference faster ↑", 3, "bottom"), (faster, -3, "top")):
        axes.annotate(text, (at, 1), (0, offset), xycoords=("axes fraction", "data"), textcoords="offset points",
                      ha=align, va=side, fontsize=8, color=QUIET)  # fmt: skip


def _paper(axes: Any, summary: Summary) -> None:
    """Where the papers say that the measured families overtake the reference."""
    sides = [size.side for size in summary.sizes]
    families = [family_of_model(model) for model in summary.models]
    for pixels in {family.crossover for family in families if family is not None and family.crossover is not None}:
        if sides and sides[0] <= pixels <= sides[-1]:
            axes.axvline(pixels, color=QUIET, linewidth=1.1, linestyle=(0, (1, 2)))
            axes.annotate(f"paper: {pixels} px", (pixels, 1), (4, -4), xycoords=("data", "axes fraction"),
                          textcoords="offset points", va="top", fontsize=8, color=QUIET)  # fmt: skip


def _end_labels(axes: Any, ends: list[tuple[float, str, str]]) -> None:
    """Each line's name at its right end, moved apart where they would touch."""
    from math import exp, log

    bottom, top = map(log, axes.get_ylim())
    gap = (top - bottom) * 0.062
    places: list[float] = []
    for value, _, _ in sorted(ends):
        places.append(max(log(value), places[-1] + gap if places else bottom + gap / 2))
    if places and (over := places[-1] - (top - gap / 2)) > 0:
        places[-1] -= over
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    for (_, name, shade), place in zip(sorted(ends), places, strict=True):
        axes.annotate(name, (1.0, exp(place)), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                      va="center", fontsize=9, color=shade, fontweight="bold", annotation_clip=False)  # fmt: skip


def _crossings(axes: Any, summary: Summary) -> None:
    """A dot where a line crosses 1, its size in pixels at the axis below; labels are stacked where dots are close."""
    found = sorted((row.crossover.side, row) for row in summary.crossovers if row.crossover.side is not None)
    last, level = -1e9, 0
    span = (summary.sizes[-1].side - summary.sizes[0].side) or 1
    for side, row in found:
        shade = colour(row.runtime, summary.runtimes)
        level = level + 1 if side - last < 0.16 * span else 0
        last = side
        place = row.crossover
        ends = place.low or place.smallest, place.high or place.largest
        axes.plot(ends, (1, 1), color=shade, linewidth=5, alpha=0.35, solid_capstyle="butt", zorder=4)
        axes.plot([side], [1], marker="o", markersize=8, color=shade, markeredgecolor="white", zorder=5)
        axes.plot([side, side], [axes.get_ylim()[0], 1], color=shade, linewidth=1, linestyle=(0, (2, 2)), zorder=3)
        axes.annotate(f"{side:.0f} px", (side, 0), (-4, 5 + 13 * level), xycoords=("data", "axes fraction"),
                      textcoords="offset points", ha="right", va="bottom", fontsize=9, color=shade, fontweight="bold",
                      zorder=6, bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1})  # fmt: skip


def _heading(figure: Any, axes: Any, summary: Summary) -> None:
    title = "Single-thread CPU latency, batch 1, over input size"
    warning = textwrap.fill(summary.warnings[0], 118, max_lines=2, placeholder=" …") if summary.warnings else ""
    lines = warning.count("\n") + bool(warning)
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10 + 13 * lines)
    if warning:
        axes.annotate(warning, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", fontsize=8,
                      color="#A33A00", annotation_clip=False)  # fmt: skip


def _frame(axes: Any) -> None:
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _line(summary: Summary, model: str, runtime: str) -> list[CaseRow]:
    """One line of the chart: the square sizes, in order; others have no place on this axis."""
    return [r for r in summary.rows if (r.model, r.runtime) == (model, runtime) and r.size.height == r.size.width]


def _models(summary: Summary) -> list[str]:
    """The reference last, so that solid strokes are the models of interest."""
    return sorted(summary.models, key=lambda model: model == summary.reference)


def _distinct(model: str, models: list[str]) -> str:
    """What tells a model from the others: "native" of "mobile-former-214m-native"; "portable" where nothing is left."""
    shared = min(models, key=len)
    if not all(name.startswith(shared) for name in models):
        return model
    return model[len(shared) :].strip("-") or "portable"


def _short(model: str) -> str:
    """A model's name as its authors write the family's: "Mobile-Former-214m"."""
    family = family_of_model(model)
    return model if family is None else family.label + model[len(family.name) :]
