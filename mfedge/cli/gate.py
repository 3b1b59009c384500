"""`mfedge gate`: has a change made the model slower? Deterministic figures and counts first, then paired time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mfedge.cli import console
from mfedge.cli.options import (
    MEMORY,
    TIME,
    Core,
    Cpu,
    Json,
    MaxMemory,
    MaxTime,
    completing,
    limits,
    runtimes_of_artifacts,
)
from mfedge.errors import UsageError
from mfedge.text import line

if TYPE_CHECKING:
    from mfedge.bench.gate.figures import FigureLine
    from mfedge.bench.gate.judge import Report, Settings
    from mfedge.bench.gate.run import Pair
    from mfedge.sizes import Size


def register(app: typer.Typer) -> None:
    app.command("gate")(gate)


def gate(
    baseline: Annotated[
        Path, typer.Argument(help="An artifact folder or model file; or stored figures or counts, a .json.")
    ],
    candidate: Annotated[Path, typer.Argument(help="An artifact folder or model file.")],
    threshold: Annotated[str, typer.Option("--threshold", help="Slowdown that is still allowed.")] = "3%",
    limit: Annotated[str, typer.Option("--limit", help="Growth of operators, MAdds, … that is still allowed.")] = "0%",
    sizes: Annotated[
        str | None, typer.Option("--sizes", help="As for mfedge bench; default: the candidate's own, or 224.")
    ] = None,
    runtimes: Annotated[
        str | None,
        typer.Option(
            "--runtimes",
            help="Default: every one that reads both.",
            autocompletion=completing(runtimes_of_artifacts, several=True),
        ),
    ] = None,
    budget: Annotated[str, typer.Option("--budget", help='Time to measure: "90s", "5m".')] = "5m",
    tolerance: Annotated[float, typer.Option("--tolerance", help="Of the outputs, relative to the largest.")] = 1e-3,
    figures_only: Annotated[bool, typer.Option("--figures-only", help="Time nothing: no noise.")] = False,
    count: Annotated[
        bool, typer.Option("--count", help="Count instructions; time only what they say has changed.")
    ] = False,
    on: Core = None,
    count_limit: Annotated[
        str, typer.Option("--count-limit", help="Growth of all instructions that is still allowed.")
    ] = "0.5%",
    library_limit: Annotated[
        str, typer.Option("--library-limit", help="Growth of the instructions of mfedge's library, the same.")
    ] = "0.1%",
    timed: Annotated[bool, typer.Option("--time", help="With --count: time all cases.")] = False,
    save_figures: Annotated[
        Path | None, typer.Option("--save-figures", help="Store the candidate's figures, a later baseline.")
    ] = None,
    cpu: Cpu = None,
    max_memory: MaxMemory = MEMORY,
    max_time: MaxTime = TIME,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Write the summary for a pull request.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    json: Json = False,
) -> None:
    """Hold a candidate against a baseline: structure, outputs, instructions, latency.

    Exit code 0 pass, 1 regression, 2 usage, 3 inconclusive (no pass), 4 environment mismatch, 5 outputs differ.
    """
    from mfedge import files as store
    from mfedge import reading
    from mfedge.bench.cases import default_size
    from mfedge.bench.gate import report as gate_report
    from mfedge.bench.gate.judge import Settings
    from mfedge.bench.measure.environment import chosen_cpu
    from mfedge.bench.quantities import duration, share
    from mfedge.sizes import parse_sizes

    if not 0 <= tolerance <= 1:
        raise UsageError(f"--tolerance {tolerance:g}: expected a share of the largest output, from 0 to 1")
    worker = limits(max_memory, max_time)
    settings = Settings(
        threshold=share(threshold), limit=share(limit), tolerance=tolerance, budget_seconds=duration(budget),
        cpu=chosen_cpu(cpu), timeout_seconds=worker.seconds, memory_bytes=worker.memory_bytes,
        count_limit=share(count_limit), library_limit=share(library_limit),
    )  # fmt: skip
    outputs = [reading.real(path) for path in (markdown, junit, save_figures) if path is not None]
    if len(set(outputs)) < len(outputs):
        raise UsageError("--markdown, --junit and --save-figures: expected a file for each, found one for several")
    for place in outputs:
        if place in (reading.real(candidate), reading.real(baseline)) and place.suffix != ".json":
            raise UsageError(f"{place}: expected a file to write, found one that is compared; choose another place")
        store.check_writable(place)
    stored = baseline.suffix == ".json"
    if count and stored:
        report = _against_counts(baseline, candidate, settings, sizes, runtimes, on)
    else:
        at = [default_size(str(reading.real(candidate)))] if sizes is None else parse_sizes(sizes)
        core = (on or "avx2") if count else None
        report = _gate(baseline, candidate, settings, at, runtimes, figures_only or stored, save_figures, core, timed)
    for path, data in ((markdown, gate_report.markdown(report).encode()), (junit, gate_report.junit(report))):
        if path is not None:
            store.write(path, data)
    if json:
        console.document(gate_report.to_json(report))
    else:
        console.document(gate_report.markdown(report).encode())
    raise typer.Exit(report.exit_code)


def _gate(
    baseline: Path,
    candidate: Path,
    settings: Settings,
    sizes: list[Size],
    runtimes: str | None,
    figures_only: bool,
    save_figures: Path | None,
    core: str | None,
    timed: bool,
) -> Report:
    """Count, then measure; what ends it early is a report too."""
    from msgspec.structs import replace

    from mfedge import reading
    from mfedge.bench.count import cores
    from mfedge.bench.gate import counting, counts
    from mfedge.bench.gate import report as gate_report
    from mfedge.bench.gate.judge import SCHEMA, Report, conclude, verdict
    from mfedge.bench.gate.run import Gate
    from mfedge.errors import GateError

    names = line(reading.real(baseline).name), line(reading.real(candidate).name)
    pairs = [] if baseline.suffix == ".json" else _pairs(baseline, candidate, sizes, runtimes)
    figures = _figures(baseline, candidate, pairs, sizes[0], settings, save_figures)
    code, reasons = conclude((), figures)
    report = Report(SCHEMA, *names, int(code), verdict(code), tuple(reasons), settings, figures, (), {}, 0, 0.0)
    if code:
        return report
    try:
        with console.progress() as progress:
            if core is not None:
                lines, parity = counting.of_pairs(pairs, core, settings, progress)
                code, reasons = conclude((), figures, lines)
                report = replace(
                    report, exit_code=int(code), verdict=verdict(code), reasons=tuple(reasons), parity=parity,
                    counts=tuple(lines), counted_on=cores.read(core).title,
                )  # fmt: skip
                changed = counts.moved(lines)
                pairs = [(a, b) for a, b in pairs if timed or (b.runtime, b.size) in changed]
            if figures_only or code or not pairs:
                return report
            timing = Gate(pairs, settings, progress).run(figures, *names)
            return replace(timing, counts=report.counts, counted_on=report.counted_on)
    except GateError as error:
        return gate_report.failed(*names, error.exit_code, str(error), report)


def _against_counts(
    baseline: Path, candidate: Path, settings: Settings, sizes: str | None, runtimes: str | None, on: str | None
) -> Report:
    """The candidate against stored counts, whose runtimes and sizes are taken unless others are asked for."""
    from msgspec.structs import replace

    from mfedge import reading
    from mfedge.bench.cases import resolve
    from mfedge.bench.count import schema
    from mfedge.bench.gate import counting, counts
    from mfedge.bench.gate import report as gate_report
    from mfedge.bench.gate.judge import SCHEMA, Report, conclude, verdict
    from mfedge.bench.quantities import names
    from mfedge.errors import GateError
    from mfedge.sizes import parse_sizes

    stored = schema.read(baseline)
    if on not in (None, stored.core_name):
        raise UsageError(f"--on {on}: the stored counts are of {stored.core_name}; leave it out, or count them again")
    at = list({count.size: None for count in stored.counts}) if sizes is None else parse_sizes(sizes)
    cases = resolve([str(reading.real(candidate))], names(runtimes) if runtimes else None, at)
    stored, cases = counts.matching(stored, cases)
    sides = line(reading.real(baseline).name), line(reading.real(candidate).name)
    made = Report(SCHEMA, *sides, 0, "", (), settings, {}, (), {}, 0, 0.0, counted_on=stored.core.title)
    try:
        with console.progress() as progress:
            lines = counting.against_stored(stored, cases, settings, progress)
    except GateError as error:
        return gate_report.failed(*sides, error.exit_code, str(error), made)
    code, reasons = conclude((), {}, lines)
    return replace(made, exit_code=int(code), verdict=verdict(code), reasons=tuple(reasons), counts=tuple(lines))


def _pairs(baseline: Path, candidate: Path, sizes: list[Size], runtimes: str | None) -> list[Pair]:
    """Every runtime × size that both sides can be measured in."""
    from mfedge import reading
    from mfedge.bench.cases import resolve
    from mfedge.bench.quantities import names

    wanted = names(runtimes) if runtimes else None
    before, after = (
        {(case.runtime, case.size): case for case in resolve([str(reading.real(path))], wanted, sizes)}
        for path in (baseline, candidate)
    )
    pairs = [(before[key], after[key]) for key in before if key in after]
    if not pairs:
        raise UsageError(f"expected a runtime that reads both {baseline} and {candidate}, found none")
    return pairs


def _figures(
    baseline: Path, candidate: Path, pairs: list[Pair], size: Size, settings: Settings, save: Path | None
) -> dict[str, tuple[FigureLine, ...]]:
    """By model file. With stored figures as the baseline, the size is theirs."""
    from mfedge import files as store
    from mfedge.bench.gate import figures
    from mfedge.formats.table import suffixes
    from mfedge.workers.call import isolated
    from mfedge.workers.process import Limits

    count = isolated(figures.count, Limits(settings.timeout_seconds, settings.memory_bytes))
    if baseline.suffix == ".json":
        stored = figures.read(baseline)
        file = _counterpart(baseline, stored.file, candidate)
        counted = count(file, stored.size)
        if save:
            store.write(save, figures.encode(counted))
        return {file.name: tuple(figures.compare(stored, counted, settings.limit))}
    found = {}
    for before, after in pairs:
        old, new = Path(before.path), Path(after.path)
        if new.name not in found and new.suffix in suffixes():
            counted = count(new, size)
            if save:
                store.write(save, figures.encode(counted))
            found[new.name] = tuple(figures.compare(count(old, size), counted, settings.limit))
    return found


def _counterpart(baseline: Path, file: str, candidate: Path) -> Path:
    """The candidate's file of the kind that figures were stored of.

    Raises:
        UsageError: it has none.
    """
    from mfedge.bench.cases import find
    from mfedge.formats.table import FORMATS

    row = next((row for row in FORMATS.values() if file.endswith(row.suffix)), None)
    if row is None:
        raise UsageError(f"{baseline}: expected figures of a model file, found those of {file}")
    found = find(candidate, row.runtime)
    if found is None:
        there = sorted(path.name for path in ([candidate] if candidate.is_file() else candidate.iterdir()))
        models = [name for name in there if name.endswith(tuple(row.suffix for row in FORMATS.values()))]
        raise UsageError(
            f"{candidate}: expected a {row.suffix} file, as {baseline} has the figures of one, "
            f"found {', '.join(models) or 'no model file'}"
        )
    return found
