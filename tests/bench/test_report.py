"""Everything a stored result is turned into, and that it is the same every time."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from mfedge.bench.cases import find, is_path, resolve
from mfedge.bench.report import chart, tables
from mfedge.bench.report import files as report
from mfedge.bench.results import fairness, schema, summary
from mfedge.bench.results.compare import compare
from mfedge.bench.results.schema import Result
from mfedge.bench.suite import Suite, choose_reference, override, read
from mfedge.errors import EnvironmentMismatchError, UsageError
from mfedge.sizes import Size, parse_sizes
from tests.bench.made import SPEED, made_executed, made_result


@pytest.fixture(scope="module")
def result() -> Result:
    return made_result(sides=(224, 512, 768, 1024), rounds=8)


def test_a_stored_result_reads_back(result: Result, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(schema.encode(result))
    assert schema.read(path) == result


def test_a_case_stands_once_in_a_result_and_its_level_is_an_interval_s(result: Result, tmp_path: Path) -> None:
    twice = msgspec.structs.replace(result, cases=(*result.cases, result.cases[0]))
    sure = msgspec.structs.replace(result, protocol=msgspec.structs.replace(result.protocol, level=1 - 1e-16))
    for wrong in (twice, sure):
        (tmp_path / "result.json").write_bytes(schema.encode(wrong))
        with pytest.raises(UsageError, match=r"twice|level"):
            schema.read(tmp_path / "result.json")


def test_cases_that_failed_are_not_compared(result: Result) -> None:
    first = result.cases[0]
    failed = msgspec.structs.replace(result, cases=(msgspec.structs.replace(first, status="failed"), *result.cases[1:]))
    compared = {(line.model, line.runtime, line.size) for line in compare(result, failed, ratios_only=False)}
    assert first.key not in compared
    assert compared == {case.key for case in result.cases} - {first.key}


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", '{"schema": "mfedge.bench/1"}', "\x00", '{"schema": 3}', "[" * 100_000]
)
def test_what_is_no_result_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        schema.read(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        schema.read(tmp_path / "absent.json")


def test_crossovers_of_a_known_result(result: Result) -> None:
    found = {row.runtime: row.crossover for row in summary.summarise(result).crossovers}
    assert found["onnxruntime"].kind == "none"
    side = found["torch"].side
    assert side is not None and abs(side - 640) < 40
    assert found["torch"].low is not None and found["torch"].high is not None


def test_against_the_fastest_reference_of_any_runtime(result: Result) -> None:
    found = summary.summarise(result)
    fastest = min(SPEED, key=lambda runtime: SPEED[runtime])
    for row in found.bests:
        assert row.reference_runtime == fastest
        own = found.row(row.model, row.runtime, row.size)
        assert own is not None and own.ratio is not None
        expected = own.ratio * SPEED[row.runtime] / SPEED[fastest]
        assert row.ratio == pytest.approx(expected, rel=0.05)
    assert len(found.bests) == 4 * len(SPEED)
    assert "of any runtime" in tables.markdown(found)
    one = replace(result, cases=tuple(case for case in result.cases if case.runtime == "torch"))
    assert summary.summarise(one).bests == ()


def test_a_case_that_ended_early_is_marked_beside_its_number(result: Result) -> None:
    killed = replace(result.cases[0], status="killed", message="out of memory")
    found = summary.summarise(replace(result, cases=(killed, *result.cases[1:])))
    row = found.row(killed.model, killed.runtime, killed.size)
    assert row is not None and row.ratio is None, "no ratio of a case that did not end well"
    assert tables.cells(row)[3].startswith("killed, ")


def test_csv_has_every_case_in_si_units(result: Result) -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(summary.summarise(result)))))
    assert len(rows) == len(result.cases) == 32
    row = next(r for r in rows if (r["model"], r["runtime"], r["height"]) == ("mobilenet-v3-large", "torch", "224"))
    assert 0.01 < float(row["median_s"]) < 0.04
    assert row["p90_s"] == "", "48 samples do not know the 90th percentile"
    assert row["ratio"] == ""


def test_markdown_tables_are_rectangular(result: Result) -> None:
    text = tables.markdown(summary.summarise(result))
    widths: set[int] = set()
    for line in text.splitlines():
        if not line.startswith("|"):
            assert len(widths) <= 1
            widths = set()
        else:
            widths.add(line.count("|"))
    assert "from 6" in text and "at no size from 224 to 1024 px" in text


class _Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_files_are_whole_deterministic_and_self_contained(result: Result) -> None:
    made = report.files(result)
    assert made == report.files(result), "no dates, no random identifiers"
    assert set(made) == {"report.md", "report.csv", "chart.svg", "chart.png", "report.html"}
    assert made["chart.png"].startswith(b"\x89PNG")
    parser = _Balanced()
    parser.feed(made["report.html"].decode())
    assert parser.open == []
    assert parser.links == []
    assert "<script" not in made["report.html"].decode()


def test_a_hostile_name_does_not_become_markup(result: Result) -> None:
    hostile = "<script>alert(1)</script>"
    cases = tuple(
        replace(case, model=hostile) if case.model.startswith("mobile-former") else case for case in result.cases
    )
    page = report.files(replace(result, cases=cases), ("html",))["report.html"].decode()
    assert "<script>alert" not in page


def test_the_paper_and_every_crossing_is_in_the_chart(result: Result) -> None:
    """Text is drawn as paths, so count what carries it: the chart with a crossing has more than the one without."""
    whole = chart.draw(summary.summarise(result))["svg"].decode()
    none = chart.draw(summary.summarise(made_result((224, 512), rounds=8)))["svg"].decode()
    assert len(re.findall("<!-- ", whole)) > len(re.findall("<!-- ", none))
    assert "paper: 750 px" in whole and "paper: 750 px" not in none


@pytest.mark.parametrize("sides", [(224,), (512, 512)])
def test_charts_of_little(sides: tuple[int, ...]) -> None:
    result = made_result(sides=sides, rounds=3, runtimes=("torch",))
    assert chart.draw(summary.summarise(result))["png"]
    single = replace(result, cases=result.cases[:1], reference=None)
    assert chart.draw(summary.summarise(single))["png"]


def test_what_disturbs_is_said_first(result: Result) -> None:
    swung = replace(result, after=replace(result.after, probe_seconds=2e-3))
    assert "2.00× slower at the end" in summary.summarise(swung).warnings[0]
    assert tables.markdown(summary.summarise(swung)).splitlines()[2].startswith("> **The machine was not calm")
    failed = replace(result.cases[0], status="killed", message="out of memory", visits=())
    assert "out of memory" in summary.summarise(replace(result, cases=(failed, *result.cases[1:]))).warnings[0]
    assert summary.summarise(result).warnings == ()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"executed": made_executed("onnxruntime", compute="bfloat16")}, "not computed in the same type"),
        ({"batch_norms": 46}, "folded in one model only"),
        ({"visits": ()}, "not the same sizes"),
    ],
)
def test_unfair_comparisons_are_named(result: Result, change: dict[str, object], says: str) -> None:
    assert all(check.fair for check in fairness.checks(result))
    cases = (replace(result.cases[0], **change), *result.cases[1:])
    assert any(check.fair is False and says in check.text for check in fairness.checks(replace(result, cases=cases)))


def test_more_threads_than_allowed_are_unfair(result: Result) -> None:
    case = result.cases[0]
    two = replace(case, loads=(replace(case.loads[0], busy_threads=2),))
    assert fairness.checks(replace(result, cases=(two, *result.cases[1:])))[0].fair is False


def test_compare() -> None:
    old, new = made_result((224, 512), rounds=10), made_result((224, 512), rounds=10, seed=1)
    lines = compare(old, new, ratios_only=True)
    assert len(lines) == 8
    assert sum(line.verdict == "agree" for line in lines) >= 6
    slower = made_result((224, 512), rounds=10, seed=1, scale=1.2)
    assert all(line.verdict == "slower" for line in compare(old, slower, ratios_only=True))
    other = replace(new, environment=replace(new.environment, cpu="another"))
    with pytest.raises(EnvironmentMismatchError) as caught:
        compare(old, other, ratios_only=False)
    assert caught.value.exit_code == 4 and "cpu" in str(caught.value) and "--ratios-only" in str(caught.value)
    assert compare(old, other, ratios_only=True) == lines
    with pytest.raises(UsageError):
        compare(old, made_result((320,)), ratios_only=True)


def test_the_suites_that_ship_are_valid() -> None:
    for name in ("crossover", "ci", "demo"):
        suite = read(name)
        assert suite.parsed_sizes()
        assert suite.protocol().budget_seconds <= 600
    assert read("crossover").parsed_sizes() == parse_sizes("224..1024")
    with pytest.raises(UsageError, match="expected one of"):
        read("nothing")
    with pytest.raises(UsageError, match="--cpu 999"):
        Suite().protocol(cpu=999)
    assert override(Suite(), sizes=None, budget="5s").protocol().budget_seconds == 5


def test_references() -> None:
    assert choose_reference(None, ["a", "mobilenet-v3-large"]) == "mobilenet-v3-large"
    assert choose_reference(None, ["a"]) is None
    assert choose_reference(None, ["a", "b"]) == "b"
    with pytest.raises(UsageError):
        choose_reference("c", ["a", "b"])


def test_models_are_variants_folders_and_files(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.tflite").write_bytes(b"x")
    (tmp_path / "other.tflite").write_bytes(b"y")
    sizes = [Size(224, 224)]
    cases = resolve([str(folder), str(tmp_path / "other.tflite")], ["litert"], sizes)
    assert [(case.model, case.runtime) for case in cases] == [("mine", "litert"), ("other", "litert")]
    exported: list[tuple[str, str]] = []

    def exporter(variant: str, runtime: str) -> Path:
        exported.append((variant, runtime))
        return folder

    (case,) = resolve(["214m"], ["litert"], sizes, exporter)
    assert case.model == "mobile-former-214m" and exported == [("214m", "litert")]
    with pytest.raises(UsageError, match="expected a file that one of"):
        resolve([str(folder)], ["onnxruntime"], sizes)
    with pytest.raises(UsageError, match="found nothing there"):
        resolve([str(tmp_path / "absent.onnx")], None, sizes)
    with pytest.raises(UsageError, match="unknown"):
        resolve([str(folder)], ["caffe"], sizes)
    assert not is_path("./mine.toml") and is_path("model.onnx")
    (folder / "second.tflite").write_bytes(b"z")
    assert find(folder, "litert") == folder / "model.tflite"


def test_schema_is_documented_by_its_own_description(result: Result) -> None:
    """The JSON Schema of a result can be made, so that others can validate what they read."""
    described = msgspec.json.schema(Result)
    assert described["$defs"]["CaseResult"]["properties"]
