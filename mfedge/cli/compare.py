"""`mfedge compare`: two stored results of one environment, or their ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge.cli import console
from mfedge.cli.options import Json


def register(app: typer.Typer) -> None:
    app.command("compare")(compare)


def compare(
    old: Annotated[Path, typer.Argument(help="A stored result.")],
    new: Annotated[Path, typer.Argument(help="Another one.")],
    ratios_only: Annotated[
        bool, typer.Option("--ratios-only", help="Compare ratios to the reference of the same run, on any host.")
    ] = False,
    json: Json = False,
) -> None:
    """Put two results side by side. Exit code 1 if a case is slower, 4 if the environments differ."""
    import msgspec

    from mfedge.bench.quantities import milliseconds
    from mfedge.bench.results.compare import compare as lines_of
    from mfedge.bench.results.schema import read

    lines = lines_of(read(old), read(new), ratios_only)
    if json:
        console.print_json([{**msgspec.to_builtins(line), "change": line.change} for line in lines])
    else:
        from rich import box
        from rich.table import Table

        unit = "ratio" if ratios_only else "ms"
        models = sorted({line.model for line in lines})
        title = models[0] if len(models) == 1 else None
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        for name in ("px", "runtime", *(() if title else ("model",)), f"old {unit}", f"new {unit}", "change", ""):
            table.add_column(name, no_wrap=True)
        for line in lines:
            old_new = [f"{v.estimate:.2f} ({v.low:.2f}–{v.high:.2f})" if ratios_only else milliseconds(v.estimate)
                       for v in (line.old, line.new)]  # fmt: skip
            model = () if title else (line.model,)
            table.add_row(str(line.size), line.runtime, *model, *old_new, f"{line.change - 1:+.1%}", line.verdict)
        console.table(table)
        agree = sum(line.verdict == "agree" for line in lines)
        console.out(f"{agree} of {len(lines)} agree within their stated intervals")
    raise typer.Exit(int(any(line.verdict == "slower" for line in lines)))
