"""The chart over sizes: latency per runtime and model, the ratio to the reference with its band below, the crossovers.

A size that is not square stands where the square of as many pixels does, and is named.
"""

from __future__ import annotations

import math
from typing import Any

from mfedge.bench.report.labels import fitting, spread
from mfedge.bench.report.palette import (
    INK,
    MOST_LINES,
    QUIET,
    Page,
    colour,
    frame,
    model_name,
    runtime_name,
    stroke,
)  # fmt: skip
from mfedge.bench.results.summary import CaseRow, Summary
from mfedge.families.table import family_of_model

TICKS = (1, 2, 5)  # of a decade
MIDDLE = (1, 1.5, 2, 3, 5, 7)
FINE = (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)  # where the axis spans less than one
LABEL = 0.16  # inches from one label to the next below it
CROSSING = 0.65  # inches that a label like "1024 px" takes, with what parts it from its line
AXIS_NAME = 26  # letters of a name beside the axis, which has room for two
MOST_LABELS = 14  # at the ends of lines; of more only the legend tells which is which

Line = tuple[int, str, str, list[CaseRow]]  # number of the model, model, runtime, its cases in the order of sizes


def draw(summary: Summary, page: Page) -> tuple[Any, Any]:
    """The figure and its upper axes."""
    from matplotlib import pyplot

    lines = _lines(summary)
    ratios = [line for line in lines if any(row.ratio is not None for row in line[3])]
    rows = max(len({m for m, *_ in lines}), len({runtime for _, _, runtime, _ in lines}))
    legend = 0.2 * rows
    if ratios:
        figure, (top, bottom) = pyplot.subplots(
            2, 1, figsize=(page.width, 8.2 + legend), sharex=True, height_ratios=(1.15, 1), layout="constrained"
        )
    else:
        figure, top = pyplot.subplots(figsize=(page.width, 4.9 + legend), layout="constrained")
        bottom = None
    _latency(top, lines, summary)
    if bottom is not None:
        _ratios(bottom, ratios, summary, page)
    _sizes(bottom or top, summary, page)
    _legend(figure, lines, summary, page)
    return figure, top


def _lines(summary: Summary) -> list[Line]:
    """What was measured, by model and runtime; the reference last, so that solid strokes are the models of interest."""
    models = sorted(summary.models, key=lambda model: model == summary.reference)
    measured: dict[tuple[str, str], list[CaseRow]] = {}
    for row in sorted(summary.rows, key=lambda row: (row.size.side, row.size)):
        if row.median:
            measured.setdefault((row.model, row.runtime), []).append(row)
    pairs = ((m, model, runtime) for runtime in summary.runtimes for m, model in enumerate(models))
    found = [
        (m, model, runtime, measured[model, runtime]) for m, model, runtime in pairs if (model, runtime) in measured
    ]
    return found[:MOST_LINES]


def _latency(axes: Any, lines: list[Line], summary: Summary) -> None:
    """Upper half: milliseconds, logarithmic, one colour per runtime, one stroke and marker per model."""
    for m, model, runtime, rows in lines:
        axes.plot(
            [row.size.side for row in rows], [1e3 * (row.median or 0.0) for row in rows], linewidth=1.6,
            color=colour(runtime, summary.runtimes), **stroke(m, model == summary.reference),
        )  # fmt: skip
    values = [1e3 * row.median for *_, rows in lines for row in rows if row.median]
    _logarithmic(axes, min(values) / 1.25, max(values) * 1.25, "{:g}")
    axes.set_ylabel("latency, ms (log scale)")
    frame(axes)


def _ratios(axes: Any, lines: list[Line], summary: Summary, page: Page) -> None:
    """Lower half: model / reference within rounds, with its interval, and where it crosses 1."""
    ends: list[tuple[float, float, str, str]] = []
    low, high = 0.95, 1.05
    others = list(dict.fromkeys(model for _, model, _, _ in lines))
    runtimes = list(dict.fromkeys(runtime for _, _, runtime, _ in lines))
    for m, model, runtime, every in lines:
        rows = [row for row in every if row.ratio is not None]
        shade = colour(runtime, summary.runtimes)
        x, y = [row.size.side for row in rows], [row.ratio or 1.0 for row in rows]
        lows = [row.ratio_interval.low if row.ratio_interval else row.ratio or 1.0 for row in rows]
        highs = [row.ratio_interval.high if row.ratio_interval else row.ratio or 1.0 for row in rows]
        axes.fill_between(x, lows, highs, color=shade, alpha=0.2, linewidth=0)
        axes.plot(x, y, color=shade, linewidth=1.6, **stroke(m, reference=False))
        # A band without an end would hide the lines.
        low, high = (
            min(low, *y, *(end for end in lows if end > min(y) / 4)),
            max(high, *y, *(e for e in highs if e < max(y) * 4)),
        )
        ends.append((x[-1], y[-1], _end_name(runtime, model, runtimes, others), shade))
    span = high / low
    crosses = any(row.crossover.side is not None for row in summary.crossovers)
    _logarithmic(axes, low / span ** (0.16 if crosses else 0.06), high * span**0.06, "{:g}×")
    axes.axhline(1, color=INK, linewidth=1.1)
    numerator = model_name(others[0], AXIS_NAME) if len(others) == 1 else "model"
    axes.set_ylabel(f"{numerator} / {model_name(summary.reference or '', AXIS_NAME)}\nbelow 1: faster", fontsize=9)
    frame(axes)
    _paper(axes, summary)
    if not page.narrow and len(ends) <= MOST_LABELS:
        _end_labels(axes, ends)
    _crossings(axes, summary, page)


def _logarithmic(axes: Any, low: float, high: float, form: str) -> None:
    """A logarithmic axis of these ends, with as many round ticks as it has room for."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_yscale("log")
    axes.set_ylim(low, high)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = FINE if high / low < 3 else MIDDLE if high / low < 20 else TICKS if high / low < 1e4 else (1,)
    ticks = [step * 10.0**decade for decade in decades for step in steps]
    inside = [tick for tick in ticks if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(inside[:: 1 + len(inside) // 14]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: form.format(value)))
    axes.yaxis.set_minor_locator(NullLocator())


def _sizes(axes: Any, summary: Summary, page: Page) -> None:
    """The measured sizes at the axis, as many as there is room for: the ends, then those that are not square."""
    sides: dict[float, list[str]] = {}
    for size in summary.sizes:
        sides.setdefault(size.side, []).append(str(size))
    places, names = sorted(sides), [", ".join(sides[side][:2]) for side in sorted(sides)]
    inches = _inches(summary, page)
    odd = [i for i, name in enumerate(names) if "x" in name]
    widths = [0.09 * len(name) + 0.1 for name in names]
    shown = fitting([place * inches for place in places], widths, [0, len(places) - 1, *odd])
    axes.set_xticks([places[i] for i in shown], [names[i] for i in shown])
    odd_ones = "height x width stands at the square of as many pixels" if odd else ""
    join = "" if not odd else "\n" if page.narrow else "; "
    axes.set_xlabel(f"input size, pixels a side{join}{odd_ones}", fontsize=8 if page.narrow else 10)


def _inches(summary: Summary, page: Page) -> float:
    """Of the axis per pixel of a side, at least."""
    sides = [size.side for size in summary.sizes]
    return (page.width - (1.2 if page.narrow else 2.8)) / ((max(sides) - min(sides)) or 1.0)


def _legend(figure: Any, lines: list[Line], summary: Summary, page: Page) -> None:
    """Below everything: colours are runtimes, strokes are models."""
    from matplotlib.lines import Line2D

    runtimes = [
        Line2D([], [], color=colour(runtime, summary.runtimes), linewidth=3)
        for runtime in dict.fromkeys(runtime for _, _, runtime, _ in lines)
    ]
    models = {model: m for m, model, _, _ in sorted(lines)}
    strokes = [Line2D([], [], color=INK, **stroke(m, model == summary.reference)) for model, m in models.items()]
    names = [runtime_name(runtime) for runtime in dict.fromkeys(runtime for _, _, runtime, _ in lines)]
    rows = max(len(runtimes), len(strokes))
    empty = Line2D([], [], linestyle="none")
    handles = [*runtimes, *[empty] * (rows - len(runtimes)), *strokes, *[empty] * (rows - len(strokes))]
    labels = [
        *names,
        *[""] * (rows - len(names)),
        *(model_name(model, page.name) for model in models),
        *[""] * (rows - len(models)),
    ]
    space = (
        {"fontsize": 8, "handlelength": 2.6, "columnspacing": 1}
        if page.narrow
        else {"fontsize": 9, "handlelength": 3.2}
    )
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, **space)


def _paper(axes: Any, summary: Summary) -> None:
    """Where the papers say that the measured families overtake the reference; named above the axes."""
    sides = sorted(size.side for size in summary.sizes)
    families = [family_of_model(model) for model in summary.models]
    for pixels in {family.crossover for family in families if family is not None and family.crossover is not None}:
        if sides and sides[0] <= pixels <= sides[-1]:
            axes.axvline(pixels, color=QUIET, linewidth=1.1, linestyle=(0, (1, 2)))
            axes.annotate(f"paper: {pixels} px", (pixels, 1), (0, 2), xycoords=("data", "axes fraction"), ha="center",
                          textcoords="offset points", va="bottom", fontsize=8, color=QUIET)  # fmt: skip


def _end_labels(axes: Any, ends: list[tuple[float, float, str, str]]) -> None:
    """Each line's name at its right end, as near as the others let it, with a thin line from one to the other."""
    bottom, top = map(math.log, axes.get_ylim())
    gap = (top - bottom) * LABEL / (axes.get_window_extent().height / axes.figure.dpi)
    places = spread([math.log(y) for _, y, _, _ in ends], gap, bottom + gap / 2, top - gap / 2)
    for (x, y, name, shade), place in zip(ends, places, strict=True):
        axes.annotate(name, (x, y), (1.03, math.exp(place)), textcoords=("axes fraction", "data"), va="center",
                      fontsize=9, color=shade, fontweight="bold", annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": shade, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 3,
                                  "relpos": (0, 0.5)})  # fmt: skip


def _crossings(axes: Any, summary: Summary, page: Page) -> None:
    """A dot where a line crosses 1, its size in pixels at the axis below, on the lowest level where it has room."""
    crossed = [(row.crossover.side, row) for row in summary.crossovers if row.crossover.side is not None]
    found = sorted(crossed, key=lambda pair: pair[0])  # two models may cross at the same size
    span, inches = (summary.sizes[-1].side - summary.sizes[0].side) or 1, _inches(summary, page)
    levels: list[list[float]] = []  # centres of the labels, inches
    for side, row in found:
        shade = colour(row.runtime, summary.runtimes)
        place = row.crossover
        ends = place.low or place.smallest, place.high or place.largest
        axes.plot(ends, (1, 1), color=shade, linewidth=5, alpha=0.35, solid_capstyle="butt", zorder=4)
        axes.plot([side], [1], marker="o", markersize=8, color=shade, markeredgecolor="white", zorder=5)
        axes.plot([side, side], [axes.get_ylim()[0], 1], color=shade, linewidth=1, linestyle=(0, (2, 2)), zorder=3)
        if len(found) > MOST_LABELS:
            continue
        left = side - axes.get_xlim()[0] > 0.25 * span  # of its line, unless the axis is there
        centre = side * inches + (-0.5 if left else 0.5) * CROSSING
        level = next((i for i, of in enumerate(levels) if all(abs(centre - c) > CROSSING for c in of)), len(levels))
        levels += [[]] * (level == len(levels))
        levels[level] = [*levels[level], centre]
        axes.annotate(f"{side:.0f} px", (side, 0), (-4 if left else 4, 5 + 13 * level),
                      xycoords=("data", "axes fraction"), textcoords="offset points", ha="right" if left else "left",
                      va="bottom", fontsize=9, color=shade, fontweight="bold",
                      zorder=6, bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1})  # fmt: skip


def _end_name(runtime: str, model: str, runtimes: list[str], models: list[str]) -> str:
    """Of a line: its runtime, its model, or both, by what there are several of."""
    if len(models) == 1:
        return runtime_name(runtime)
    return _distinct(model, models) if len(runtimes) == 1 else f"{runtime_name(runtime)}, {_distinct(model, models)}"


def _distinct(model: str, models: list[str]) -> str:
    """What tells a model from the others: "native" of "mobile-former-214m-native"; "portable" where nothing is left."""
    shared = min(models, key=len)
    if not all(name.startswith(shared) for name in models):
        return model_name(model)
    return model_name(model[len(shared) :].strip("-") or "portable")
