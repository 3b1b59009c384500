"""What the driver and a worker say to each other: one JSON object per line, over the worker's standard streams."""

from __future__ import annotations

from msgspec import Struct

from mfedge.runtimes.base import Metadata


class LoadModel(Struct, frozen=True, tag="load"):
    """Pin every thread, load the file, make the input."""

    path: str
    runtime: str
    threads: int
    height: int
    width: int
    seed: int
    cpu: int | None
    memory_bytes: int


class WarmUp(Struct, frozen=True, tag="warm"):
    """Run until two consecutive windows agree, at most `cap_seconds`; then choose the loop of a sample."""

    cap_seconds: float
    agreement: float
    sample_seconds: float


class Sample(Struct, frozen=True, tag="sample"):
    """One visit: an untimed inference if it is short, then samples of `loops` inferences each."""

    loops: int
    visit_seconds: float
    samples: int
    settle: bool


class Compute(Struct, frozen=True, tag="compute"):
    """What the model answers to the input image: for the gate's parity check."""


Request = LoadModel | WarmUp | Sample | Compute


class Ready(Struct, frozen=True, tag="ready"):
    """The libraries are imported."""

    pid: int


class Loaded(Struct, frozen=True, tag="loaded"):
    """Times in seconds."""

    load_seconds: float
    first_seconds: float
    executed: Metadata
    pinned: tuple[int, ...]  # CPUs that any thread of the worker may use, read back


class Warm(Struct, frozen=True, tag="warmed"):
    """Seconds of every warm-up inference, in order."""

    seconds: tuple[float, ...]
    plateau: bool
    loops: int


class Samples(Struct, frozen=True, tag="samples"):
    """Seconds of one inference, one per sample."""

    seconds: tuple[float, ...]


class Answer(Struct, frozen=True, tag="answer"):
    """Every output for the input image, flat."""

    outputs: dict[str, tuple[float, ...]]


class Failed(Struct, frozen=True, tag="failed"):
    """The worker could not do it; one line, and the exit code of the error it was."""

    message: str
    exit_code: int


Reply = Ready | Loaded | Warm | Samples | Answer | Failed
