"""Instructions per multiply-add, over the multiply-adds of the networks: a panel per size, a line per kind of file."""

from __future__ import annotations

from typing import Any

from mfedge import text
from mfedge.bench.count.schema import Count, Counts
from mfedge.bench.report.palette import DESKTOP, INK, colour, drawing, frame, runtime_name, saved
from mfedge.families.table import family_of_model
from mfedge.sizes import Size

HEIGHT = 4.6  # inches
STROKES: dict[str, tuple[Any, str]] = {  # kind of file → stroke, marker
    "native": ("-", "o"),
    "portable": ((0, (5, 1.5)), "s"),
    "reference": ((0, (2, 1)), "D"),
}


def draw(counts: Counts) -> bytes:
    """The chart as SVG. Deterministic: no dates, no random identifiers.

    Raises:
        MissingRuntimeError: nothing can be drawn.
    """
    sizes = sorted({count.size for count in counts.counts}, key=lambda size: size.pixels)
    with drawing():
        from matplotlib import pyplot

        figure, grid = pyplot.subplots(
            1, len(sizes), figsize=(DESKTOP.width, HEIGHT), sharey=True, layout="constrained", squeeze=False
        )
        panels = list(grid[0])
        for axes, size in zip(panels, sizes, strict=True):
            _panel(axes, counts, size)
        panels[0].set_ylabel("instructions per multiply-add of the network")
        panels[0].set_ylim(bottom=0)
        _legends(panels, counts)
        title = f"Instructions of one inference, emulated {text.line(counts.core.title, text.NAME)}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
        return saved(figure)["svg"]


def kind(count: Count) -> str:
    """What a line joins: "native" and "portable" files of networks, and those of the reference's family."""
    family = family_of_model(count.model)
    return "reference" if family is not None and family.reference else count.kernels


def _panel(axes: Any, counts: Counts, size: Size) -> None:
    """One size: a line per runtime and kind of file, points by multiply-adds."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    runtimes = _runtimes(counts)
    found = [count for count in counts.counts if count.size == size and count.madds]
    for runtime in runtimes:
        for name, (stroke, marker) in STROKES.items():
            line = sorted((c.madds or 0, c.whole.total) for c in found if c.runtime == runtime and kind(c) == name)
            axes.plot(
                [madds / 1e6 for madds, _ in line], [total / madds for madds, total in line], linestyle=stroke,
                color=colour(runtime, runtimes), marker=marker, markersize=4, linewidth=1.6,
                markerfacecolor="white" if name == "reference" else None,
            )  # fmt: skip
    axes.set_xscale("log")
    madds = sorted({(count.madds or 0) / 1e6 for count in found})
    ticks = [
        tick
        for tick in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
        if madds and madds[0] / 1.5 < tick < madds[-1] * 1.5
    ]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("million multiply-adds")
    axes.set_title(f"{size} px", fontsize=10)
    frame(axes)


def _legends(panels: list[Any], counts: Counts) -> None:
    """Colours in the first panel, strokes in the last."""
    from matplotlib.lines import Line2D

    runtimes, reference = _runtimes(counts), counts.reference
    family = None if reference is None else family_of_model(reference)
    names = {"native": "Mobile-Former, native", "portable": "Mobile-Former, portable",
             "reference": "reference" if family is None else family.label}  # fmt: skip
    colours = [Line2D([], [], color=colour(r, runtimes), linewidth=3, label=runtime_name(r)) for r in runtimes]
    strokes = [
        Line2D([], [], color=INK, linestyle=stroke, marker=marker, markersize=4, label=names[name],
               markerfacecolor="white" if name == "reference" else None)
        for name, (stroke, marker) in STROKES.items() if any(kind(count) == name for count in counts.counts)
    ]  # fmt: skip
    first = panels[0].legend(handles=colours, loc="lower left", frameon=False, fontsize=9)
    panels[0].add_artist(first)
    panels[-1].legend(handles=strokes, loc="lower left", frameon=False, fontsize=9, handlelength=3.2)


def _runtimes(counts: Counts) -> tuple[str, ...]:
    return tuple(dict.fromkeys(count.runtime for count in counts.counts))
