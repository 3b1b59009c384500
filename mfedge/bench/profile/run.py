"""Where the time goes: one model in one runtime at one size, per operator and per part; made, stored, read."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import msgspec

from mfedge import reading
from mfedge.arrays import random_images
from mfedge.bench import stored
from mfedge.bench.cases import checksum
from mfedge.bench.measure.environment import pinned
from mfedge.bench.profile import peak as machine
from mfedge.bench.profile import profilers
from mfedge.bench.profile.parts import part_of
from mfedge.bench.profile.schema import SCHEMA, STORED, Operator, Peak, Profile
from mfedge.families.table import imported
from mfedge.formats.graph import Graph, Node
from mfedge.formats.table import read_graph
from mfedge.runtimes.table import runtime_named
from mfedge.sizes import Size
from mfedge.workers import foreign

WARMUP = 3


def profile(path: Path, model: str, runtime: str, size: Size, runs: int = 20, cpu: int | None = None) -> Profile:
    """Profile a model file.

    Args:
        path: of the file (for PyTorch the variant's TOML).
        model: its name in the report.
        runtime: a name of the runtimes' table.
        runs: inferences that are timed, with and without the profiler.
        cpu: to pin to.

    Raises:
        UsageError, ArtifactError, MissingRuntimeError: it cannot be loaded in that runtime at that size.
    """
    from mfedge import runtimes

    reached = machine.measure(cpu)
    images = random_images(0, size.height, size.width)
    row = runtime_named(runtime)
    counted = read_graph(path, size) if row.artifacts else None
    with pinned(cpu):
        session = runtimes.load(path, runtime=runtime, threads=1)
        with foreign.opening(row.label, path):
            prepared = session.prepare(images)
            seconds = []
            for _ in range(WARMUP + runs):
                foreign.alive()
                start = time.perf_counter()
                session.invoke(prepared)
                seconds.append(time.perf_counter() - start)
            if row.profiler is not None:
                measured = imported(row.profiler)(path, images, runs, counted)
            else:
                measured = profilers.untimed(row.label, counted)
    return assemble(
        measured, counted, reached, model, runtime, str(session.metadata.version), size, path,
        statistics.median(seconds[WARMUP:]), runs,
    )  # fmt: skip


def assemble(
    measured: profilers.Measured,
    counted: Graph | None,
    reached: Peak,
    model: str,
    runtime: str,
    version: str,
    size: Size,
    path: Path,
    seconds: float,
    runs: int,
) -> Profile:
    """Put beside each timed operator what the file says it computes and moves."""
    nodes = {node.name: node for node in counted.nodes} if counted else {}
    operators = []
    for timed in measured.operators:
        madds, moved = timed.madds, timed.bytes
        made_of = [nodes[name] for name in timed.origins or (timed.name,) if name in nodes]
        if counted and made_of:
            made_of = _with_product(made_of, timed.type, counted)
            madds, moved = counted.fused(made_of)
        operators.append(Operator(timed.name, timed.type, part_of(timed.name, timed.type), timed.seconds, madds, moved))
    total = counted.madds if counted else sum(operator.madds or 0 for operator in operators)
    return Profile(
        SCHEMA, model, runtime, version, size, path.name, checksum(path)[0], runs, seconds, measured.seconds,
        total, measured.source, reached, tuple(operators),
    )  # fmt: skip


def _with_product(nodes: list[Node], kind: str, counted: Graph) -> list[Node]:
    """OpenVINO names a fully connected operator after the bias it took in; its product stands before that."""
    if kind != "FullyConnected" or any(node.madds for node in nodes):
        return nodes
    wanted = {name for node in nodes for name in node.inputs}
    return nodes + [node for node in counted.nodes if node.madds and wanted & set(node.outputs)]


def encode(made: Profile) -> bytes:
    """As stored."""
    return stored.encode(made)


def read(path: Path) -> Profile:
    """A stored profile.

    Raises:
        UsageError: no such file, or not of this schema.
    """
    return reading.load(path, STORED, {1: lambda data: msgspec.json.decode(data, type=Profile)})
