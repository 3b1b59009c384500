"""`mfedge bench`: single-thread CPU latency over input sizes, and where one model overtakes another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mfedge import resources
from mfedge.cli import console
from mfedge.cli.options import MEMORY, TIME, Cpu, Json, MaxMemory, MaxTime, completing, limits, variants
from mfedge.errors import Exit, StorageError
from mfedge.formats.table import suffixes
from mfedge.runtimes.table import RUNTIMES

if TYPE_CHECKING:
    from mfedge.bench.results.schema import Protocol
    from mfedge.bench.suite import Suite


def register(app: typer.Typer) -> None:
    app.command("bench")(bench)


def bench(
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            help="A file of benchmarks/, or ./FILE.toml.",
            autocompletion=completing(lambda: resources.names("benchmarks")),
        ),
    ] = "crossover",
    sizes: Annotated[
        str | None, typer.Option("--sizes", help='"224..1024", "224..1024+32", "224,512", "320x256" (height x width).')
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            help=f"Variants, artifact folders, {', '.join(suffixes())} files; comma between.",
            autocompletion=completing(variants, several=True),
        ),
    ] = None,
    runtimes: Annotated[
        str | None,
        typer.Option(
            "--runtimes",
            help=f"Of {', '.join(RUNTIMES)}; comma between.",
            autocompletion=completing(lambda: RUNTIMES, several=True),
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="The model that ratios are taken to; measured too if it is not among --models.",
            autocompletion=completing(variants),
        ),
    ] = None,
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
    max_memory: MaxMemory = MEMORY,
    max_time: MaxTime = TIME,
    json: Json = False,
) -> None:
    """Measure latency over input sizes in every runtime; table, JSON, chart. Exit code 1 if a case failed."""
    from mfedge.bench.quantities import names
    from mfedge.bench.suite import TITLE, override, read

    chosen = override(
        read(suite),
        title=None if models is None else TITLE,
        models=None if models is None else tuple(names(models)),
        runtimes=None if runtimes is None else tuple(names(runtimes)),
        sizes=sizes, reference=reference, budget=budget, within=within, processes=processes, refine=refine or None,
    )  # fmt: skip
    chosen = chosen.with_reference(asked=models is None or reference is not None)
    raise typer.Exit(_run(chosen, chosen.protocol(cpu, limits(max_memory, max_time)), output, json))


def _run(suite: Suite, protocol: Protocol, output: Path | None, json: bool) -> int:
    """Resolve, measure, store, draw; the exit code."""
    import sys
    from datetime import datetime

    from mfedge import files as store
    from mfedge.bench import cases as resolving
    from mfedge.bench import exports
    from mfedge.bench.measure.rounds import INTERRUPTED, Run
    from mfedge.bench.report import files as report
    from mfedge.bench.report.display import Display
    from mfedge.bench.results.schema import Result, encode
    from mfedge.bench.results.summary import summarise
    from mfedge.bench.suite import choose_reference
    from mfedge.cli.report import show

    sizes = suite.parsed_sizes()
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

    with Display(console.rich(sys.stderr), reference) as display:
        run = Run(cases, protocol, reference, suite.title, display, checkpoint)
        result = run.execute(suite.refine)
    summary = summarise(result)
    if json:
        console.document(encode(result))
    else:
        show(summary, noted=summary.failures)  # the display has
    store.rescue(path, encode(result))
    try:
        drawn = report.write(result, folder, note=console.note) if any(row.median for row in summary.rows) else []
    except StorageError as error:
        raise StorageError(f"{error} but {path}, which `mfedge report` draws the rest from") from None
    for written in (path, *drawn):
        console.note(str(written))
    return Exit.INTERRUPTED if result.ended == INTERRUPTED else run.exit_code
