"""Two stored results side by side. Milliseconds of another host or another day mean nothing; ratios do."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mfedge.bench.results import summary
from mfedge.bench.results.intervals import Interval
from mfedge.bench.results.schema import Result
from mfedge.errors import EnvironmentMismatchError, UsageError
from mfedge.sizes import Size


class Line(Struct, frozen=True):
    """One case of both results."""

    model: str
    runtime: str
    size: Size
    old: Interval
    new: Interval
    verdict: Literal["agree", "faster", "slower"]  # "agree": the intervals overlap

    @property
    def change(self) -> float:
        """New over old."""
        return self.new.estimate / self.old.estimate


def compare(old: Result, new: Result, ratios_only: bool) -> list[Line]:
    """Case by case: medians in seconds, or with `ratios_only` the ratios to the reference of the same run.

    Raises:
        EnvironmentMismatchError: different environments, and not `ratios_only`.
        UsageError: no case that both have.
    """
    differences = old.environment.differences(new.environment)
    if differences and not ratios_only:
        raise EnvironmentMismatchError(
            f"the environments differ ({'; '.join(differences)}): milliseconds cannot be compared; pass --ratios-only"
        )
    if ratios_only and old.reference != new.reference:
        raise UsageError(f"expected ratios to the same model, found {old.reference} and {new.reference}")
    failed = {case.key for result in (old, new) for case in result.cases if case.status != "ok"}
    before = {(row.model, row.runtime, row.size): row for row in summary.summarise(old).rows}
    lines = []
    for row in summary.summarise(new).rows:
        other = before.get((row.model, row.runtime, row.size))
        if other is None or (row.model, row.runtime, row.size) in failed:
            continue
        was, now = (other.ratio_interval, row.ratio_interval) if ratios_only else (other.interval, row.interval)
        if was is None or now is None:
            continue
        verdict: Literal["agree", "faster", "slower"] = (
            "slower" if now.low > was.high else "faster" if now.high < was.low else "agree"
        )
        lines.append(Line(row.model, row.runtime, row.size, was, now, verdict))
    if not lines:
        raise UsageError("expected cases that both results have with enough rounds for an interval, found none")
    return lines
