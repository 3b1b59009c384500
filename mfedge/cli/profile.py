"""`mfedge profile`: where the time goes, per operator and per part of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge.cli import console
from mfedge.cli.options import MEMORY, TIME, Cpu, MaxMemory, MaxTime, limits


def register(app: typer.Typer) -> None:
    app.command("profile")(profile)


def profile(
    model: Annotated[str, typer.Argument(help="An artifact folder, a model file, or a variant.")],
    size: Annotated[
        str | None, typer.Option("--size", help='"512" or "320x256" (height x width); default: its own, or 224.')
    ] = None,
    runtime: Annotated[str | None, typer.Option("--runtime", help="Default: the first that reads it.")] = None,
    runs: Annotated[int, typer.Option("--runs", help="Inferences that are timed.", min=3, max=10_000)] = 20,
    cpu: Cpu = None,
    max_memory: MaxMemory = MEMORY,
    max_time: MaxTime = TIME,
    top: Annotated[int, typer.Option("--top", help="Operators that are listed.", min=0, max=1000)] = 10,
    output: Annotated[Path | None, typer.Option("--output", help="Folder for profile.json and the roofline.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The profile as JSON on standard output.")] = False,
) -> None:
    """Time per operator and part, beside multiply-adds and bytes and what this core was measured to reach."""
    import sys

    from mfedge import files as store
    from mfedge.bench import cases
    from mfedge.bench.measure.environment import chosen_cpu
    from mfedge.bench.profile import roofline
    from mfedge.bench.profile import tables as profile_report
    from mfedge.bench.profile.run import encode
    from mfedge.bench.profile.run import profile as make
    from mfedge.sizes import parse_size
    from mfedge.workers.call import isolated

    one = cases.default_size(model) if size is None else parse_size(size)
    if not cases.is_path(model):
        console.note(console.RANDOM_WEIGHTS)
    with console.progress() as progress:
        progress("looking for the file")
        found = cases.resolve([model], [runtime] if runtime else _first(model), [one])[0]
        progress(f"profiling {found.label}")
        run = isolated(make, limits(max_memory, max_time))
        made = run(Path(found.path), found.model, found.runtime, one, runs, chosen_cpu(cpu))
    if output is not None:
        store.write(output / "profile.json", encode(made))
        if made.timed:
            for kind, data in roofline.draw(made).items():
                store.write(output / f"roofline.{kind}", data)
        console.note(str(output / "profile.json"))
    if json:
        sys.stdout.buffer.write(encode(made))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    print(profile_report.headline(made))
    for line in profile_report.remarks(made):
        print(line)
    out = Console(width=None if sys.stdout.isatty() else 140)
    for first, rows in (("part", profile_report.rows(made, "part")), ("type", profile_report.rows(made, "type"))):
        table = Table(box=box.SIMPLE_HEAD)
        for i, name in enumerate((first, *profile_report.COLUMNS[1:])):
            table.add_column(name, justify="right" if i else "left")
        for row in rows:
            table.add_row(*row)
        out.print(table)
    if made.timed and top:
        table = Table("operator", "type", "part", "ms", "M MAdds", box=box.SIMPLE_HEAD)
        for row in profile_report.slowest(made)[:top]:
            table.add_row(*row)
        out.print(table)


def _first(model: str) -> list[str] | None:
    """A variant is profiled in onnxruntime unless asked otherwise; of a path, any runtime that reads it."""
    from mfedge.bench.cases import is_path

    return None if is_path(model) else ["onnxruntime"]
