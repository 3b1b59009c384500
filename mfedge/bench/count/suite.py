"""Many cases on one core, as a file of benchmarks/ or the command line asks for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mfedge import resources
from mfedge.bench.cases import Case
from mfedge.bench.count import cores
from mfedge.bench.count.classes import CLASSES
from mfedge.bench.count.cores import Core
from mfedge.bench.count.run import LIMITS, Measured, Processes, count
from mfedge.bench.count.schema import SCHEMA, Counts, Failure
from mfedge.errors import FaultError, MfedgeError, UsageError
from mfedge.workers.process import Limits


class Suite(Struct, frozen=True, forbid_unknown_fields=True):
    """What is counted, in the words of the command line."""

    on: str
    models: Annotated[tuple[str, ...], Meta(min_length=1)]
    title: str = "Instructions of one inference"
    reference: str | None = None  # default: the only model of a reference family among several
    runtimes: tuple[str, ...] | None = None
    sizes: str | None = None  # default: of each artifact its own, else 224


def read(name: str) -> Suite:
    """The suite of this name, or of a TOML file.

    Raises:
        UsageError: unknown suite or field, or a suite of latencies.
    """
    path = resources.locate("benchmarks", name, f"--suite {name}")
    try:
        return msgspec.convert(resources.read_toml(path), Suite)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path}: not a suite of counts: {error}") from None


def run(
    cases: Sequence[Case],
    on: str,
    title: str,
    reference: str | None,
    limits: Limits = LIMITS,
    jobs: int | None = None,
    note: Callable[[str], Any] = lambda _: None,
) -> Counts:
    """Count every case; one that fails does not keep the others from being counted.

    Args:
        cases: in the order that they are reported in.
        on: the core's name.
        title: of the result.
        reference: the model that ratios are taken to.
        limits: of each process.
        jobs: processes at once, which does not change a count; default: as many as this process has CPUs.
        note: called as cases begin and end.

    Raises:
        UsageError: an unknown core.
        MfedgeError: why the only case could not be counted.
    """
    core = cores.read(on)
    found = measure(cases, core, limits, jobs, note)
    if len(found) == 1 and isinstance(found[0], MfedgeError):
        raise found[0]
    failures = [
        Failure(case.model, case.runtime, case.size, str(outcome), int(outcome.exit_code))
        for case, outcome in zip(cases, found, strict=True)
        if isinstance(outcome, MfedgeError)
    ]
    counts = tuple(outcome.count for outcome in found if isinstance(outcome, Measured))
    return Counts(SCHEMA, title, on, core, CLASSES, reference, counts, tuple(failures))


def measure(
    cases: Sequence[Case], core: Core, limits: Limits, jobs: int | None, note: Callable[[str], Any]
) -> list[Measured | MfedgeError]:
    """What became of each case, several at once. An interruption ends the processes that run, and no other begins.

    Raises:
        FaultError: a counted process did what it never should.
    """
    processes = Processes()

    def one(case: Case) -> Measured | MfedgeError:
        note(f"{case.label} on {core.title}")
        try:
            found = count(case, core, limits, processes)
        except FaultError:
            raise
        except MfedgeError as error:
            return error
        note(f"{case.label} on {core.title}: {found.count.whole.total / 1e6:.1f} M instructions: done")
        return found

    with ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        try:
            return list(pool.map(one, cases))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.end()
            raise
