"""One case on an emulated core: run it, and add up what the plugin has seen."""

from __future__ import annotations

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
from mfedge.errors import ArtifactError, Exit, MfedgeError
from mfedge.formats.table import read_graph
from mfedge.workers.process import Death, Limits, Process

SEED = 0  # of the image
MODULE = "mfedge.bench.count.child"
LIMITS = Limits(seconds=600.0, memory_bytes=16 << 30)
DECODERS: dict[Architecture, Callable[[], Decoder]] = {"aarch64": aarch64.Decoder, "x86_64": x86_64.Decoder}


class Measured(Struct, frozen=True):
    """A count, and what the model answered."""

    count: Count
    outputs: dict[str, tuple[float, ...]]  # flat


def count(case: Case, core: Core, limits: Limits = LIMITS) -> Measured:
    """Count one inference.

    Args:
        case: which file, runtime and size.
        core: to emulate.
        limits: of the whole process.

    Raises:
        MissingRuntimeError: something is not installed.
        ArtifactError: the file cannot be run, or the process died or took too long.
    """
    decoder = DECODERS[core.architecture]()
    with emulator(core, limits.memory_bytes) as found:
        reply = _run(case, found, limits)
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


def _run(case: Case, on: Emulator, limits: Limits) -> child.Counted:
    """The child's answer."""
    request = child.Request(case.path, case.runtime, case.size.height, case.size.width, SEED)
    process = Process(MODULE, (), limits, {}, on.interpreter)
    try:
        process.send(msgspec.json.encode(request))
        line = process.receive()
    except Death as death:
        raise ArtifactError(f"{case.label}: the counted process {death.reason}") from None
    finally:
        process.close()
    reply: child.Reply = msgspec.json.decode(line, type=child.Reply)
    if isinstance(reply, child.Failed):
        error = MfedgeError(f"{case.label}: {reply.message}")
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
        return read_graph(Path(case.path), case.size).madds
    except MfedgeError:
        return None
