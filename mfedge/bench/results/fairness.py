"""Is it the same race for both? Sizes, precision, threads, BatchNorm: checked on what was read back, and stated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct

from mfedge.bench.results.schema import CaseResult, Result
from mfedge.runtimes.base import Metadata

T = TypeVar("T")


class Check(Struct, frozen=True):
    """One statement about fairness; `fair` is None where it could not be checked."""

    fair: bool | None
    text: str


def checks(result: Result) -> list[Check]:
    """What the report states, most important first."""
    cases = [case for case in result.cases if case.visits]
    if not cases:
        return []
    found = [_threads(cases, result.protocol.threads), _pinned(cases, result.protocol.cpu)]
    for runtime in dict.fromkeys(case.runtime for case in cases):
        mine = [case for case in cases if case.runtime == runtime]
        if len({case.model for case in mine}) > 1:
            found += [_sizes(runtime, mine), _computed(runtime, mine), _batch_norm(runtime, mine)]
    found.append(Check(True, "Every case of a size is given the same image, batch 1."))
    return found


def computed(executed: Metadata | None) -> str:
    """The type that a case is computed in; "not told" where the runtime does not tell."""
    if executed is None or executed.compute is None:
        return "not told"
    return executed.compute


def _threads(cases: Iterable[CaseResult], allowed: int) -> Check:
    loads = [load for case in cases for load in case.loads]
    counts = [load.busy_threads for load in loads if load.busy_threads is not None]
    if not counts:
        return Check(None, f"{allowed} thread asked for; the system does not tell how many computed.")
    most = max(counts)
    text = f"At most {most} thread computed in any process, read from the OS while it ran (allowed: {allowed})."
    return Check(most <= allowed, text)


def _pinned(cases: Iterable[CaseResult], cpu: int | None) -> Check:
    if cpu is None:
        return Check(None, "The system cannot pin a process to a CPU.")
    pins = {load.pinned for case in cases for load in case.loads}
    return Check(pins == {(cpu,)}, f"Every thread of every process was held to CPU {cpu}.")


def _sizes(runtime: str, cases: list[CaseResult]) -> Check:
    sizes = _by_model((case.model, case.size) for case in cases)
    same = len({frozenset(of) for of in sizes.values()}) == 1
    return Check(same, f"{runtime}: {'the same' if same else 'not the same'} sizes measured for every model.")


def _computed(runtime: str, cases: list[CaseResult]) -> Check:
    found = _by_model((case.model, computed(case.executed)) for case in cases)
    versions = {case.executed.version for case in cases if case.executed}
    if len({value for values in found.values() for value in values}) > 1:
        listed = ", ".join(f"{model} {' and '.join(values)}" for model, values in found.items())
        return Check(False, f"{runtime}: not computed in the same type: {listed}.")
    value = next(iter(found.values()))[0]
    if value == "not told":
        return Check(None, f"{runtime}: it does not tell what type it computes in.")
    fair = len(versions) == 1
    return Check(fair, f"{runtime} {', '.join(sorted(versions))}: every model computed in {value}, as read back.")


def _batch_norm(runtime: str, cases: list[CaseResult]) -> Check:
    counts = _by_model((case.model, case.batch_norms) for case in cases)
    if any(None in values for values in counts.values()):
        return Check(None, f"{runtime}: whether BatchNorm is folded cannot be read from the file.")
    folded = {count == 0 for values in counts.values() for count in values}
    if len(folded) > 1:
        left = ", ".join(f"{model} {' and '.join(map(str, values))}" for model, values in counts.items())
        return Check(False, f"{runtime}: BatchNorm is folded in one model only (left: {left}).")
    return Check(True, f"{runtime}: BatchNorm is {'folded' if folded == {True} else 'left in place'} in every model.")


def _by_model(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    """Every value each model has, once each."""
    found: dict[str, list[T]] = {}
    for model, value in pairs:
        values = found.setdefault(model, [])
        if value not in values:
            values.append(value)
    return found
