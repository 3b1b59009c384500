"""Options that several commands share, defined once, and how their texts become values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge.runtimes.table import RUNTIMES
from mfedge.workers.process import Limits

MaxMemory = Annotated[
    str, typer.Option("--max-memory", metavar="SIZE", help='Of the process that opens the file: "512M", "8G".')
]
MaxTime = Annotated[
    str, typer.Option("--max-time", metavar="DURATION", help="That it may take between two signs of life.")
]
Variant = Annotated[
    str, typer.Option("--variant", help='A network of models/: "214m", "mobilenet-v3-large", or ./FILE.toml.')
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
    typer.Option("--runtime", help=f"One of {', '.join(name for name, row in RUNTIMES.items() if row.artifacts)}."),
]

MEMORY, TIME = "8G", "2m"  # defaults


def limits(memory: str, time: str) -> Limits:
    """--max-memory and --max-time as a worker takes them.

    Raises:
        UsageError: not a number of bytes, or not a duration.
    """
    from mfedge.bench.quantities import duration, size_in_bytes

    return Limits(duration(time), size_in_bytes(memory))
