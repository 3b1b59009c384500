"""`mfedge count`: instructions of one inference on an emulated core, the same number every time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mfedge import resources
from mfedge.cli import console
from mfedge.cli.options import Core, Json, completing, limits, runtimes_of_artifacts, variants
from mfedge.errors import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from mfedge.bench.cases import Case
    from mfedge.bench.count.schema import Counts
    from mfedge.bench.count.suite import Suite
    from mfedge.bench.count.tables import Table


def register(app: typer.Typer) -> None:
    app.command("count")(count)


def count(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Artifact folders, model files of any tool, or variants: 214m@native.",
            autocompletion=completing(variants),
        ),
    ] = None,
    on: Core = None,
    sizes: Annotated[
        str | None, typer.Option("--size", "--sizes", help='"512", "224,512", "320x256"; default: its own, or 224.')
    ] = None,
    runtimes: Annotated[
        str | None,
        typer.Option(
            "--runtime",
            "--runtimes",
            help="Default: every one that reads the file.",
            autocompletion=completing(runtimes_of_artifacts, several=True),
        ),
    ] = None,
    suite: Annotated[str | None, typer.Option("--suite", help="A file of benchmarks/, or ./FILE.toml: phones.")] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="The model that ratios are taken to.", autocompletion=completing(variants)),
    ] = None,
    max_memory: Annotated[
        str, typer.Option("--max-memory", metavar="SIZE", help="Address space of the emulator of one case.")
    ] = "16G",
    max_time: Annotated[str, typer.Option("--max-time", metavar="DURATION", help="That one case may take.")] = "10m",
    jobs: Annotated[int | None, typer.Option("--jobs", help="Cases at once; default: one per CPU.", min=1)] = None,
    top: Annotated[int, typer.Option("--top", help="Functions that are listed.", min=1, max=1000)] = 25,
    output: Annotated[Path | None, typer.Option("--output", help="Folder for result, report and chart.")] = None,
    json: Json = False,
) -> None:
    """Count instructions by class, library and function, and bound the cycles from below. Nothing is timed."""
    from mfedge import files as store
    from mfedge.bench.count import cores, schema
    from mfedge.bench.count import suite as running
    from mfedge.bench.suite import choose_reference

    chosen = _chosen(models, on, sizes, runtimes, suite, reference)
    cores.read(chosen.on)  # a wrong name is known before minutes of exports
    limited = limits(max_memory, max_time)
    if output is not None:
        store.check_writable(output / "result.json")
    with console.progress() as progress:
        cases = _cases(chosen, progress)
        named = choose_reference(chosen.reference, list(dict.fromkeys(case.model for case in cases)))
        made = running.run(cases, chosen.on, chosen.title, named, limited, jobs, progress)
    for failure in made.failures:
        console.note(f"{failure.model} in {failure.runtime} at {failure.size}: {failure.message}")
    if json:
        console.document(schema.encode(made))
    else:
        _show(made, top)
    if output is not None:
        drawn = _files(made)
        store.write_all(output, drawn)
        for name in drawn:
            console.note(str(output / name))
    raise typer.Exit(Exit.REGRESSION if made.failures else Exit.DONE)


def _chosen(
    models: list[str] | None,
    on: str | None,
    sizes: str | None,
    runtimes: str | None,
    suite: str | None,
    reference: str | None,
) -> Suite:
    """The suite as a file has it, or as the command line asks; options override the file's fields."""
    from msgspec.structs import replace

    from mfedge.bench.count.suite import Suite, read
    from mfedge.bench.quantities import names
    from mfedge.errors import UsageError

    if suite is None and (not models or on is None):
        known = ", ".join(resources.names("benchmarks/cores"))
        raise UsageError(f"count: expected models and --on with one of {known}, or --suite NAME")
    chosen = Suite(on or "", tuple(models or ())) if suite is None else read(suite)
    options = {
        "on": on, "models": tuple(models) if models else None, "sizes": sizes, "reference": reference,
        "runtimes": tuple(names(runtimes)) if runtimes else None,
    }  # fmt: skip
    if models and reference is None:
        chosen = replace(chosen, reference=None)  # the suite's own may not be counted
    return replace(chosen, **{name: value for name, value in options.items() if value is not None})


def _cases(chosen: Suite, progress: Callable[[str], None]) -> list[Case]:
    """Every model × runtime × size; variants are exported."""
    from mfedge.bench import cases, exports
    from mfedge.errors import UsageError
    from mfedge.runtimes.table import RUNTIMES, runtime_named
    from mfedge.sizes import parse_sizes

    wanted = chosen.runtimes or tuple(name for name, row in RUNTIMES.items() if row.artifacts and row.measured)
    for name in wanted:
        if not runtime_named(name).artifacts:
            raise UsageError(f"count --runtime {name}: expected a runtime of model files, found one of networks")
    if not all(cases.is_path(model) for model in chosen.models):
        console.note(console.RANDOM_WEIGHTS)

    def export(variant: str, runtime: str) -> Path:
        progress(f"{variant} for {runtime}")
        return exports.export(variant, runtime)

    if chosen.sizes is not None:
        return cases.resolve(chosen.models, wanted, parse_sizes(chosen.sizes), export)
    return [
        case for model in chosen.models for case in cases.resolve([model], wanted, [cases.default_size(model)], export)
    ]


def _files(made: Counts) -> dict[str, bytes]:
    """Name → bytes. A chart needs sizes and models to compare, and a library that draws."""
    from mfedge.bench.count import chart, schema, tables
    from mfedge.errors import MissingRuntimeError

    found = {"result.json": schema.encode(made), "report.md": tables.markdown(made).encode()}
    if len(made.counts) > 1:
        try:
            found["chart.svg"] = chart.draw(made)
        except MissingRuntimeError as error:
            console.note(str(error))
    return found


def _show(made: Counts, top: int) -> None:
    """The tables of one case, or a row per case."""
    from mfedge.bench.count import tables

    if len(made.counts) != 1:
        _print(tables.cases(made))
        return
    (one,) = made.counts
    console.out(tables.headline(one, made))
    _print(tables.libraries(one, made))
    if one.functions:
        _print(tables.functions(one, made, top))


def _print(table: Table) -> None:
    from rich import box
    from rich.table import Table as Grid

    grid = Grid(box=box.SIMPLE_HEAD)
    for i, name in enumerate(table.columns):
        words = i < table.texts or name == "limited by"
        longest = max(map(len, name.split()))  # a heading may wrap, a number may not be cut
        grid.add_column(name, justify="left" if words else "right", no_wrap=i == 0, min_width=i and longest)
    for row in table.rows:
        grid.add_row(*row)
    console.table(grid)
