"""`mfedge doctor`: what is installed, and what is missing for which command."""

from __future__ import annotations

import typer

from mfedge.cli import console
from mfedge.cli.options import Json


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(json: Json = False) -> None:
    """Say which runtimes can be used here, and what to install for the others."""
    from mfedge import __version__, runtimes
    from mfedge.errors import MissingRuntimeError

    rows = []
    for name in runtimes.RUNTIMES:
        try:
            rows.append({"runtime": name, "version": runtimes.get(name).version(), "missing": None})
        except MissingRuntimeError as error:
            rows.append({"runtime": name, "version": None, "missing": str(error)})
    if json:
        console.print_json({"mfedge": __version__, "runtimes": rows})
        return
    print(f"mfedge {__version__}")
    for row in rows:
        print(f"{row['runtime']:16} {row['version'] or 'not usable: ' + str(row['missing'])}")
