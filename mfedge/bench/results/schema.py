"""The one result schema: raw samples and what is needed to judge them. Statistics are derived later, never stored.

A result file is this struct as JSON. Times are seconds of one inference, sizes pixels, memory bytes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from mfedge import reading
from mfedge.bench import stored
from mfedge.bench.measure.environment import Environment, Moment
from mfedge.bench.results.intervals import Round
from mfedge.bench.stored import MOST_CASES, MOST_SAMPLES, MOST_VISITS, Count, Number, Seconds, Text, too_many
from mfedge.errors import UsageError
from mfedge.runtimes.base import Metadata
from mfedge.sizes import Size
from mfedge.workers.process import Limits

STORED = reading.Stored("a result", "mfedge.bench", 2, 64 << 20, UsageError)
SCHEMA = f"{STORED.schema}/{STORED.current}"

Status = Literal["ok", "failed", "killed", "timeout", "threads", "unmeasured"]


class Protocol(Struct, frozen=True, forbid_unknown_fields=True):
    """How it is measured (benchmarks/README.md); stored with the result, because it is part of the number."""

    threads: Annotated[int, Meta(ge=1, le=4096)] = 1
    cpu: int | None = None  # that every worker is pinned to; None: the system cannot pin
    budget_seconds: Number = 540.0  # of the whole run, loading included
    within: Number = 0.03  # half-width to reach of every ratio's interval
    level: Annotated[float, Meta(ge=0.5, le=0.9999)] = 0.95
    processes: int = 1  # fresh processes of each case, a pass over all sizes apart
    min_rounds: int = 8  # of one process
    max_rounds: int = 60
    visit_seconds: float = 0.06  # of one visit of a case, beyond its first, untimed inference
    sample_seconds: float = 0.01  # shorter cases are looped until a sample lasts this long
    samples_per_visit: int = 1  # at least
    warmup_seconds: float = 3.0  # at most
    warmup_agreement: float = 0.03  # of two consecutive windows' medians
    timeout_seconds: float = Limits().seconds  # of any single answer of a worker
    memory_bytes: int = Limits().memory_bytes  # that a worker may take
    seed: int = 0  # of the order of the cases and of the input image


class Visit(Struct, frozen=True):
    """One turn of a case in one round: every sample taken, in order."""

    process: int
    round: int
    position: int  # in the round's random order
    seconds: Annotated[
        tuple[Seconds, ...], Meta(max_length=MOST_SAMPLES)
    ]  # of one inference; a looped sample is its loop's mean


class Load(Struct, frozen=True):
    """One process's start: how long the file took to load, how warm-up went."""

    load_seconds: Number
    first_seconds: Number  # the very first inference: lazy allocation and code generation
    warmup: Annotated[tuple[Number, ...], Meta(max_length=1_000_000)]
    plateau: bool  # two consecutive windows agreed before the cap
    loops: int
    peak_rss_bytes: Count | None
    base_rss_bytes: Count | None  # before the model was loaded, libraries imported
    threads: int | None  # that existed while it ran; None: the system does not tell
    busy_threads: int | None  # that used the CPU while it ran
    pinned: tuple[int, ...]


class CaseResult(Struct, frozen=True):
    """Model × runtime × size."""

    model: Text
    runtime: Text
    size: Size
    file: Text  # name without folder
    sha256: Text
    bytes: Count
    status: Status
    message: Text = ""  # one line, of a status other than "ok"
    executed: Metadata | None = None  # as read back from the runtime; None: it was never loaded
    batch_norms: int | None = None  # left in the file; None: it cannot be told
    loads: Annotated[tuple[Load, ...], Meta(max_length=MOST_VISITS)] = ()
    visits: Annotated[tuple[Visit, ...], Meta(max_length=MOST_VISITS)] = ()

    @property
    def key(self) -> tuple[str, str, Size]:
        """What makes a case the same case in another result."""
        return self.model, self.runtime, self.size

    @property
    def samples(self) -> list[float]:
        """Every sample, seconds."""
        return [second for visit in self.visits for second in visit.seconds]

    @property
    def rounds(self) -> dict[Round, float]:
        """(process, round) → the visit's median, seconds."""
        import statistics

        return {
            (visit.process, visit.round): statistics.median(visit.seconds) for visit in self.visits if visit.seconds
        }

    @property
    def groups(self) -> list[list[float]]:
        """The rounds' medians, grouped by process."""
        groups: dict[int, list[float]] = {}
        for (process, _), seconds in sorted(self.rounds.items()):
            groups.setdefault(process, []).append(seconds)
        return list(groups.values())

    @property
    def peak_rss_bytes(self) -> int | None:
        """Of the largest process."""
        return max((load.peak_rss_bytes for load in self.loads if load.peak_rss_bytes is not None), default=None)


class Result(Struct, frozen=True):
    """One run. `mfedge report` draws everything from it."""

    schema: str
    title: Text
    started: Text  # UTC, ISO 8601, seconds
    seconds: Seconds
    reference: Text | None  # the model that ratios are taken to
    protocol: Protocol
    environment: Environment
    before: Moment
    after: Moment
    complete: bool  # False: interrupted or out of budget before every case was measured
    ended: Text  # why it ended, one line
    cases: Annotated[tuple[CaseResult, ...], Meta(max_length=MOST_CASES)]
    between: Annotated[tuple[Moment, ...], Meta(max_length=MOST_CASES)] = ()  # one after every size


def encode(result: Result) -> bytes:
    """The result file's bytes."""
    return stored.encode(result)


def read(path: Path) -> Result:
    """A stored result.

    Raises:
        UsageError: no such file, not JSON, or of no schema that this version reads; the message says which field.
    """
    result = reading.load(path, STORED, {1: _of_1, 2: lambda data: msgspec.json.decode(data, type=Result)})
    if len({case.key for case in result.cases}) < len(result.cases):
        raise UsageError(f"{path}: expected every case once, found one twice")
    grid = [len(set(names)) for names in zip(*(case.key for case in result.cases), strict=True)]
    if math.prod(grid) > MOST_CASES:
        raise UsageError(f"{path}: {too_many(*grid)}")
    return result


def _of_1(data: bytes) -> Result:
    """A result of schema 1, which said what was executed in a sentence, and called `within` `precision`."""
    old = msgspec.json.decode(data, type=_Result1)
    within = msgspec.convert(old.protocol, _Protocol1).precision
    protocol = {name: value for name, value in old.protocol.items() if name != "precision"} | {"within": within}
    cases = []
    for case in old.cases:
        said = msgspec.convert(case, _Executed1)
        kept = {
            name: value for name, value in case.items() if name == "runtime" or name not in _Executed1.__struct_fields__
        }
        cases.append({**kept, "executed": _executed(said) if said.execution else None})
    new = {name: getattr(old, name) for name in old.__struct_fields__}
    new |= {"schema": SCHEMA, "protocol": protocol, "cases": cases}
    return msgspec.convert(msgspec.to_builtins(new), Result)


class _Result1(Struct):
    schema: str
    title: str
    started: str
    seconds: float
    reference: str | None
    protocol: dict[str, Any]
    environment: Environment
    before: Moment
    after: Moment
    complete: bool
    ended: str
    cases: list[dict[str, Any]]
    between: tuple[Moment, ...] = ()


class _Protocol1(Struct):
    precision: float


class _Executed1(Struct):
    """What schema 1 had in a case where there is `executed` now."""

    runtime: Text
    version: Text = ""
    input_shape: tuple[int | None, ...] = ()
    threads_asked: int = 1
    execution: Text = ""


# How schema 1 spelled what is computed in.
_COMPUTE_1 = {"float32": "float32", "fp32": "float32", "f32": "float32", "float16": "float16", "f16": "float16"}


def _executed(said: _Executed1) -> Metadata:
    """ "CPU, precision f32, native kernels" as fields."""
    words = re.findall(r"[\w-]+", said.execution.lower())
    partitions = re.search(r"(\d{1,9}) partition", said.execution, re.ASCII)
    return Metadata(
        runtime=said.runtime,
        version=said.version,
        input_shape=said.input_shape,
        layout="NHWC" if said.runtime in ("litert", "tflite-runtime") else "NCHW",
        outputs=("logits",),
        threads=said.threads_asked,
        provider=said.execution.partition(",")[0],
        compute=next((_COMPUTE_1[word] for word in words if word in _COMPUTE_1), None),
        kernels="native" if "native kernels" in said.execution else "portable",
        partitions=int(partitions[1]) if partitions else None,
        whole="whole graph" in said.execution if partitions else None,
    )
