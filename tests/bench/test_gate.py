"""The gate fails only on proof and passes only on proof; every exit code can happen."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from mfedge.bench.gate import judge as gate
from mfedge.bench.gate import report as gate_report
from mfedge.bench.gate.judge import Settings
from mfedge.bench.gate.run import Gate, GateError
from mfedge.bench.results.schema import Protocol
from mfedge.errors import Exit
from mfedge.sizes import Size
from tests.bench.conftest import CaseMaker
from tests.bench.fake import LOADER

SIZE = Size(224, 224)
Groups = list[list[float]]


def groups(slowdown: float, noise: float, seed: int, processes: int = 4, rounds: int = 6) -> Groups:
    generator = np.random.default_rng(seed)
    return [list(generator.normal(math.log1p(slowdown), noise, rounds)) for _ in range(processes)]


def verdict(slowdown: float, noise: float, seed: int = 0, control: float = 0.0) -> gate.CaseLine:
    cases = {("onnxruntime", SIZE): (groups(slowdown, noise, seed), groups(control, noise, seed + 1))}
    (line,) = gate.judge(cases, Settings())
    return line


def test_clear_cases() -> None:
    assert verdict(0.0, 0.005).verdict == "pass"
    assert verdict(0.10, 0.005).verdict == "regression"
    assert verdict(-0.20, 0.005).verdict == "pass", "faster is fine"


def test_too_wide_to_tell_is_inconclusive_never_a_pass() -> None:
    line = verdict(0.0, 0.2)
    assert line.verdict == "inconclusive"
    assert line.smallest_effect > 0.08, "and it says that it could not have seen a smaller one"
    assert "too wide" in line.reason


def test_a_failed_control_is_never_believed() -> None:
    for slowdown in (0.0, 0.10):
        line = verdict(slowdown, 0.005, control=0.08)
        assert line.verdict == "inconclusive" and "A/A" in line.reason


def test_false_alarms_and_detection_by_simulation() -> None:
    alarms = sum(verdict(0.0, 0.02, seed).verdict == "regression" for seed in range(0, 200, 2))
    at_limit = sum(verdict(0.03, 0.02, seed).verdict == "regression" for seed in range(0, 200, 2))
    seen = sum(verdict(0.10, 0.02, seed).verdict == "regression" for seed in range(0, 200, 2))
    assert alarms == 0
    assert at_limit <= 7
    assert seen >= 95


def test_one_of_many_cases_needs_more_proof() -> None:
    """Holm: what fails alone may not fail among a hundred."""
    sizes = [Size(side, side) for side in range(64, 64 + 40)]
    borderline = {
        ("r", size): (groups(0.03, 0.02, i, rounds=8), groups(0.0, 0.02, 1000 + i)) for i, size in enumerate(sizes)
    }
    lines = gate.judge(borderline, Settings())
    assert all(line.verdict != "regression" for line in lines)
    assert all(line.p_value >= gate.statistics.p_value_above(borderline[line.runtime, line.size][0], math.log1p(0.03))
               for line in lines)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.floats(-0.2, 0.3), st.floats(0.001, 0.1), st.integers(0, 1000))
def test_a_verdict_agrees_with_its_interval(slowdown: float, noise: float, seed: int) -> None:
    line = verdict(slowdown, noise, seed)
    if line.verdict == "regression":
        assert line.ratio.low > 1.03
    if line.verdict == "pass":
        assert line.ratio.high <= 1.03 + 1e-9
    assert line.smallest_effect >= 0.03


def test_nothing_measured_is_no_pass() -> None:
    assert gate.conclude([], {})[0] == Exit.INCONCLUSIVE


@pytest.fixture
def fast() -> tuple[Settings, Protocol]:
    from mfedge.bench.measure.environment import default_cpu

    asked = Settings(threshold=0.15, processes=2, rounds=4, looks=1, cpu=default_cpu(), budget_seconds=20)
    protocol = Protocol(
        cpu=default_cpu(), visit_seconds=0.004, sample_seconds=0.002, samples_per_visit=2, warmup_seconds=0.3,
        timeout_seconds=10,
    )  # fmt: skip
    return asked, protocol


def run(make_case: CaseMaker, fast: tuple[Settings, Protocol], baseline: str, candidate: str) -> gate.Report:
    pair = make_case("baseline", baseline), make_case("candidate", candidate)
    return Gate([pair], fast[0], loader=LOADER, protocol=fast[1]).run({}, "old", "new")


def test_slower_is_never_a_pass(make_case: CaseMaker, fast: tuple[Settings, Protocol]) -> None:
    report = run(make_case, fast, "1.0", "1.8")
    (line,) = report.cases
    # Other tests run on the other core: "too noisy to tell" is an honest answer, a pass would not be.
    assert report.exit_code in (Exit.REGRESSION, Exit.INCONCLUSIVE)
    assert line.ratio.high > 1.4
    (sides,) = report.samples
    assert len(sides.baseline) == len(sides.control) == len(sides.candidate) == 2 * 4 * 2
    positions = {visit.position for visit in sides.baseline[:2]}
    assert sum(positions) == 5, "a palindrome: first and last, second and fifth, or the two in the middle"
    assert msgspec.json.decode(gate_report.to_json(report), type=gate.Report) == report


def test_the_same_is_never_a_regression(make_case: CaseMaker, fast: tuple[Settings, Protocol]) -> None:
    report = run(make_case, fast, "1.0", "1.0")
    assert report.exit_code in (Exit.DONE, Exit.INCONCLUSIVE)
    assert report.cases[0].smallest_effect > 0.15
    assert report.parity == {"fake at 64": 0.0}


@pytest.mark.parametrize(
    ("baseline", "candidate", "code", "says"),
    [
        ("1.0", "1.0 wrong", Exit.PARITY, "the outputs differ"),
        ("1.0", "1.0 two-threads", Exit.ENVIRONMENT, "expected 1 thread"),
        ("1.0", "refuse", Exit.ARTIFACT, "not a model"),
        ("refuse", "1.0", Exit.USAGE, "baseline: cannot be measured"),
    ],
)
def test_what_ends_it_early(
    make_case: CaseMaker, fast: tuple[Settings, Protocol], baseline: str, candidate: str, code: Exit, says: str
) -> None:
    with pytest.raises(GateError) as caught:
        run(make_case, fast, baseline, candidate)
    assert caught.value.exit_code == code
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_markdown_and_junit(make_case: CaseMaker, fast: tuple[Settings, Protocol]) -> None:
    lines = [verdict(0.10, 0.005), replace(verdict(0.0, 0.2), size=Size(512, 512)), verdict(0, 0.005)]
    code, reasons = gate.conclude(lines, {})
    assert code == Exit.REGRESSION
    report = gate.Report(
        gate.SCHEMA, "a", "b", int(code), "regression", tuple(reasons), Settings(), {}, tuple(lines), {}, 1, 9.0
    )
    text = gate_report.markdown(report)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 4 and len({row.count("|") for row in rows}) == 1
    assert text.startswith("### ❌")
    suite = ElementTree.fromstring(gate_report.junit(report))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    early = gate_report.failed("a", "b", Exit.PARITY, "differ")
    assert ElementTree.fromstring(gate_report.junit(early)).get("errors") == "1"
    assert "differ" in gate_report.markdown(early)
