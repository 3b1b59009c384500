"""The roofline chart: multiply-adds per second that each part reaches, against multiply-adds per byte that it moves."""

from __future__ import annotations

import textwrap
from typing import Any

from mfedge import text
from mfedge.bench.profile.parts import order
from mfedge.bench.profile.schema import Profile, shares
from mfedge.bench.report.palette import DESKTOP, INK, QUIET, Page, drawing, frame, model_name, runtime_name, saved

COLOURS = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#1B4F72", "#56B4E9", "#8C6D00", "#888888",
)  # fmt: skip
MARKERS = "oosD^v*PXd"
MOST_PARTS = 24  # that are drawn; a stored profile may have any


def draw(profile: Profile, page: Page = DESKTOP) -> dict[str, bytes]:
    """ "svg" and "png" bytes; one dot per part, whose area is its share of the time.

    Raises:
        MissingRuntimeError: nothing can be drawn.
    """
    with drawing():
        from matplotlib import pyplot

        found = [s for s in shares(profile, "part") if s.seconds and s.madds and s.bytes][:MOST_PARTS]
        height = 4.4 + 0.2 * len(found) if page.narrow else 4.6
        figure, axes = pyplot.subplots(figsize=(page.width, height), layout="constrained")
        _roof(axes, profile)
        total = sum(operator.seconds or 0.0 for operator in profile.operators) or 1.0
        for share in found:
            i = order().index(share.name) % len(MARKERS) if share.name in order() else len(MARKERS) - 1
            part = (share.seconds or 0.0) / total
            axes.scatter([share.madds / share.bytes], [share.madds / (share.seconds or 1) / 1e9], s=30 + 900 * part,
                         color=COLOURS[i], marker=MARKERS[i], alpha=0.85, edgecolor="white", zorder=3,
                         label=f"{text.line(share.name, text.NAME)}, {part:.0%} of the time")  # fmt: skip
        where: Any = "outside lower left" if page.narrow else "outside right center"
        legend = figure.legend(loc=where, frameon=False, fontsize=9)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set(sizes=[45])
        title = f"{model_name(profile.model)}, {runtime_name(profile.runtime)}, {profile.size} px"
        figure.suptitle(textwrap.fill(title, page.letters // 2), x=0.01, ha="left", fontsize=11, fontweight="bold")
        return saved(figure)


def _roof(axes: Any, profile: Profile) -> None:
    """What the core can reach: bandwidth on the left, arithmetic on the right."""
    peak, bandwidth = profile.machine.madds_per_second / 1e9, profile.machine.bytes_per_second / 1e9
    found = [s for s in shares(profile, "part") if s.seconds and s.madds and s.bytes]
    intensities = [s.madds / s.bytes for s in found] or [1.0]
    low, high = min(0.05, *intensities) / 2, max(50.0, *intensities) * 2
    knee = peak / bandwidth
    axes.plot([low, knee, high], [low * bandwidth, peak, peak], color=INK, linewidth=1.4, zorder=2)
    axes.annotate(f"{peak:.0f} GMAdds/s, measured", (high, peak), (-4, 4), textcoords="offset points", ha="right",
                  fontsize=8, color=QUIET)  # fmt: skip
    axes.annotate(f"{bandwidth:.0f} GB/s memory, measured", (low * 1.3, low * 1.3 * bandwidth), (4, -12),
                  textcoords="offset points", fontsize=8, color=QUIET)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_xlabel("multiply-adds per byte read or written")
    axes.set_ylabel("G multiply-adds per second")
    frame(axes)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
