"""`mfedge verify`: is an artifact still what was exported?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge.cli import console
from mfedge.cli.options import MEMORY, TIME, Json, MaxMemory, MaxTime, Runtime, limits


def register(app: typer.Typer) -> None:
    app.command("verify")(verify)


def verify(
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.")],
    runtime: Runtime = None,
    max_memory: MaxMemory = MEMORY,
    max_time: MaxTime = TIME,
    json: Json = False,
) -> None:
    """Check an artifact's sums and structure, and replay its proof. Needs no PyTorch."""
    from mfedge.artifacts.verify import verify as run
    from mfedge.workers.call import isolated

    with console.progress() as progress:
        result = isolated(run, limits(max_memory, max_time), progress)(artifact, runtime)
    if result.random_weights:
        console.note("warning: this artifact holds random weights; never ship it")
    if json:
        import msgspec

        console.print_json(msgspec.to_builtins(result))
        return
    skipped = f" ({result.skipped} more cannot be replayed here)" if result.skipped else ""
    console.out(
        f"{result.artifact}: {result.files} files sound, {result.operators} operators, "
        f"{result.cases} parity cases{skipped} within {result.max_relative:.1e} "
        f"(bound {result.bound:g}) in {result.runtime}"
    )
