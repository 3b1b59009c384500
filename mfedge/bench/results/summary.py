"""From raw samples to what the table, the chart and every other printer show. Nothing here is stored."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from mfedge.bench.measure import environment
from mfedge.bench.results import fairness
from mfedge.bench.results import intervals as statistics
from mfedge.bench.results.crossover import Crossover, crossover
from mfedge.bench.results.intervals import Interval
from mfedge.bench.results.schema import CaseResult, Result
from mfedge.sizes import Size


class CaseRow(Struct, frozen=True):
    """One case; seconds of one inference."""

    model: str
    runtime: str
    size: Size
    status: str
    message: str
    median: float | None
    interval: Interval | None  # of the median over rounds
    fastest: float | None
    p90: float | None  # None below 64 samples
    samples: int
    rounds: int
    load_seconds: float | None  # median over processes
    peak_rss_bytes: int | None
    ratio: float | None  # to the reference, within rounds
    ratio_interval: Interval | None


class BestRow(Struct, frozen=True):
    """A case against the fastest that the reference is in any runtime at that size."""

    model: str
    runtime: str
    size: Size
    reference_runtime: str
    ratio: float
    interval: Interval | None


class CrossoverRow(Struct, frozen=True):
    """Where a model overtakes the reference in a runtime."""

    model: str
    runtime: str
    crossover: Crossover


class Summary(Struct, frozen=True):
    """Everything derived from one result."""

    title: str
    reference: str | None
    models: tuple[str, ...]
    runtimes: tuple[str, ...]
    sizes: tuple[Size, ...]
    rows: tuple[CaseRow, ...]
    crossovers: tuple[CrossoverRow, ...]
    bests: tuple[BestRow, ...]  # empty unless several runtimes were measured
    warnings: tuple[str, ...]  # what a reader must know before the first number
    failures: tuple[str, ...]  # those of the warnings that name a case which failed
    fairness: tuple[fairness.Check, ...]
    ended: str
    seconds: float

    def row(self, model: str, runtime: str, size: Size) -> CaseRow | None:
        """The row of a case, or None."""
        return next((r for r in self.rows if (r.model, r.runtime, r.size) == (model, runtime, size)), None)


def summarise(result: Result) -> Summary:
    """All statistics of a result."""
    by_key = {case.key: case for case in result.cases}
    rows = tuple(_row(case, _reference(case, by_key, result.reference), result.protocol.level) for case in result.cases)
    sizes = sorted({case.size for case in result.cases}, key=lambda size: (size.pixels, size))
    failed = [case for case in result.cases if case.status not in ("ok", "unmeasured")]
    failures = tuple(f"{case.model} in {case.runtime} at {case.size}: {case.status}: {case.message}" for case in failed)
    return Summary(
        title=result.title,
        reference=result.reference,
        models=tuple(dict.fromkeys(case.model for case in result.cases)),
        runtimes=tuple(dict.fromkeys(case.runtime for case in result.cases)),
        sizes=tuple(sizes),
        rows=tuple(sorted(rows, key=lambda row: (row.size.pixels, row.size))),
        crossovers=tuple(_crossovers(result, by_key)),
        bests=tuple(_bests(result)),
        warnings=tuple(_warnings(result, failures)),
        failures=failures,
        fairness=tuple(fairness.checks(result)),
        ended=result.ended,
        seconds=result.seconds,
    )


def log_ratios(case: CaseResult, reference: CaseResult) -> list[list[float]]:
    """log(case / reference) within rounds, grouped by process."""
    return statistics.log_ratios(case.rounds, reference.rounds)


def _reference(
    case: CaseResult, by_key: dict[tuple[str, str, Size], CaseResult], name: str | None
) -> CaseResult | None:
    if name is None or case.model == name:
        return None
    found = by_key.get((name, case.runtime, case.size))
    return found if found and found.status == case.status == "ok" else None


def _row(case: CaseResult, reference: CaseResult | None, level: float) -> CaseRow:
    samples, groups = case.samples, case.groups
    ratios = log_ratios(case, reference) if reference else []
    found = statistics.interval(ratios, level) if ratios else None
    loads = [load.load_seconds for load in case.loads]
    return CaseRow(
        case.model,
        case.runtime,
        case.size,
        case.status,
        case.message,
        median=statistics.median(groups) if groups else None,
        interval=statistics.interval(groups, level) if groups else None,
        fastest=min(samples, default=None),
        p90=statistics.p90(samples),
        samples=len(samples),
        rounds=sum(map(len, groups)),
        load_seconds=statistics.median([loads]) if loads else None,
        peak_rss_bytes=case.peak_rss_bytes,
        ratio=math.exp(statistics.centre(ratios)) if ratios else None,
        ratio_interval=found.exp() if found else None,
    )


def _crossovers(result: Result, by_key: dict[tuple[str, str, Size], CaseResult]) -> list[CrossoverRow]:
    rows = []
    lines: dict[tuple[str, str], dict[float, list[list[float]]]] = {}
    for case in result.cases:
        reference = _reference(case, by_key, result.reference)
        if reference:
            lines.setdefault((case.model, case.runtime), {})[case.size.side] = log_ratios(case, reference)
    for (model, runtime), ratios in lines.items():
        found = crossover(ratios, result.protocol.level) if len(ratios) > 1 else None
        if found:
            rows.append(CrossoverRow(model, runtime, found))
    return rows


def _bests(result: Result) -> list[BestRow]:
    """Every measured case that is not the reference's, against the fastest of the reference's at its size."""
    measured = [case for case in result.cases if case.status == "ok" and case.visits]
    references = [case for case in measured if case.model == result.reference]
    if len({case.runtime for case in references}) < 2:
        return []
    fastest: dict[Size, CaseResult] = {}
    for case in sorted(references, key=lambda case: statistics.median(case.groups)):
        fastest.setdefault(case.size, case)
    rows = []
    for case in measured:
        best = fastest.get(case.size)
        if case.model == result.reference or best is None:
            continue
        ratios = log_ratios(case, best)
        if not any(ratios):
            continue
        found = statistics.interval(ratios, result.protocol.level)
        ratio = math.exp(statistics.centre(ratios))
        rows.append(BestRow(case.model, case.runtime, case.size, best.runtime, ratio, found.exp() if found else None))
    return rows


def _warnings(result: Result, failures: Sequence[str]) -> list[str]:
    lines = []
    unrest = environment.unrest(result.before, result.after, result.seconds, result.environment.cpus)
    probes = [moment.probe_seconds for moment in (result.before, *result.between, result.after)]
    swing = max(probes) / min(probes)
    if swing > environment.CLOCK_LIMIT and not any("CPU was" in line for line in unrest):
        unrest.append(f"the CPU's speed swung by {swing:.2f}×")
    if unrest:
        lines.append(f"The machine was not calm: {'; '.join(unrest)}. Read the ratios, not the milliseconds.")
    if not result.complete:
        missing = sum(case.status == "unmeasured" for case in result.cases)
        rest = f"; {missing} of {len(result.cases)} cases were not measured" if missing else ""
        lines.append(f"Not complete: {result.ended}{rest}.")
    lines += failures
    lines += [f"Not a fair comparison: {check.text}" for check in fairness.checks(result) if check.fair is False]
    return lines
