"""Where the words of a chart stand: near what they name, and on nothing."""

from __future__ import annotations

from collections.abc import Sequence


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least `gap` apart and as near to those wanted as can be, by the sum of squares.

    The places are of one axis, and have the order of those wanted. Neighbours that would touch share a block, which
    stands where the mean of their wishes is (isotonic regression by pooling adjacent violators).

    Args:
        wanted: a place for each label.
        gap: between two neighbours.
        low, high: ends of the axis, which hold the labels if there is room for all.
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    blocks: list[tuple[float, int]] = []  # mean of (wish − rank · gap), members
    for rank, i in enumerate(order):
        mean, members = wanted[i] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, members = (other * count + mean * members) / (count + members), members + count
        blocks.append((mean, members))
    last = high - max(0, len(wanted) - 1) * gap
    starts = [max(low, min(mean, last)) for mean, members in blocks for _ in range(members)]
    places = [0.0] * len(wanted)
    for rank, (i, start) in enumerate(zip(order, starts, strict=True)):
        places[i] = start + rank * gap
    return places


def fitting(places: Sequence[float], widths: Sequence[float], first: Sequence[int]) -> list[int]:
    """Labels beneath an axis that do not touch: those asked for first, then the others from left to right.

    Args:
        places: centres of the labels, in the unit of `widths`.
        widths: of the labels, the gap between two included.
        first: numbers of the labels that matter most, most important first.

    Returns:
        Their numbers, from left to right.
    """
    kept: list[int] = []
    for i in dict.fromkeys([*first, *range(len(places))]):
        if all(abs(places[i] - places[j]) >= (widths[i] + widths[j]) / 2 for j in kept):
            kept.append(i)
    return sorted(kept, key=lambda i: places[i])
