"""The gate's judgement: figures and counts first, then paired time; fails only on proof, passes only on proof.

A case fails if the lower end of its interval exceeds the threshold and its p value survives Holm's correction
over all cases; it passes if the upper end stays below; everything else is inconclusive. Looking several times
costs level: each of k looks has 1/k of it (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from mfedge.bench.gate.counts import CountLine
from mfedge.bench.gate.figures import FigureLine
from mfedge.bench.measure.environment import Environment
from mfedge.bench.results import intervals as statistics
from mfedge.bench.results.intervals import Interval
from mfedge.bench.results.schema import Visit
from mfedge.errors import Exit
from mfedge.sizes import Size
from mfedge.workers.process import Limits

SCHEMA = "mfedge.gate/1"
CaseVerdict = Literal["pass", "regression", "inconclusive"]
CaseKey = tuple[str, Size]  # runtime, input size
Groups = Sequence[Sequence[float]]


class Settings(Struct, frozen=True):
    """What is asked of a gate."""

    threshold: float = 0.03  # slowdown that is still allowed
    limit: float = 0.0  # growth of the deterministic figures that is still allowed
    count_limit: float = 0.005  # growth of the instructions of one inference that is still allowed
    library_limit: float = 0.001  # the same of mfedge's own library, which repeats to the instruction
    level: float = 0.95  # of the family of all cases, over all looks
    looks: int = 3  # how often it is judged before it gives up
    processes: int = 4  # fresh processes of each side until the first look, and again until each further one
    rounds: int = 6  # of each process
    tolerance: float = 1e-3  # of the outputs, relative to the largest one
    cpu: int | None = None
    budget_seconds: float = 300.0
    timeout_seconds: float = Limits().seconds  # of any single answer of a process that opens a model
    memory_bytes: int = Limits().memory_bytes  # that such a process may take
    seed: int = 0


class Sides(Struct, frozen=True):
    """Raw samples of one case: every visit of the baseline, of the baseline again (the control), of the candidate."""

    runtime: str
    size: Size
    baseline: tuple[Visit, ...]
    control: tuple[Visit, ...]
    candidate: tuple[Visit, ...]


class CaseLine(Struct, frozen=True):
    """The judgement of one case. Ratios are candidate / baseline, above 1 is slower."""

    runtime: str
    size: Size
    ratio: Interval
    p_value: float  # Holm-adjusted, one-sided: "the slowdown is within the threshold"
    control: Interval  # A/A: baseline / baseline, whose truth is 1
    smallest_effect: float  # the smallest slowdown that this run would have called a regression, 0.05 is 5 %
    verdict: CaseVerdict
    reason: str
    baseline_seconds: float  # median of one inference
    candidate_seconds: float


class Report(Struct, frozen=True):
    """One gate. The JSON output is this struct."""

    schema: str
    baseline: str  # names of files or folders, without their path
    candidate: str
    exit_code: int
    verdict: str  # one line
    reasons: tuple[str, ...]
    settings: Settings
    figures: dict[str, tuple[FigureLine, ...]]  # by model file
    cases: tuple[CaseLine, ...]
    parity: dict[str, float]  # by case: largest difference of the outputs, relative to the largest output
    looks_taken: int
    seconds: float
    environment: Environment | None = None  # None: nothing was measured
    samples: tuple[Sides, ...] = ()
    counts: tuple[CountLine, ...] = ()  # empty: nothing was counted
    counted_on: str | None = None  # the emulated core


def judge(
    cases: Mapping[CaseKey, tuple[Groups, Groups]],
    settings: Settings,
    seconds: Mapping[CaseKey, tuple[float, float]] | None = None,
) -> list[CaseLine]:
    """Judge every case on what has been measured so far.

    Args:
        cases: (runtime, size) → log(candidate / baseline) and log(control / baseline) of every round, by process.
        settings: threshold, and the level that one of the looks has.
        seconds: medians to show beside them.
    """
    alpha = (1 - settings.level) / settings.looks / 2  # one side of a two-sided interval
    limit = math.log1p(settings.threshold)
    keys = [key for key, (groups, _) in cases.items() if sum(map(len, groups)) >= statistics.FEWEST_ROUNDS]
    p_values = statistics.holm([statistics.p_value_above(cases[key][0], limit) for key in keys])
    lines = []
    for key, p_value in zip(keys, p_values, strict=True):
        ratio, control = (statistics.bootstrap(groups, 1 - 2 * alpha) for groups in cases[key])
        if ratio is None or control is None:
            continue
        verdict, reason = _verdict(ratio, control, p_value, alpha, limit, settings.threshold)
        width = max(ratio.estimate - ratio.low, control.estimate - control.low, control.high - control.estimate)
        medians = (seconds or {}).get(key, (0.0, 0.0))
        smallest = math.expm1(limit + width)
        lines.append(
            CaseLine(*key, ratio.exp(), p_value, control.exp(), smallest, verdict, reason, medians[0], medians[1])
        )
    return lines


def _verdict(
    ratio: Interval, control: Interval, p_value: float, alpha: float, limit: float, threshold: float
) -> tuple[CaseVerdict, str]:
    if control.low > limit or control.high < -limit:
        shown = f"{math.expm1(control.estimate):+.1%}"
        return "inconclusive", f"the A/A control, baseline against itself, shows {shown}: this run cannot be trusted"
    if ratio.low > limit and p_value <= alpha:
        return "regression", f"at least {math.expm1(ratio.low):+.1%}, allowed {threshold:+.1%}"
    if ratio.low > limit:
        return "inconclusive", f"slower on its own, but not after Holm's correction (p = {p_value:.3f})"
    if ratio.high <= limit:
        return "pass", f"at most {math.expm1(ratio.high):+.1%}, allowed {threshold:+.1%}"
    return "inconclusive", (
        f"between {math.expm1(ratio.low):+.1%} and {math.expm1(ratio.high):+.1%}, allowed {threshold:+.1%}: "
        f"too wide to tell"
    )


def verdict(code: Exit) -> str:
    """A gate's exit code in a word."""
    return "pass" if code is Exit.DONE else code.name.lower()


def conclude(
    lines: Sequence[CaseLine], figures: Mapping[str, Sequence[FigureLine]], counts: Sequence[CountLine] = ()
) -> tuple[Exit, list[str]]:
    """The whole gate's exit code and its reasons, worst first. Nothing judged at all is inconclusive, never a pass."""
    grown = [
        f"{file}: {line.name} grew from {line.baseline} to {line.candidate}, allowed {line.limit:+.1%}"
        for file, found in figures.items()
        for line in found
        if line.blocks
    ]
    grown += [
        f"{line.runtime} at {line.size}: {line.part} grew from {line.baseline:,} to {line.candidate:,} "
        f"({line.growth:+.2%}), allowed {line.limit:+.1%}"
        for line in counts
        if line.blocks
    ]
    slower = [_line(line) for line in lines if line.verdict == "regression"]
    unsure = [_line(line) for line in lines if line.verdict == "inconclusive"]
    if grown or slower:
        return Exit.REGRESSION, grown + slower + unsure
    if unsure or not (lines or figures or counts):
        return Exit.INCONCLUSIVE, unsure or ["nothing was measured"]
    return Exit.DONE, []


def _line(line: CaseLine) -> str:
    return f"{line.runtime} at {line.size}: {line.verdict}: {line.reason}"
