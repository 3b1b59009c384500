"""`mfedge profile`: where the time goes, per operator and per part of the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mfedge.cli import console
from mfedge.cli.options import MEMORY, TIME, Cpu, Json, MaxMemory, MaxTime, completing, limits, variants
from mfedge.errors import MissingRuntimeError
from mfedge.runtimes.table import RUNTIMES

if TYPE_CHECKING:
    from mfedge.bench.profile.schema import Profile


def register(app: typer.Typer) -> None:
    app.command("profile")(profile)


def profile(
    model: Annotated[
        str,
        typer.Argument(help="An artifact folder, a model file, or a variant.", autocompletion=completing(variants)),
    ],
    size: Annotated[
        str | None, typer.Option("--size", help='"512" or "320x256" (height x width); default: its own, or 224.')
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            "--runtime", help="Default: the first that reads it.", autocompletion=completing(lambda: RUNTIMES)
        ),
    ] = None,
    runs: Annotated[int, typer.Option("--runs", help="Inferences that are timed.", min=3, max=10_000)] = 20,
    cpu: Cpu = None,
    max_memory: MaxMemory = MEMORY,
    max_time: MaxTime = TIME,
    top: Annotated[int, typer.Option("--top", help="Operators that are listed.", min=0, max=1000)] = 10,
    output: Annotated[Path | None, typer.Option("--output", help="Folder for profile.json and the roofline.")] = None,
    json: Json = False,
) -> None:
    """Time per operator and part, beside multiply-adds and bytes and what this core was measured to reach."""
    from mfedge import files as store
    from mfedge.bench import cases
    from mfedge.bench.measure.environment import chosen_cpu
    from mfedge.bench.profile import roofline
    from mfedge.bench.profile.run import encode
    from mfedge.bench.profile.run import profile as make
    from mfedge.sizes import parse_size
    from mfedge.workers.call import isolated

    if output is not None:
        store.check_writable(output / "profile.json")
    one = cases.default_size(model) if size is None else parse_size(size)
    if not cases.is_path(model):
        console.note(console.RANDOM_WEIGHTS)
    with console.progress() as progress:
        progress("looking for the file")
        found = cases.resolve([model], [runtime] if runtime else _first(model), [one])[0]
        progress(f"profiling {found.label}")
        run = isolated(make, limits(max_memory, max_time))
        made = run(Path(found.path), found.model, found.runtime, one, runs, chosen_cpu(cpu))
    if json:
        console.document(encode(made))
    else:
        _show(made, top)
    if output is not None:
        contents = {"profile.json": encode(made)}
        if made.timed:
            try:
                contents |= {f"roofline.{kind}": data for kind, data in roofline.draw(made).items()}
            except MissingRuntimeError as error:
                console.note(str(error))
        store.write_all(output, contents)
        console.note(str(output / "profile.json"))


def _show(made: Profile, top: int) -> None:
    """Two tables of shares, and the `top` slowest operators."""
    from rich import box
    from rich.table import Table

    from mfedge.bench.profile import tables

    console.out(tables.headline(made))
    for line in tables.remarks(made):
        console.out(line)
    for first, rows in (("part", tables.rows(made, "part")), ("type", tables.rows(made, "type"))):
        table = Table(box=box.SIMPLE_HEAD)
        for i, name in enumerate((first, *tables.COLUMNS[1:])):
            table.add_column(name, justify="right" if i else "left")
        for row in rows:
            table.add_row(*row)
        console.table(table)
    if made.timed and top:
        table = Table("operator", "type", "part", "ms", "M MAdds", box=box.SIMPLE_HEAD)
        for row in tables.slowest(made)[:top]:
            table.add_row(*row)
        console.table(table)


def _first(model: str) -> list[str] | None:
    """A variant is profiled in onnxruntime unless asked otherwise; of a path, any runtime that reads it."""
    from mfedge.bench.cases import is_path

    return None if is_path(model) else ["onnxruntime"]
