"""One schema for where the time goes, whichever runtime tells it."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from mfedge import reading
from mfedge.bench.profile import parts
from mfedge.bench.stored import MOST_OPERATORS, Count, Seconds, Text
from mfedge.errors import UsageError
from mfedge.sizes import Size

STORED = reading.Stored("a profile", "mfedge.profile", 1, 64 << 20, UsageError)
SCHEMA = f"{STORED.schema}/{STORED.current}"


class Operator(Struct, frozen=True):
    """One operator as the runtime executed it; what was fused away has no line."""

    name: Text  # as in the file
    type: Text  # as the runtime calls it
    part: Text  # of `parts.order()`
    seconds: (
        Annotated[float, Meta(ge=0, le=1e9)] | None
    )  # of one inference, median over runs; None: the runtime does not tell
    madds: Count | None  # multiply-adds; None: not known for what the runtime fused
    bytes: Count | None  # read and written: inputs, weights, outputs, each once


class Peak(Struct, frozen=True):
    """What one core was measured to reach, moments before."""

    madds_per_second: Annotated[float, Meta(gt=0, le=1e18)]  # float32 multiply-adds
    bytes_per_second: Annotated[float, Meta(gt=0, le=1e18)]  # memory, reading and writing counted


class Profile(Struct, frozen=True):
    """One model in one runtime at one size."""

    schema: str
    model: Text
    runtime: Text
    version: Text
    size: Size
    file: Text
    sha256: Text
    runs: int
    seconds: Seconds  # of one whole inference with profiling off, median
    profiled_seconds: Seconds | None  # the same with profiling on: what it costs; None: no profiler
    madds: Count  # of the whole network, as the file says
    source: Text  # how the times were got, or why there are none
    machine: Peak
    operators: Annotated[tuple[Operator, ...], Meta(max_length=MOST_OPERATORS)]

    @property
    def timed(self) -> bool:
        """Whether the runtime tells the time of its operators."""
        return any(operator.seconds is not None for operator in self.operators)


class Share(Struct, frozen=True):
    """A part of the network, or a type of operator."""

    name: str
    operators: int
    seconds: float | None
    madds: int
    bytes: int

    def of_peak(self, machine: Peak) -> float | None:
        """Share of the measured float32 peak reached, 0 to 1."""
        return self.madds / self.seconds / machine.madds_per_second if self.seconds else None

    def of_bandwidth(self, machine: Peak) -> float | None:
        """Share of the measured memory bandwidth reached; above 1 where the caches serve it."""
        return self.bytes / self.seconds / machine.bytes_per_second if self.seconds else None


def shares(profile: Profile, by: Literal["part", "type"]) -> list[Share]:
    """Operators added up; the parts in the network's order, the types by time."""
    groups: dict[str, list[Operator]] = {}
    for operator in profile.operators:
        groups.setdefault(getattr(operator, by), []).append(operator)
    found = [
        Share(
            name,
            len(members),
            sum(o.seconds or 0.0 for o in members) if profile.timed else None,
            sum(o.madds or 0 for o in members),
            sum(o.bytes or 0 for o in members),
        )
        for name, members in groups.items()
    ]
    if by == "part":
        order = parts.order()  # a stored profile may have a part that this version does not know
        return sorted(found, key=lambda share: order.index(share.name) if share.name in order else len(order))
    return sorted(found, key=lambda share: (-(share.seconds or 0.0), -share.madds, share.name))
