"""One case on an emulated core: run it, and add up what the plugin has seen."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from mfedge.bench.cases import Case
from mfedge.bench.count import aarch64, blocks, child, symbols, tally, x86_64
from mfedge.bench.count.blocks import Decoder, Executed
from mfedge.bench.count.cores import Architecture, Core
from mfedge.bench.count.emulator import Emulator, emulator
from mfedge.bench.count.schema import Count, Row
from mfedge.errors import ArtifactError, Exit, FaultError, MfedgeError, UsageError
from mfedge.formats.table import read_graph
from mfedge.sizes import Size
from mfedge.workers.call import isolated
from mfedge.workers.process import Death, Limits, Process

SEED = 0  # of the image
MODULE = "mfedge.bench.count.child"
SLOWER, LARGER = 5, 2  # limits of an emulated process over those of a native one
DECODERS: dict[Architecture, Callable[[], Decoder]] = {"aarch64": aarch64.Decoder, "x86_64": x86_64.Decoder}


def emulated(limits: Limits) -> Limits:
    """What a process on an emulated core may take where one on this machine may take `limits`."""
    return Limits(limits.seconds * SLOWER, limits.memory_bytes * LARGER)


LIMITS = emulated(Limits())


class Measured(Struct, frozen=True):
    """A count, and what the model answered."""

    count: Count
    outputs: dict[str, tuple[float, ...]]  # flat


class Processes:
    """Counted processes that threads wait for: so that an interruption can end them all, and none begins after it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Process] = set()
        self._ending = False

    def start(self, make: Callable[[], Process]) -> Process:
        """A process of `make`.

        Raises:
            Death: `end` has been called.
        """
        with self._lock:
            if self._ending:
                raise Death("killed", "was not started after an interruption")
            process = make()
            self._running.add(process)
            return process

    def ended(self, process: Process) -> None:
        """The thread that waited for it has its answer."""
        with self._lock:
            self._running.discard(process)

    def end(self) -> None:
        """End all that run; each thread that waits gets a Death."""
        with self._lock:
            self._ending = True
            for process in self._running:
                process.kill()


def count(case: Case, core: Core, limits: Limits = LIMITS, processes: Processes | None = None) -> Measured:
    """Count one inference.

    Args:
        case: which file, runtime and size.
        core: to emulate.
        limits: of the whole process.
        processes: where the counted process is entered while it runs.

    Raises:
        MissingRuntimeError: something is not installed.
        ArtifactError: the file cannot be run, or the process died or took too long.
    """
    decoder = DECODERS[core.architecture]()
    with emulator(core, limits.memory_bytes) as found:
        reply = _run(case, found, limits, processes or Processes())
        try:
            regions = blocks.read(found.counted)
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{case.label}: counted on {core.title}: {error}") from None
    if len(regions) != child.SETTLE - 1 + child.REPEATS:
        raise ArtifactError(f"{case.label}: expected {child.REPEATS} inferences between marks, found {len(regions)}")
    repeats = [list(blocks.executed(region, decoder)) for region in regions[-child.REPEATS :]]
    totals = tuple(sum(entry.runs for entry in repeat) for repeat in repeats)
    least = repeats[totals.index(min(totals))]
    maps = symbols.Maps(reply.maps)
    libraries = tally.rows(((maps.find(entry.address).library, entry) for entry in least), core)
    versions = {"qemu": found.version, **reply.versions}
    measured = Count(
        case.model, case.runtime, case.size, Path(case.path).name, case.sha256, reply.executed.kernels,
        reply.executed.isa, _madds(case), versions, totals, libraries, _functions(least, maps, core),
    )  # fmt: skip
    return Measured(measured, reply.outputs)


def _run(case: Case, on: Emulator, limits: Limits, processes: Processes) -> child.Counted:
    """The child's answer."""
    request = child.Request(case.path, case.runtime, case.size.height, case.size.width, SEED)
    process = processes.start(lambda: Process(MODULE, (), limits, {}, on.interpreter))
    try:
        process.send(msgspec.json.encode(request))
        line = process.receive()
    except Death as death:
        raise ArtifactError(f"{case.label}: the counted process {death.reason}") from None
    finally:
        processes.ended(process)
        process.close()
    reply: child.Reply = msgspec.json.decode(line, type=child.Reply)
    if isinstance(reply, child.Failed):
        if reply.exit_code == Exit.FAULT:
            raise FaultError(reply.message)
        error = MfedgeError(f"{case.label}: {reply.message.replace(case.path, Path(case.path).name)}")
        error.exit_code = Exit.of(reply.exit_code)
        raise error
    return reply


def _functions(entries: Sequence[Executed], maps: symbols.Maps, core: Core) -> tuple[Row, ...]:
    """The rows of mfedge's own libraries."""
    ours: dict[str, list[Executed]] = {}
    for entry in entries:
        mapping = maps.find(entry.address)
        if mapping.library.startswith(symbols.OURS):
            ours.setdefault(mapping.path, []).append(entry)
    named: list[tuple[str, Executed]] = []
    for path, found in ours.items():
        base = maps.base(path)
        names = symbols.functions(Path(path), (entry.address - base for entry in found), core.architecture)
        named += [(names[entry.address - base], entry) for entry in found]
    return tally.rows(named, core)


def _madds(case: Case) -> int | None:
    """What the file says; None of a file that this mfedge cannot read: another tool's operators, for example."""
    try:
        return isolated(madds, Limits())(Path(case.path), case.size)
    except (ArtifactError, UsageError):
        return None


def madds(path: Path, size: Size) -> int:
    """Multiply-adds of a model file: what a worker is asked for, as the file is somebody else's."""
    return read_graph(path, size).madds
