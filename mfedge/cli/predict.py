"""`mfedge predict`: one photograph through an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge.cli import console
from mfedge.cli.options import MEMORY, TIME, Json, MaxMemory, MaxTime, Runtime, limits


def register(app: typer.Typer) -> None:
    app.command("predict")(predict)


def predict(
    artifact: Annotated[Path, typer.Argument(help="An artifact folder.")],
    photo: Annotated[Path, typer.Argument(help="Any common image file.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many classes to print.")] = 5,
    runtime: Runtime = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256)] = 1,
    max_memory: MaxMemory = MEMORY,
    max_time: MaxTime = TIME,
    json: Json = False,
) -> None:
    """Classify a photograph with an artifact, preprocessed as its manifest says."""
    from mfedge.predict import classify
    from mfedge.workers.call import isolated

    result = isolated(classify, limits(max_memory, max_time))(artifact, photo, top, runtime, threads)
    if result.random_weights:
        console.note("warning: this artifact holds random weights: the classes below mean nothing")
    if json:
        import msgspec

        console.print_json(msgspec.to_builtins(result))
        return
    for guess in result.classes:
        console.out(f"{guess.probability:7.2%}  {guess.label}")
