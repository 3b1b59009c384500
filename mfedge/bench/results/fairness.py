"""Is it the same race for both? Sizes, precision, threads, BatchNorm: checked on what was read back, and stated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from msgspec import Struct

from mfedge.bench.results.schema import CaseResult, Result

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
            found += [_sizes(runtime, mine), _precision(runtime, mine), _batch_norm(runtime, mine)]
    found.append(Check(True, "Every case of a size is given the same image, batch 1."))
    return found


def precision(execution: str) -> str:
    """ "f32" from "CPU, precision f32" or "CPUExecutionProvider, float32"; what is not a precision is left out."""
    words = re.findall(r"bfloat16|bf16|float16|fp16|f16|float32|fp32|f32|int8|uint8|i8|u8", execution.lower())
    short = {
        "float32": "f32",
        "fp32": "f32",
        "float16": "f16",
        "fp16": "f16",
        "bfloat16": "bf16",
        "int8": "i8",
        "uint8": "u8",
    }
    return "+".join(sorted({short.get(word, word) for word in words})) or "not stated"


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
    sizes = {model: {case.size for case in cases if case.model == model} for model in {case.model for case in cases}}
    same = len({frozenset(of) for of in sizes.values()}) == 1
    return Check(same, f"{runtime}: {'the same' if same else 'not the same'} sizes measured for every model.")


def _precision(runtime: str, cases: list[CaseResult]) -> Check:
    found = _by_model((case.model, precision(case.execution)) for case in cases)
    versions = {case.version for case in cases}
    if len({precision for values in found.values() for precision in values}) > 1:
        listed = ", ".join(f"{model} {' and '.join(values)}" for model, values in found.items())
        return Check(False, f"{runtime}: precisions differ: {listed}.")
    value = next(iter(found.values()))[0]
    fair = None if value == "not stated" else len(versions) == 1
    return Check(fair, f"{runtime} {', '.join(sorted(versions))}: every model executed in {value}, as read back.")


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
