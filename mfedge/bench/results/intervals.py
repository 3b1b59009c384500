"""What is concluded from raw samples: medians, bootstrap intervals, Holm's correction. Nothing is thrown away.

Ratios are taken within a round (both models a moment apart), in logarithms, so that a/b and b/a are one statement.
A list of groups is a list of processes, each with its rounds: intervals resample processes first, then rounds,
because two rounds of one process share its memory layout and are not independent. The bench runs only a few processes,
too few for a bootstrap; it uses Student's t on their medians.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

LEVEL = 0.95  # of every interval unless said otherwise
RESAMPLES = 4000
SEED = 20210812  # of the resampling: the same result file gives the same report
FEWEST_ROUNDS = 6  # below it the median's 95 % interval cannot be had at all: 2 · 0.5⁶ = 3 %, 2 · 0.5⁵ = 6 %
FEWEST_FOR_P90 = 64
LARGEST_LOG = 709.0  # of a float64: two processes that disagree by far have an interval without an end

Floats = NDArray[np.float64]
Round = tuple[int, int]  # process, round within it


class Interval(Struct, frozen=True):
    """An estimate and the interval around it, in the unit of the values."""

    estimate: float
    low: float
    high: float
    level: float
    rounds: int

    @property
    def width(self) -> float:
        """The farther end's distance from the estimate, relative to it: what ±3 % speaks of."""
        return (
            max(self.high - self.estimate, self.estimate - self.low) / abs(self.estimate) if self.estimate else math.inf
        )

    def exp(self) -> Interval:
        """From logarithms to ratios."""
        estimate, low, high = (math.exp(min(value, LARGEST_LOG)) for value in (self.estimate, self.low, self.high))
        return Interval(estimate, low, high, self.level, self.rounds)


def p90(samples: Sequence[float]) -> float | None:
    """The 90th percentile, or None below 64 samples: fewer do not know it."""
    return float(np.percentile(samples, 90)) if len(samples) >= FEWEST_FOR_P90 else None


def log_ratios(numerator: Mapping[Round, float], denominator: Mapping[Round, float]) -> list[list[float]]:
    """log(numerator / denominator) of every round that has both, grouped by process, in order.

    Args:
        numerator, denominator: (process, round) → seconds of one visit, all positive.
    """
    groups: dict[int, list[float]] = {}
    for process, index in sorted(numerator.keys() & denominator.keys()):
        value = math.log(numerator[process, index] / denominator[process, index])
        groups.setdefault(process, []).append(value)
    return list(groups.values())


def resampled_medians(groups: Sequence[Sequence[float]], resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """The bootstrap distribution of the median. Resamples processes, then rounds; each process weighs the same.

    Raises:
        ValueError: no values.
    """
    filled = [np.asarray(group, dtype=np.float64) for group in groups if len(group)]
    if not filled:
        raise ValueError("no rounds to resample")
    generator = np.random.default_rng(seed)
    if len(filled) == 1:
        drawn = filled[0][generator.integers(len(filled[0]), size=(resamples, len(filled[0])))]
        return np.asarray(np.median(drawn, axis=1), dtype=np.float64)
    counts = np.array([len(group) for group in filled])
    table = np.zeros((len(filled), counts.max()))
    for row, group in enumerate(filled):
        table[row, : len(group)] = group
    processes = generator.integers(len(filled), size=(resamples, len(filled)))
    uniform = generator.random((resamples, len(filled), int(counts.max())))
    rounds = (uniform * counts[processes][:, :, None]).astype(np.intp)
    drawn = table[processes[:, :, None], rounds]
    return np.asarray(np.median(drawn.reshape(resamples, -1), axis=1), dtype=np.float64)


def median(groups: Sequence[Sequence[float]]) -> float:
    """The median of all values."""
    return float(np.median(np.concatenate([np.asarray(group, dtype=np.float64) for group in groups])))


def centre(groups: Sequence[Sequence[float]]) -> float:
    """The mean of the processes' medians: the median, if there is one process."""
    return float(np.mean(_medians(groups)))


def distribution(groups: Sequence[Sequence[float]], seed: int = SEED) -> Floats:
    """Where the centre may be, RESAMPLES draws: Student's t of several processes, the bootstrap of one's rounds."""
    medians = _medians(groups)
    if len(medians) < 2:
        return resampled_medians(groups, seed=seed)
    draws = np.random.default_rng(seed).standard_t(len(medians) - 1, RESAMPLES)
    return np.asarray(np.mean(medians) + draws * _standard_error(medians), dtype=np.float64)


def _medians(groups: Sequence[Sequence[float]]) -> list[float]:
    """Of every process that measured anything."""
    return [float(np.median(group)) for group in groups if len(group)]


def interval(groups: Sequence[Sequence[float]], level: float = LEVEL, seed: int = SEED) -> Interval | None:
    """The centre and its interval, or None below six rounds, which cannot carry one.

    Of several processes it is Student's t over their medians. One process has its rounds bootstrapped, which says
    nothing of any other process.
    """
    rounds = sum(len(group) for group in groups)
    if rounds < FEWEST_ROUNDS:
        return None
    medians = _medians(groups)
    if len(medians) < 2:
        return bootstrap(groups, level, seed)
    middle = float(np.mean(medians))
    reach = student_t(level, len(medians) - 1) * _standard_error(medians)
    return Interval(middle, middle - reach, middle + reach, level, rounds)


def bootstrap(groups: Sequence[Sequence[float]], level: float = LEVEL, seed: int = SEED) -> Interval | None:
    """The median and its percentile-bootstrap interval over processes and rounds, or None below six rounds."""
    rounds = sum(len(group) for group in groups)
    if rounds < FEWEST_ROUNDS:
        return None
    medians = resampled_medians(groups, seed=seed)
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    estimate = median(groups)
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate), level, rounds)


def p_value_above(groups: Sequence[Sequence[float]], limit: float, seed: int = SEED) -> float:
    """One-sided bootstrap p value of "the median is at most `limit`": small when it is clearly above."""
    medians = resampled_medians(groups, seed=seed)
    return float((np.count_nonzero(medians <= limit) + 1) / (len(medians) + 1))


def student_t(level: float, freedom: int) -> float:
    """The t that |T| stays below with probability `level`, T of Student's distribution.

    By bisection on the angle atan(t / √freedom), for which the probability is a finite sum (Abramowitz and Stegun,
    26.7.3 and 26.7.4): no library of special functions is needed for one quantile.

    Args:
        level: between 0 and 1.
        freedom: degrees of freedom, 1 or more.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, freedom) < level else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _student_within(angle: float, freedom: int) -> float:
    """P(|T| < √freedom · tan(angle))."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    total, term = 0.0, cosine if odd else 1.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine * cosine * (k - 1) / k
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _standard_error(values: Sequence[float]) -> float:
    """Of the mean."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (Holm, 1979): compare each adjusted value with the level of the whole family."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
