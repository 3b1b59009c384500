"""`mfedge report`: table, Markdown, CSV, chart and HTML again, from a stored result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge.cli import console


def register(app: typer.Typer) -> None:
    app.command("report")(report)


def report(
    result: Annotated[Path, typer.Argument(help="A result.json of mfedge bench.")],
    formats: Annotated[
        str | None, typer.Option("--format", help="md, csv, svg, png, html; comma between. Default: all of them.")
    ] = None,
    profiles: Annotated[
        list[Path], typer.Option("--profile", help="A stored profile for the HTML report; give it again for several.")
    ] = [],  # noqa: B006  # typer reads the default and never changes it
    output: Annotated[Path | None, typer.Option("--output", help="The folder; default: beside the result.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The derived statistics as JSON on standard output.")] = False,
) -> None:
    """Redraw everything from a stored result: nothing is measured."""
    import sys

    from mfedge.bench.profile.run import read as read_profile
    from mfedge.bench.quantities import names
    from mfedge.bench.report import files as reports
    from mfedge.bench.report import tables
    from mfedge.bench.results.schema import read
    from mfedge.bench.results.summary import summarise
    from mfedge.bench.stored import encode
    from mfedge.errors import UsageError

    wanted = None if formats is None else tuple(names(formats))
    for name in wanted or ():
        if name not in reports.FORMATS:
            raise UsageError(f"--format {name}: expected one of {', '.join(reports.FORMATS)}")
    stored = read(result)
    drawn = tuple(read_profile(path) for path in profiles)
    written = reports.write(stored, output or result.parent, wanted, drawn, console.note)
    summary = summarise(stored)
    if json:
        sys.stdout.buffer.write(encode(summary))
    else:
        from rich.console import Console

        for line in summary.warnings:
            console.note(line)
        Console(width=None if sys.stdout.isatty() else 140).print(tables.terminal(summary))
        for line in tables.statements(summary):
            print(line)
    for path in written:
        console.note(str(path))
