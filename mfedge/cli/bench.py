"""`mfedge bench`: single-thread CPU latency over input sizes, and where one model overtakes another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mfedge.cli import console
from mfedge.cli.options import Cpu
from mfedge.errors import Exit
from mfedge.formats.table import suffixes
from mfedge.runtimes.table import RUNTIMES


def register(app: typer.Typer) -> None:
    app.command("bench")(bench)


def bench(
    suite: Annotated[str, typer.Option("--suite", help="A file of benchmarks/, or ./FILE.toml.")] = "crossover",
    sizes: Annotated[
        str | None, typer.Option("--sizes", help='"224..1024", "224..1024+32", "224,512", "320x256" (height x width).')
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", help=f"Variants, artifact folders, {', '.join(suffixes())} files; comma between."),
    ] = None,
    runtimes: Annotated[
        str | None, typer.Option("--runtimes", help=f"Of {', '.join(RUNTIMES)}; comma between.")
    ] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="The model that ratios are taken to.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help='Time of the whole run: "90s", "5m".')] = None,
    within: Annotated[
        str | None, typer.Option("--within", help='Half-width to reach of every 95 % interval: "3%".')
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", help="Fresh processes of each case.", min=1, max=100)
    ] = None,
    cpu: Cpu = None,
    refine: Annotated[bool, typer.Option("--refine", help="Then bisect for the crossover.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for result, chart and report; default bench-DATE.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON on standard output.")] = False,
) -> None:
    """Measure latency over input sizes in every runtime; table, JSON, chart. Exit code 1 if a case failed."""
    from mfedge.bench.quantities import names
    from mfedge.bench.suite import override, read

    chosen = read(suite)
    if models is not None and reference is None:
        chosen = override(chosen, models=tuple(names(models)), title="Latency over input size")
        if chosen.reference not in chosen.models:  # the suite's own reference is not measured
            from msgspec.structs import replace

            chosen = replace(chosen, reference=None)
    chosen = override(
        chosen, models=models and tuple(names(models)), runtimes=runtimes and tuple(names(runtimes)), sizes=sizes,
        reference=reference, budget=budget, within=within, processes=processes, refine=refine or None,
    )  # fmt: skip
    raise typer.Exit(_run(chosen, cpu, output, json))


def _run(suite: object, cpu: int | None, output: Path | None, json: bool) -> int:
    """Resolve, measure, store, draw; the exit code."""
    import sys
    from datetime import datetime

    from mfedge import files as store
    from mfedge.bench import cases as resolving
    from mfedge.bench import exports
    from mfedge.bench.measure.rounds import INTERRUPTED, Run
    from mfedge.bench.report import files as report
    from mfedge.bench.report import tables
    from mfedge.bench.report.display import Display
    from mfedge.bench.results.schema import Result, encode
    from mfedge.bench.results.summary import summarise
    from mfedge.bench.suite import Suite, choose_reference
    from mfedge.errors import StorageError

    assert isinstance(suite, Suite)
    protocol, sizes = suite.protocol(cpu), suite.parsed_sizes()
    folder = output or Path(f"bench-{datetime.now():%Y%m%d-%H%M%S}")
    path = folder / "result.json"
    store.check_writable(path)
    if not all(resolving.is_path(model) for model in suite.models):
        console.note(console.RANDOM_WEIGHTS)
    with console.progress() as progress:

        def export(variant: str, runtime: str) -> Path:
            progress(f"{variant} for {runtime}")
            return exports.export(variant, runtime)

        cases = resolving.resolve(suite.models, suite.runtimes, sizes, export)
    reference = choose_reference(suite.reference, list(dict.fromkeys(case.model for case in cases)))

    def checkpoint(result: Result) -> None:
        try:
            store.write(path, encode(result))
        except StorageError as error:
            display.note(f"{error}; it will be tried again at the end")

    with Display(reference) as display:
        result = Run(cases, protocol, reference, suite.title, display, checkpoint).execute(suite.refine)
    summary = summarise(result)
    if json:
        sys.stdout.buffer.write(encode(result))
    else:
        from rich.console import Console

        for line in summary.warnings:
            console.note(line)
        Console(width=None if sys.stdout.isatty() else 140).print(tables.terminal(summary))
        for line in tables.statements(summary):
            print(line)
    store.rescue(path, encode(result))
    drawn = report.write(result, folder, note=console.note) if any(row.median for row in summary.rows) else []
    for written in (path, *drawn):
        console.note(str(written))
    if result.ended == INTERRUPTED:
        return Exit.INTERRUPTED
    return int(any(case.status not in ("ok", "unmeasured") for case in result.cases))
