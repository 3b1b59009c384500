"""The gate counts: both sides on an emulated core, or the candidate against stored counts of the baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mfedge.bench.cases import Case
from mfedge.bench.count import cores, suite
from mfedge.bench.count.classes import CLASSES
from mfedge.bench.count.run import Measured, emulated
from mfedge.bench.count.schema import SCHEMA, Counts
from mfedge.bench.gate import counts
from mfedge.bench.gate.counts import CountLine
from mfedge.bench.gate.judge import Settings
from mfedge.bench.gate.outputs import difference
from mfedge.bench.gate.run import Pair
from mfedge.errors import Exit, GateError, MfedgeError
from mfedge.workers.process import Limits

TITLE = "One side of a gate"


def against_stored(
    stored: Counts, candidate: Sequence[Case], settings: Settings, note: Callable[[str], Any]
) -> list[CountLine]:
    """Count the candidate, and compare.

    Args:
        stored: the baseline, one count for each case of the candidate, in their order.
        candidate: its cases.
        settings: limits.
        note: called as cases begin and end.

    Raises:
        GateError: the candidate cannot be counted, or the stored counts are of another core or other versions.
    """
    (measured,) = _measure((candidate,), stored.core_name, settings, note)
    after = _counts(measured, stored.core_name)
    return counts.compare(stored, after, settings.count_limit, settings.library_limit)


def of_pairs(
    pairs: Sequence[Pair], on: str, settings: Settings, note: Callable[[str], Any]
) -> tuple[list[CountLine], dict[str, float]]:
    """Count both sides of each pair, and compare counts and outputs.

    Args:
        pairs: of cases.
        on: the core's name.
        settings: limits, and the tolerance of the outputs.
        note: called as cases begin and end.

    Returns:
        The lines, and by case the largest difference of the outputs.

    Raises:
        UsageError: an unknown core.
        GateError: a side cannot be counted, or the outputs differ.
    """
    sides = _measure(tuple(zip(*pairs, strict=True)), on, settings, note)
    parity = {
        label: difference(label, before.outputs, after.outputs, settings.tolerance)
        for before, after in zip(*sides, strict=True)
        for label in (f"{after.count.runtime} at {after.count.size}",)
    }
    baseline, candidate = (_counts(side, on) for side in sides)
    return counts.compare(baseline, candidate, settings.count_limit, settings.library_limit), parity


def _measure(
    sides: Sequence[Sequence[Case]], on: str, settings: Settings, note: Callable[[str], Any]
) -> list[list[Measured]]:
    """All cases of all sides, the candidate's last. What goes wrong with the candidate is the candidate's."""
    limits = emulated(Limits(settings.timeout_seconds, settings.memory_bytes))
    found = suite.measure([case for side in sides for case in side], cores.read(on), limits, None, note)
    measured: list[list[Measured]] = []
    for i, side in enumerate(sides):
        is_candidate = i == len(sides) - 1
        part, found = found[: len(side)], found[len(side) :]
        for outcome in part:
            if isinstance(outcome, MfedgeError):
                if is_candidate or outcome.exit_code is Exit.ENVIRONMENT:
                    raise GateError(outcome.exit_code, f"{'candidate' if is_candidate else 'baseline'}: {outcome}")
                raise GateError(Exit.USAGE, f"baseline: cannot be counted: {outcome}")
        measured.append([outcome for outcome in part if isinstance(outcome, Measured)])
    return measured


def _counts(side: Sequence[Measured], on: str) -> Counts:
    return Counts(SCHEMA, TITLE, on, cores.read(on), CLASSES, None, tuple(measured.count for measured in side))
