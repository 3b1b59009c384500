"""What a change to a model costs without measuring anything: the gate's deterministic half."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from mfedge import reading
from mfedge.bench import stored
from mfedge.bench.cases import checksum
from mfedge.bench.stored import Count, Text
from mfedge.errors import UsageError
from mfedge.formats.table import read_graph
from mfedge.sizes import Size

STORED = reading.Stored("stored figures", "mfedge.figures", 1, 16 << 20, UsageError)
SCHEMA = f"{STORED.schema}/{STORED.current}"
TRANSPOSES = {"Transpose", "TRANSPOSE"}
CONSTANTS = {"Constant"}


class Figures(Struct, frozen=True):
    """Counted on the file at one input size, or read from benchmarks/baselines."""

    schema: str
    file: Text
    size: Size
    operators: Annotated[dict[Text, Count], Meta(max_length=10_000)]  # by type, most frequent first
    transposes: Count
    parameters: Count
    madds: Count
    file_bytes: Count
    peak_activation_bytes: Count

    def numbers(self) -> dict[str, int]:
        """What is compared, one number a name; operators by type as "operators: Conv"."""
        named = {f"operators: {name}": count for name, count in self.operators.items()}
        return {
            "operators": sum(self.operators.values()),
            "transposes": self.transposes,
            "parameters": self.parameters,
            "MAdds": self.madds,
            "file bytes": self.file_bytes,
            "peak activation bytes": self.peak_activation_bytes,
            **named,
        }


class FigureLine(Struct, frozen=True):
    """One number of both."""

    name: str
    baseline: int
    candidate: int
    limit: float  # growth allowed, 0.01 is 1 %
    blocks: bool

    @property
    def growth(self) -> float:
        """0.03 is 3 % more; infinite from nothing to something."""
        if self.baseline == 0:
            return 0.0 if self.candidate == 0 else float("inf")
        return self.candidate / self.baseline - 1


def count(path: Path, size: Size) -> Figures:
    """The figures of a model file.

    Raises:
        UsageError, ArtifactError: as `read_graph`.
    """
    found = read_graph(path, size)
    types = Counter(node.type for node in found.nodes if node.type not in CONSTANTS)
    return Figures(
        SCHEMA,
        path.name,
        size,
        dict(sorted(types.items(), key=lambda item: (-item[1], item[0]))),
        sum(number for name, number in types.items() if name in TRANSPOSES),
        found.parameters,
        found.madds,
        checksum(path)[1],
        found.peak_activation_bytes,
    )


def read(path: Path) -> Figures:
    """Stored figures.

    Raises:
        UsageError: no such file, or not of this schema.
    """
    return reading.load(path, STORED, {1: lambda data: msgspec.json.decode(data, type=Figures)})


def encode(figures: Figures) -> bytes:
    """As stored; the same file gives the same bytes."""
    return stored.encode(figures)


def compare(baseline: Figures, candidate: Figures, limit: float = 0.0, file_limit: float = 0.01) -> list[FigureLine]:
    """Every figure of both; one that grew beyond its limit blocks. An operator type alone is shown, never blocks.

    Args:
        limit: growth allowed of every total; 0 allows none.
        file_limit: the same of the file's bytes, where names and padding cost a little.

    Raises:
        UsageError: counted at different sizes.
    """
    if baseline.size != candidate.size:
        raise UsageError(f"figures: expected the same input size, found {baseline.size} and {candidate.size}")
    before, after = baseline.numbers(), candidate.numbers()
    lines = []
    for name in (*before, *(name for name in after if name not in before)):
        allowed = max(limit, file_limit) if name == "file bytes" else limit
        old, new = before.get(name, 0), after.get(name, 0)
        total = not name.startswith("operators: ")
        lines.append(FigureLine(name, old, new, allowed, total and new > old * (1 + allowed) + 1e-9))
    return lines
