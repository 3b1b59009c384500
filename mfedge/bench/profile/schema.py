"""One schema for where the time goes, whichever runtime tells it."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mfedge import files
from mfedge.bench.profile import parts
from mfedge.errors import UsageError
from mfedge.sizes import Size

STORED = files.Stored("a profile", "mfedge.profile", 1, 64 << 20, UsageError)
SCHEMA = f"{STORED.schema}/{STORED.current}"


class Operator(Struct, frozen=True):
    """One operator as the runtime executed it; what was fused away has no line."""

    name: str  # as in the file
    type: str  # as the runtime calls it
    part: str  # of `parts.order()`
    seconds: float | None  # of one inference, median over runs; None: the runtime does not tell
    madds: int | None  # multiply-adds; None: not known for what the runtime fused
    bytes: int | None  # read and written: inputs, weights, outputs, each once


class Peak(Struct, frozen=True):
    """What one core was measured to reach, moments before."""

    madds_per_second: float  # float32 multiply-adds
    bytes_per_second: float  # memory, reading and writing counted


class Profile(Struct, frozen=True):
    """One model in one runtime at one size."""

    schema: str
    model: str
    runtime: str
    version: str
    size: Size
    file: str
    sha256: str
    runs: int
    seconds: float  # of one whole inference with profiling off, median
    profiled_seconds: float | None  # the same with profiling on: what it costs; None: no profiler
    madds: int  # of the whole network, as the file says
    source: str  # how the times were got, or why there are none
    machine: Peak
    operators: tuple[Operator, ...]

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
