"""`mfedge report`: table, Markdown, CSV, chart and HTML again, from a stored result."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mfedge.bench.report import FORMATS
from mfedge.cli import console
from mfedge.cli.options import Json, completing
from mfedge.errors import UsageError

if TYPE_CHECKING:
    from mfedge.bench.results.summary import Summary


def register(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    result: Annotated[Path, typer.Argument(help="A result.json of mfedge bench.")],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help=f"{', '.join(FORMATS)}; comma between. Default: all of them.",
            autocompletion=completing(lambda: FORMATS, several=True),
        ),
    ] = None,
    profiles: Annotated[
        list[Path], typer.Option("--profile", help="A stored profile for the HTML report; give it again for several.")
    ] = [],  # noqa: B006  # typer reads the default and never changes it
    output: Annotated[Path | None, typer.Option("--output", help="The folder; default: beside the result.")] = None,
    json: Json = False,
) -> None:
    """Redraw everything from a stored result: nothing is measured."""
    from mfedge.bench.quantities import names

    wanted = None if formats is None else tuple(names(formats))
    for name in wanted or ():
        if name not in FORMATS:
            raise UsageError(f"--format {name}: expected one of {', '.join(FORMATS)}")
    from mfedge.bench.profile.run import read as read_profile
    from mfedge.bench.report import files as reports
    from mfedge.bench.results.schema import read
    from mfedge.bench.results.summary import summarise
    from mfedge.bench.stored import encode

    stored = read(result)
    drawn = tuple(read_profile(path) for path in profiles)
    written = reports.write(stored, output or result.parent, wanted, drawn, console.note)
    summary = summarise(stored)
    if json:
        console.document(encode(summary))
    else:
        show(summary)
    for path in written:
        console.note(str(path))


def show(summary: Summary, noted: Collection[str] = ()) -> None:
    """A summary's warnings, but for those that have been noted, its table, and where one model overtakes another."""
    from mfedge.bench.report import tables

    for line in summary.warnings:
        if line not in noted:
            console.note(line)
    console.table(tables.terminal(summary))
    for line in tables.statements(summary):
        console.out(line)
