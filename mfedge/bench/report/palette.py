"""Colours: a runtime's own, from its row, the same in every chart; and those of ink and grid."""

from __future__ import annotations

from typing import Any

from mfedge.extras import needing
from mfedge.runtimes.table import RUNTIMES

OTHERS = ("#56B4E9", "#8C6D00", "#444444")
INK, QUIET, GRID = "#222222", "#666666", "#DDDDDD"


def matplotlib() -> Any:
    """The library that draws, told not to look for a screen.

    Raises:
        MissingRuntimeError: it is not installed.
    """
    with needing("charts", "charts"):
        import matplotlib as library
    library.use("Agg")
    return library


def colour(runtime: str, runtimes: tuple[str, ...]) -> str:
    """Of a runtime's lines; one that is not in the table gets a colour of its own too."""
    if runtime in RUNTIMES:
        return RUNTIMES[runtime].colour
    unknown = [name for name in runtimes if name not in RUNTIMES]
    return OTHERS[unknown.index(runtime) % len(OTHERS)]
