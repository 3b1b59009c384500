"""Options that several commands share, defined once, and what the shell completes their values to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from mfedge import resources
from mfedge.families.table import FAMILIES
from mfedge.runtimes.table import RUNTIMES
from mfedge.workers.process import Limits


def completing(names: Callable[[], Iterable[str]], several: bool = False) -> Callable[[str], list[str]]:
    """A completion of typer's: the names that begin as typed. Where none does, the shell completes files.

    Args:
        names: called when the user asks, as the rows of tables may be others' and files come and go.
        several: whether the option takes names with a comma between; the last one is completed.
    """

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",") if several else ("", "", incomplete)
        given = before.split(",")
        return [f"{before}{comma}{name}" for name in names() if name.startswith(last) and name not in given]

    return complete


def variants() -> list[str]:
    """What --variant takes: the networks' names, with and without their family's."""
    names = resources.names("models")
    return names + [
        name[len(start) :] for start in (f"{f}-" for f in FAMILIES) for name in names if name.startswith(start)
    ]


def runtimes_of_artifacts() -> list[str]:
    """Runtimes that run exported files."""
    return [name for name, row in RUNTIMES.items() if row.artifacts]


MaxMemory = Annotated[
    str, typer.Option("--max-memory", metavar="SIZE", help='Of the process that opens the file: "512M", "8G".')
]
MaxTime = Annotated[
    str, typer.Option("--max-time", metavar="DURATION", help="That it may take without a sign of progress.")
]
Core = Annotated[
    str | None,
    typer.Option(
        "--on",
        help="The emulated core: a file of benchmarks/cores/, or ./FILE.toml; of the gate: the stored one, or avx2.",
        autocompletion=completing(lambda: resources.names("benchmarks/cores")),
    ),
]
Variant = Annotated[
    str,
    typer.Option(
        "--variant",
        help='A network of models/: "214m", "mobilenet-v3-large", or ./FILE.toml.',
        autocompletion=completing(variants),
    ),
]
Set = Annotated[
    list[str], typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the spec, for instance tokens=3.")
]
WeightsFile = Annotated[
    Path | None,
    typer.Option("--weights", metavar="FILE", help="A safetensors or torch checkpoint; random weights without."),
]
NumClasses = Annotated[int, typer.Option("--num-classes", min=1, max=1_000_000, help="Outputs of the classifier.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Cpu = Annotated[int | None, typer.Option("--cpu", help="CPU to pin to; by default the last one allowed.")]
Runtime = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help=f"One of {', '.join(runtimes_of_artifacts())}.",
        autocompletion=completing(runtimes_of_artifacts),
    ),
]

MEMORY, TIME = "8G", "2m"  # defaults


def limits(memory: str, time: str) -> Limits:
    """--max-memory and --max-time as a worker takes them.

    Raises:
        UsageError: not a number of bytes, or not a duration.
    """
    from mfedge.bench.quantities import duration, size_in_bytes

    return Limits(duration(time), size_in_bytes(memory))
