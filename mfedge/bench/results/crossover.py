"""The smallest size from which a model is at least as fast as the reference (the paper's figure 5).

log(ratio) is interpolated linearly between the two measured sizes around its last change of sign; the interval
comes from the distribution of the ratio at every size. "none in range" and "everywhere" are answers, not failures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from msgspec import Struct

from mfedge.bench.results import intervals as statistics

Groups = Sequence[Sequence[float]]


class Crossover(Struct, frozen=True):
    """Where log(ratio) changes sign for good. Sides in pixels; None is beyond the end of the range on that side."""

    kind: Literal["at", "none", "everywhere"]
    side: float | None  # of kind "at" only
    low: float | None  # lower end of the interval; None: already below the smallest size
    high: float | None  # upper end; None: not within the range
    smallest: float  # the range that was measured
    largest: float
    level: float

    def __str__(self) -> str:
        span = f"{self.smallest:.0f}..{self.largest:.0f} px"
        if self.kind == "none":
            doubt = "" if self.low is None or self.low > self.largest else f" (but it may be from {self.low:.0f} px on)"
            return f"none in {span}{doubt}"
        if self.kind == "everywhere":
            doubt = "" if self.high is None else f" (but it may be from {self.high:.0f} px on only)"
            return f"everywhere in {span}{doubt}"
        low = f"below {self.smallest:.0f}" if self.low is None else f"{self.low:.0f}"
        high = f"beyond {self.largest:.0f}" if self.high is None else f"{self.high:.0f}"
        return f"{self.side:.0f} px ({self.level:.0%} interval {low} to {high})"


def crossover(ratios: Mapping[float, Groups], level: float = statistics.LEVEL) -> Crossover | None:
    """The crossover of one model against the reference in one runtime.

    Args:
        ratios: side in pixels → log(model / reference) of its rounds, grouped by process.

    Returns:
        None if nothing was measured.
    """
    sides = sorted(side for side, groups in ratios.items() if any(len(group) for group in groups))
    if not sides:
        return None
    x = np.array(sides)
    centres = np.array([statistics.centre(ratios[side]) for side in sides])
    resampled = np.stack(
        [statistics.distribution(ratios[side], seed=statistics.SEED + i) for i, side in enumerate(sides)], axis=1
    )
    spread = np.array([sign_change(x, row) for row in resampled])
    # method="lower"/"higher": an infinite end must not be averaged with a finite one
    low = float(np.quantile(spread, (1 - level) / 2, method="lower"))
    high = float(np.quantile(spread, (1 + level) / 2, method="higher"))
    point = sign_change(x, centres)
    kind: Literal["at", "none", "everywhere"] = (
        "none" if point == math.inf else "everywhere" if point == -math.inf else "at"
    )
    return Crossover(
        kind=kind,
        side=point if kind == "at" else None,
        low=min(low, point) if math.isfinite(min(low, point)) else None,
        high=max(high, point) if math.isfinite(max(high, point)) else None,
        smallest=sides[0],
        largest=sides[-1],
        level=level,
    )


def sign_change(x: statistics.Floats, y: statistics.Floats) -> float:
    """The x from which y ≤ 0 up to the end: −∞ if everywhere, +∞ if not even at the end."""
    above = np.flatnonzero(y > 0)
    if len(above) == 0:
        return -math.inf
    last = int(above[-1])
    if last == len(y) - 1:
        return math.inf
    share = y[last] / (y[last] - y[last + 1])
    return float(x[last] + share * (x[last + 1] - x[last]))


def bisect(ratios: Mapping[float, Groups], gap: int = 16, grid: int = 8) -> int | None:
    """The next side to measure on the way to the crossover, or None when its neighbours are within `gap` pixels."""
    sides = sorted(ratios)
    found = crossover(ratios)
    if found is None or found.side is None:
        return None
    below = max(side for side in sides if side <= found.side)
    above = min((side for side in sides if side > found.side), default=below)
    middle = round((below + above) / 2 / grid) * grid
    return middle if above - below > gap and below < middle < above else None
