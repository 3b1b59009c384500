"""The roofline chart: multiply-adds per second that each part reaches, against multiply-adds per byte that it moves."""

from __future__ import annotations

import io
from typing import Any

from mfedge.bench.profile.parts import order
from mfedge.bench.profile.schema import Profile, shares
from mfedge.bench.report.palette import GRID, INK, QUIET, matplotlib

COLOURS = (
    "#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#1B4F72", "#56B4E9", "#8C6D00", "#888888",
)  # fmt: skip
MARKERS = "oosD^v*PXd"
DPI = 160


def draw(profile: Profile) -> dict[str, bytes]:
    """ "svg" and "png" bytes; one dot per part, whose area is its share of the time."""
    library = matplotlib()
    from matplotlib import pyplot

    style: dict[Any, Any] = {"svg.hashsalt": "mfedge", "font.size": 10, "text.color": INK, "axes.labelcolor": INK}
    with library.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(8.6, 4.6), layout="constrained")
        _roof(axes, profile)
        found = [s for s in shares(profile, "part") if s.seconds and s.madds and s.bytes]
        total = sum(operator.seconds or 0.0 for operator in profile.operators) or 1.0
        for share in found:
            i = order().index(share.name) % len(MARKERS) if share.name in order() else len(MARKERS) - 1
            part = (share.seconds or 0.0) / total
            axes.scatter([share.madds / share.bytes], [share.madds / (share.seconds or 1) / 1e9], s=30 + 900 * part,
                         color=COLOURS[i], marker=MARKERS[i], alpha=0.85, edgecolor="white", zorder=3,
                         label=f"{share.name}, {part:.0%} of the time")  # fmt: skip
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
        for handle in legend.legend_handles:
            if handle is not None:
                handle.set(sizes=[45])
        axes.set_title(
            f"{profile.model}, {profile.runtime}, {profile.size} px", loc="left", fontsize=11, fontweight="bold"
        )
        files = {}
        for kind in ("svg", "png"):
            buffer = io.BytesIO()
            metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
            figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata, facecolor="white")
            files[kind] = buffer.getvalue()
        pyplot.close(figure)
    return files


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
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
