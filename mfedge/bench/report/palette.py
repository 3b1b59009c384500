"""What every chart shares: colours, strokes, the library that draws, and the two widths that pages are read at.

Foreign names are drawn as text: what matplotlib would take for a formula, ``$…$``, is none here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from mfedge import text
from mfedge.extras import needing
from mfedge.families.table import family_of_model
from mfedge.runtimes.table import RUNTIMES
from mfedge.runtimes.table import label as runtime_label

OTHERS = ("#56B4E9", "#8C6D00", "#444444")
INK, QUIET, GRID, WARNING = "#222222", "#666666", "#DDDDDD", "#A33A00"
# Of models: a marker and a stroke, told apart up to the 52nd.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "d", "*")
STROKES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (2, 1)), "-.")
MOST_LINES = 48  # in one chart; the tables have the others
DPI = 160


class Page(Struct, frozen=True):
    """A width that charts are drawn for, at the size that text has on the page."""

    width: float  # inches
    letters: int  # of a line of small text
    name: int  # letters of a model's name in the legend
    narrow: bool = False


DESKTOP = Page(8.6, 118, text.NAME)
PHONE = Page(4.3, 56, 28, narrow=True)


def matplotlib() -> Any:
    """The library that draws, told not to look for a screen.

    Raises:
        MissingRuntimeError: it is not installed.
    """
    with needing("charts", "charts"):
        import matplotlib as library
    library.use("Agg")
    return library


@contextmanager
def drawing() -> Iterator[None]:
    """The style of every chart.

    Raises:
        MissingRuntimeError: nothing can be drawn.
    """
    style = {
        "svg.hashsalt": "mfedge", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10,
        "axes.edgecolor": QUIET, "axes.labelcolor": INK, "text.color": INK, "xtick.color": INK, "ytick.color": INK,
        "text.parse_math": False, "text.usetex": False,
    }  # fmt: skip
    with matplotlib().rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in a script that the font does not have
        yield


def saved(figure: Any) -> dict[str, bytes]:
    """The figure as "svg" and "png" bytes, closed after. Deterministic: no dates, no random identifiers."""
    from matplotlib import pyplot

    files = {}
    for kind in ("svg", "png"):
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata, facecolor="white")
        files[kind] = buffer.getvalue()
    pyplot.close(figure)
    return files


def colour(runtime: str, runtimes: tuple[str, ...]) -> str:
    """Of a runtime's lines; one that is not in the table gets a colour of its own too."""
    if runtime in RUNTIMES:
        return RUNTIMES[runtime].colour
    unknown = [name for name in runtimes if name not in RUNTIMES]
    return OTHERS[unknown.index(runtime) % len(OTHERS)]


def stroke(model: int, reference: bool) -> dict[str, Any]:
    """Of the lines of the model of this number; the reference's markers are hollow."""
    return {
        "linestyle": STROKES[model % len(STROKES)], "marker": MARKERS[model % len(MARKERS)], "markersize": 4.5,
        "markerfacecolor": "white" if reference else None,
    }  # fmt: skip


def runtime_name(runtime: str) -> str:
    """A runtime's label, as text of a chart."""
    return text.line(runtime_label(runtime), text.NAME)


def model_name(model: str, limit: int = text.NAME) -> str:
    """A model's name as its authors write the family's, "Mobile-Former-214m", as text of a chart."""
    family = family_of_model(model)
    return text.line(model if family is None else family.label + model[len(family.name) :], limit)


def frame(axes: Any, along: str = "both") -> None:
    """A quiet grid, nothing at the top and on the right."""
    axes.grid(True, axis=along, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
