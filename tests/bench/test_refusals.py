"""What bench, report, gate and profile say of what they are not meant for, and what they do instead of guessing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from mfedge import files
from mfedge.bench import cases
from mfedge.bench.gate import figures
from mfedge.bench.profile import run as profile
from mfedge.bench.report import files as reports
from mfedge.bench.results import schema
from mfedge.bench.results.summary import summarise
from mfedge.bench.stored import MOST_CASES, MOST_VISITS
from mfedge.bench.suite import Suite
from mfedge.errors import StorageError, UsageError
from mfedge.sizes import Size
from tests.bench.made import made_result
from tests.bench.test_commands import code, run
from tests.bench.test_figures import small
from tests.test_files import contents


def refused(*arguments: str) -> str:
    outcome = run(*arguments)
    assert isinstance(outcome.exception, UsageError), outcome.output
    return str(outcome.exception)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    (folder / "result.json").write_bytes(schema.encode(made_result((224, 512), ("onnxruntime",), rounds=5)))
    return folder


def changed(path: Path, destination: Path, **fields: Any) -> Path:
    """A stored JSON file with other fields at its top."""
    data = {**msgspec.json.decode(path.read_bytes()), **fields}
    destination.write_bytes(msgspec.json.encode(data))
    return destination


def test_figures_of_one_format_against_a_file_of_another(tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    model, stored = small(folder / "model.onnx"), tmp_path / "figures.json"
    stored.write_bytes(figures.encode(figures.count(model, Size(64, 64))))
    tflite = changed(stored, tmp_path / "tflite.json", file="model.tflite")
    for candidate in (folder, model):
        said = refused("gate", str(tflite), str(candidate))
        assert "expected a .tflite file" in said and "found model.onnx" in said
    other = changed(stored, tmp_path / "other.json", file="model.caffemodel")
    assert "expected figures of a model file, found those of model.caffemodel" in refused(
        "gate", str(other), str(folder)
    )


def test_a_gate_without_latency_says_so(tmp_path: Path) -> None:
    model, stored = small(tmp_path / "model.onnx"), tmp_path / "figures.json"
    stored.write_bytes(figures.encode(figures.count(model, Size(64, 64))))
    for arguments in ([str(stored), str(model)], [str(model), str(model), "--figures-only"]):
        outcome = run("gate", *arguments)
        assert code(outcome) == 0
        assert "no regression; only the files' figures were compared: no latency was measured" in outcome.stdout


def test_a_folder_of_artifacts_is_told_from_an_artifact(tmp_path: Path) -> None:
    for name in ("second", "first"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    for runtimes in (None, ["onnxruntime"]):
        with pytest.raises(UsageError) as caught:
            cases.resolve([str(tmp_path)], runtimes, [Size(64, 64)])
        assert f"holds 2 of them; name one, for instance {tmp_path / 'first'}" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"expected a file that one of .* reads, found none"):
        cases.resolve([str(tmp_path / "empty")], None, [Size(64, 64)])
    small(tmp_path / "empty" / "model.onnx")
    with pytest.raises(UsageError, match=r"of openvino reads, found model\.onnx for onnxruntime"):
        cases.resolve([str(tmp_path / "empty")], ["openvino"], [Size(64, 64)])


def test_a_reference_that_was_asked_for_is_measured() -> None:
    def chosen(models: tuple[str, ...], reference: str | None, asked: bool) -> tuple[tuple[str, ...], str | None]:
        found = Suite(models=models, reference=reference).with_reference(asked)
        return found.models, found.reference

    assert chosen(("26m",), "52m", asked=True) == (("26m", "52m"), "mobile-former-52m")
    assert chosen(("26m", "52m"), "52m", asked=True) == (("26m", "52m"), "mobile-former-52m")
    assert chosen(("26m", "52m"), "mobile-former-52m", asked=True) == (("26m", "52m"), "mobile-former-52m")
    assert chosen(("26m",), "52m", asked=False) == (("26m",), None), "the suite's, beside other models"
    assert chosen(("26m", "52m"), "52m", asked=False) == (("26m", "52m"), "mobile-former-52m")
    assert chosen(("26m@native", "26m"), "26m@native", asked=True)[1] == "mobile-former-26m-native"
    assert chosen(("26m",), None, asked=True) == (("26m",), None)
    with pytest.raises(UsageError, match="no-such"):
        chosen(("26m",), "no-such", asked=True)


def test_bench_measures_its_reference_and_names_a_failure_once(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    good, bad = small(tmp_path / "good.onnx"), tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    outcome = run("bench", "--models", str(good), "--reference", str(bad), "--runtimes", "onnxruntime", "--sizes", "64",
                  "--budget", "5s", "--within", "90%", "--output", str(tmp_path / "out"))  # fmt: skip
    assert code(outcome) == 1
    result = schema.read(tmp_path / "out" / "result.json")
    assert result.reference == "bad" and {case.model for case in result.cases} == {"good", "bad"}
    assert outcome.stderr.count("bad in onnxruntime at 64") == 1, outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gate", "a.onnx", "b.onnx", "--tolerance", "-1"), "--tolerance -1: expected a share"),
        (("gate", "a.onnx", "b.onnx", "--tolerance", "nan"), "--tolerance nan: expected a share"),
        (("bench", "--within", "0%"), "--within 0%: expected more than 0%"),
        (("report", "absent.json", "--format", "docx"), "--format docx: expected one of md, csv, svg, png, html"),
    ],
)
def test_values_out_of_range(arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(*arguments)


def test_an_unknown_format_is_noticed_before_anything_is_loaded(measured: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "mfedge", "report", str(measured / "result.json")]
    done = subprocess.run([*command, "--format", "docx"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--format docx" in done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "mfedge.bench.report" in imported and not imported & {"numpy", "scipy", "matplotlib"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "x" * 1_000_000),
        ("seconds", -1.0),
        ("seconds", 0.0),
        ("cases", [{}] * (MOST_CASES + 1)),
        ("model", "x" * 1_000_000),
        ("runtime", "x" * 1_000_000),
        ("visits", [{"process": 0, "round": i, "position": 0, "seconds": [1.0]} for i in range(MOST_VISITS + 1)]),
        ("visits", [{"process": 0, "round": 0, "position": 0, "seconds": [0.0]}]),
        ("size", {"height": 1 << 40, "width": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)
def test_a_result_beyond_its_limits_is_refused(field: str, value: object, measured: Path, tmp_path: Path) -> None:
    data = msgspec.json.decode((measured / "result.json").read_bytes())
    (data if field in data else data["cases"][0])[field] = value
    path = tmp_path / "result.json"
    path.write_bytes(msgspec.json.encode(data))
    said = refused("report", str(path), "--output", str(tmp_path / "out"))
    assert "it is damaged" in said and field in said
    assert not (tmp_path / "out").exists()


def test_a_result_with_more_cells_than_a_table_may_have_is_refused(measured: Path, tmp_path: Path) -> None:
    result = schema.read(measured / "result.json")
    many = tuple(replace(result.cases[0], model=f"m{i}", runtime=f"r{i}") for i in range(150))
    path = tmp_path / "result.json"
    path.write_bytes(schema.encode(replace(result, cases=many)))
    assert "found 150 times 150 times 1" in refused("report", str(path))
    with pytest.raises(UsageError, match="found 5000 times 1 times 3"):
        cases.resolve(["26m"] * 5000, ["litert"], [Size(side, 64) for side in (32, 64, 96)])


def test_the_largest_rows_and_columns_are_drawn_quickly(measured: Path) -> None:
    """By counted work, as the processor may be busy: a row is looked at a few times, however many rows there are."""
    case, reference = schema.read(measured / "result.json").cases[:2]
    every = tuple(replace(case, model=f"m{i}") for i in range(3000))
    found = summarise(replace(schema.read(measured / "result.json"), cases=(*every, reference)))
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(count)
    try:
        made = summarise(replace(schema.read(measured / "result.json"), cases=(*every, reference)))
    finally:
        sys.setprofile(None)
    assert len(made.rows) == len(found.rows) == 3001
    assert calls < 300 * len(made.rows)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"schema":' + "[" * 100_000, "\ud800", "1e999"])
def test_a_profile_of_nonsense_is_one_line(text: str, measured: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for said in (refused("report", str(measured / "result.json"), "--format", "html", "--profile", str(path)),):
        assert str(path) in said and "\n" not in said
    with pytest.raises(UsageError):
        profile.read(path)


@pytest.mark.parametrize(
    "case",
    [{}, {"runtime": 3}, {"runtime": "litert", "input_shape": 3}, {"runtime": "litert", "execution": "9" * 9999},
     {"runtime": "litert", "execution": f"CPU, {'9' * 9999} partitions"}],
)  # fmt: skip
def test_a_damaged_result_of_schema_1_is_one_line(case: dict[str, object], measured: Path, tmp_path: Path) -> None:
    result = msgspec.json.decode((measured / "result.json").read_bytes())
    for protocol in ({}, {"precision": "3%"}, {"precision": 0.03}):
        path = tmp_path / "result.json"
        path.write_bytes(
            msgspec.json.encode({**result, "schema": "mfedge.bench/1", "protocol": protocol, "cases": [case]})
        )
        assert "it is damaged" in refused("report", str(path))


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("last", range(5))
def test_a_report_on_a_full_disk_is_none(
    there: bool, last: int, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    shutil.copytree(measured, folder)
    if there:
        (folder / "report.md").write_text("of an earlier run")
    was, real, calls = contents(tmp_path), files._write_synced, iter(range(100))

    def full(path: Path, data: bytes) -> None:
        if next(calls) == last:
            raise OSError(28, "No space left on device")
        real(path, data)

    monkeypatch.setattr(files, "_write_synced", full)
    monkeypatch.setattr(reports, "files", lambda *_: {f"report.{i}": b"data" for i in ("md", *range(4))})
    outcome = run("report", str(folder / "result.json"))
    assert isinstance(outcome.exception, StorageError) and "no space left" in str(outcome.exception)
    assert contents(tmp_path) == was


def test_a_disk_that_is_full_from_the_start_is_known_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_write_synced", full)
    model = str(small(tmp_path / "model.onnx"))
    for command in (["bench", "--models", model], ["profile", model]):
        outcome = run(*command, "--output", str(tmp_path / "new" / "out"))
        assert isinstance(outcome.exception, StorageError)
    for option in ("--markdown", "--junit", "--save-figures"):
        outcome = run("gate", model, model, option, str(tmp_path / "new" / "file"))
        assert isinstance(outcome.exception, StorageError)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
