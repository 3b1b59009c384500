"""A gate as Markdown for a pull request, as JSON, and as JUnit for a CI that shows tests."""

from __future__ import annotations

from xml.etree import ElementTree

from msgspec.structs import replace

from mfedge import text
from mfedge.bench import stored
from mfedge.bench.gate.counts import CountLine
from mfedge.bench.gate.figures import FigureLine
from mfedge.bench.gate.judge import CaseLine, Report, verdict
from mfedge.bench.quantities import milliseconds
from mfedge.bench.report.tables import interval_text, markdown_table
from mfedge.errors import Exit

COLUMNS = (
    "runtime",
    "size px",
    "baseline ms",
    "candidate ms",
    "ratio",
    "interval",
    "A/A control",
    "smallest visible",
    "verdict",
)
FIGURE_COLUMNS = ("figure", "baseline", "candidate", "growth", "")
COUNT_COLUMNS = ("instructions", "baseline", "candidate", "growth", "first-level misses", "candidate's", "")
SIGNS = {Exit.DONE: "✅", Exit.REGRESSION: "❌", Exit.INCONCLUSIVE: "❔"}
SAID = {
    Exit.DONE: "no regression",
    Exit.REGRESSION: "regression",
    Exit.INCONCLUSIVE: "inconclusive: not a pass",
    Exit.ENVIRONMENT: "environment mismatch",
    Exit.PARITY: "the outputs differ",
}


ONLY_FIGURES = "only the files' figures were compared: no latency was measured"
ONLY_COUNTS = "instructions were counted: no latency was measured"


def headline(report: Report) -> str:
    """One line."""
    said = SAID.get(Exit.of(report.exit_code), report.verdict)
    measured = ""
    if not report.cases and report.exit_code in (Exit.DONE, Exit.REGRESSION):
        measured = f"; {ONLY_COUNTS if report.counts else ONLY_FIGURES}"
    return f"{report.candidate} against {report.baseline}: {said}{measured}"


def markdown(report: Report) -> str:
    """For a pull request's comment."""
    lines = [f"### {SIGNS.get(Exit.of(report.exit_code), '⛔')} mfedge gate: {text.markdown(headline(report))}", ""]
    lines += [f"- {text.markdown(reason)}" for reason in report.reasons]
    if report.cases:
        lines += ["", *markdown_table(COLUMNS, [cells(line) for line in report.cases]), "", _method(report)]
    for file, figures in report.figures.items():
        changed = [line for line in figures if line.baseline != line.candidate]
        said = "figures that changed:" if changed else "every figure is the same."
        lines += ["", f"**{text.markdown(file)}**: {said}", ""]
        if changed:
            lines += markdown_table(
                ("figure", "baseline", "candidate", "growth", ""), [_figure(line) for line in changed]
            )
    for key in dict.fromkeys((line.runtime, line.size) for line in report.counts):
        case = text.markdown(f"{key[0]} at {key[1]}")
        lines += ["", f"**{case}**: one inference on an emulated {text.markdown(report.counted_on)}", ""]
        counted = [_count(line) for line in report.counts if (line.runtime, line.size) == key]
        lines += markdown_table(COUNT_COLUMNS, counted)
    return "\n".join(lines) + "\n"


def cells(line: CaseLine) -> tuple[str, ...]:
    """One row, as text."""
    return (
        line.runtime, str(line.size), milliseconds(line.baseline_seconds), milliseconds(line.candidate_seconds),
        f"{line.ratio.estimate:.3f}×", interval_text(line.ratio), interval_text(line.control),
        f"{line.smallest_effect:+.1%}", line.verdict,
    )  # fmt: skip


def _figure(line: FigureLine) -> tuple[str, ...]:
    growth = "new" if line.baseline == 0 else f"{line.growth:+.2%}"
    return line.name, str(line.baseline), str(line.candidate), growth, "blocks" if line.blocks else ""


def _count(line: CountLine) -> tuple[str, ...]:
    growth = "new" if line.baseline == 0 else f"{line.growth:+.2%}"
    misses = ("", "") if line.misses is None else tuple(f"{number:,}" for number in line.misses)
    limit = "" if line.limit is None else f"allowed {line.limit:+.1%}"
    return line.part, f"{line.baseline:,}", f"{line.candidate:,}", growth, *misses, "blocks" if line.blocks else limit


def to_json(report: Report) -> bytes:
    """The whole report, raw samples included."""
    return stored.encode(report)


def junit(report: Report) -> bytes:
    """A test case a figure total and a measured case; what is inconclusive is an error, not a failure.

    XML has no way to write most control characters, and a reader refuses them: every name is made printable.
    """
    suite = ElementTree.Element("testsuite", name="mfedge gate", time=f"{report.seconds:.1f}")
    failures = errors = tests = 0
    for file, figures in report.figures.items():
        for line in figures:
            if line.name.startswith("operators: "):
                continue
            tests += 1
            test = _element(suite, "testcase", classname=f"figures.{file}", name=line.name)
            if line.blocks:
                failures += 1
                _element(test, "failure", message=f"grew from {line.baseline} to {line.candidate}")
    for counted in report.counts:
        if counted.limit is None:
            continue
        tests += 1
        test = _element(
            suite, "testcase", classname=f"counts.{counted.runtime}", name=f"{counted.part} at {counted.size}"
        )
        if counted.blocks:
            failures += 1
            _element(test, "failure", message=f"grew from {counted.baseline} to {counted.candidate}")
    for case in report.cases:
        tests += 1
        test = _element(suite, "testcase", classname=f"latency.{case.runtime}", name=str(case.size))
        if case.verdict == "regression":
            failures += 1
            _element(test, "failure", message=case.reason)
        elif case.verdict == "inconclusive":
            errors += 1
            _element(test, "error", message=case.reason)
    if report.exit_code not in (0, 1, 3) or (report.exit_code and not failures and not errors):
        tests, errors = tests + 1, errors + 1
        test = _element(suite, "testcase", classname="gate", name=report.verdict)
        _element(test, "error", message="; ".join(report.reasons))
    suite.attrib |= {"tests": str(tests), "failures": str(failures), "errors": str(errors)}
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)) + b"\n"


def _element(parent: ElementTree.Element, tag: str, **attributes: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, {name: text.line(value) for name, value in attributes.items()})


def failed(baseline: str, candidate: str, code: Exit, reason: str, template: Report | None = None) -> Report:
    """The report of a gate that ended before a judgement."""
    from mfedge.bench.gate.judge import SCHEMA, Settings

    made = Report(SCHEMA, baseline, candidate, int(code), verdict(code), (reason,), Settings(), {}, (), {}, 0, 0.0)
    if template is None:
        return made
    return replace(
        made, settings=template.settings, figures=template.figures, counts=template.counts,
        counted_on=template.counted_on,
    )  # fmt: skip


def _method(report: Report) -> str:
    settings = report.settings
    return (
        f"Allowed slowdown {settings.threshold:.1%}. Baseline, baseline again (A/A) and candidate took turns on CPU "
        f"{settings.cpu} in {report.looks_taken * settings.processes} fresh processes of {settings.rounds} rounds; "
        f"intervals resample processes, then rounds; {settings.level:.0%} over {settings.looks} looks, Holm-corrected "
        f"over {len(report.cases)} cases. A slowdown above “smallest visible” would have been called a regression."
    )
