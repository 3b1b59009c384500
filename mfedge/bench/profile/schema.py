"""One schema for where the time goes, whichever runtime tells it."""

from __future__ import annotations

from typing import Literal, get_args

from msgspec import Struct

from mfedge.sizes import Size

SCHEMA = "mfedge.profile/1"
Part = Literal[
    "stem", "Mobile", "Mobile→Former", "Former", "Mobile←Former", "dynamic ReLU",
    "block (fused)",  # a native operator: all of the five before in one
    "head", "layout", "other",
]  # fmt: skip
PARTS: tuple[Part, ...] = get_args(Part)


class Operator(Struct, frozen=True):
    """One operator as the runtime executed it; what was fused away has no line."""

    name: str  # as in the file
    type: str  # as the runtime calls it
    part: Part
    seconds: float | None  # of one inference, median over runs; None: the runtime does not tell
    madds: int | None  # multiply-adds; None: not known for what the runtime fused
    bytes: int | None  # read and written: inputs, weights, outputs, each once


class Machine(Struct, frozen=True):
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
    machine: Machine
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

    def of_peak(self, machine: Machine) -> float | None:
        """Share of the measured float32 peak reached, 0 to 1."""
        return self.madds / self.seconds / machine.madds_per_second if self.seconds else None

    def of_bandwidth(self, machine: Machine) -> float | None:
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
        return sorted(found, key=lambda share: PARTS.index(share.name))
    return sorted(found, key=lambda share: (-(share.seconds or 0.0), -share.madds, share.name))
