"""`mfedge weights`: checkpoints made safe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge import files, reading
from mfedge.cli import console
from mfedge.cli.options import MEMORY, TIME, Json, MaxMemory, MaxTime, limits
from mfedge.errors import UsageError
from mfedge.extras import needing
from mfedge.workers.call import isolated


def register(app: typer.Typer) -> None:
    weights = typer.Typer(help="Checkpoints made safe.")
    weights.callback()(lambda: None)  # without it, a single command would swallow its own name
    weights.command("convert")(convert)
    app.add_typer(weights, name="weights")


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A torch or safetensors checkpoint.")],
    destination: Annotated[
        Path, typer.Argument(metavar="OUT.safetensors", help="The file to write; one that is there is replaced.")
    ],
    max_memory: MaxMemory = MEMORY,
    max_time: MaxTime = TIME,
    json: Json = False,
) -> None:
    """Keep a checkpoint's network and nothing else, as .safetensors. Nothing in IN is executed."""
    if destination.suffix != ".safetensors":
        raise UsageError(f"{destination}: expected a name that ends in .safetensors")
    if not destination.parent.is_dir():
        raise UsageError(f"{destination}: its folder does not exist")
    if destination.is_dir():
        raise UsageError(f"{destination}: expected a file, found a folder")
    with files.beside(destination) as made:
        count = isolated(converted, limits(max_memory, max_time))(source, made)
    result = {
        "file": str(destination),
        "tensors": count,
        "bytes": destination.stat().st_size,
        "sha256": reading.sha256(destination),
    }
    if json:
        console.print_json(result)
        return
    console.out(f"{destination}: {count} tensors, {destination.stat().st_size / 1e6:.1f} MB, sha256 {result['sha256']}")


def converted(source: Path, destination: Path) -> int:
    """As `mfedge.checkpoint.convert`, which brings PyTorch: only the process that opens the file needs it."""
    with needing("export", "weights convert"):
        from mfedge.checkpoint import convert
    return convert(source, destination)
