"""The commands end to end, on models small enough to measure in a second."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from mfedge.bench.results import schema
from mfedge.errors import Exit, MfedgeError, StorageError, UsageError
from tests.bench.made import made_result
from tests.bench.test_figures import small

COMMANDS = ("bench", "report", "compare", "count", "gate", "profile")


def run(*arguments: str) -> Any:
    """Run a command; an MfedgeError ends up in `outcome.exception`, as the command line's main() gets it."""
    app = typer.Typer()
    for command in COMMANDS:
        importlib.import_module(f"mfedge.cli.{command}").register(app)
    return CliRunner().invoke(app, list(arguments))


def code(outcome: Any) -> int:
    if isinstance(outcome.exception, MfedgeError):
        assert "\n" not in str(outcome.exception)
        return outcome.exception.exit_code
    assert outcome.exception is None or isinstance(outcome.exception, SystemExit), repr(outcome.exception)
    return int(outcome.exit_code)


def test_bench_of_bare_files(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    first, second = small(tmp_path / "first.onnx", extra=6), small(tmp_path / "second.onnx")
    out = tmp_path / "out"
    outcome = run("bench", "--models", f"{first},{second}", "--runtimes", "onnxruntime", "--sizes", "64,96",
                  "--budget", "15s", "--within", "60%", "--output", str(out))  # fmt: skip
    assert code(outcome) == 0, outcome.output
    result = schema.read(out / "result.json")
    assert result.reference == "second" and result.complete
    assert {case.status for case in result.cases} == {"ok"}
    assert {path.name for path in out.iterdir()} == {
        "result.json", "report.md", "report.csv", "chart.svg", "chart.png", "report.html"
    }  # fmt: skip
    stored = (out / "result.json").read_text()
    assert str(tmp_path) not in stored and str(Path.cwd()) not in stored, "no path of this machine travels"
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert code(run("report", str(out / "result.json"))) == 0
    assert (out / "report.html").read_bytes() == before, "everything is derived from the stored result"


def test_a_model_that_fails_to_load_does_not_stop_the_others(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    import onnx

    good, bad = small(tmp_path / "good.onnx"), tmp_path / "bad.onnx"
    model = onnx.load(str(good))
    model.graph.node[0].op_type = "NoSuchOperator"
    bad.write_bytes(model.SerializeToString())
    outcome = run("bench", "--models", f"{bad},{good}", "--runtimes", "onnxruntime", "--sizes", "64", "--budget", "10s",
                  "--within", "60%", "--output", str(tmp_path / "out"))  # fmt: skip
    assert code(outcome) == 1
    found = {case.model: case for case in schema.read(tmp_path / "out" / "result.json").cases}
    assert (found["good"].status, found["bad"].status) == ("ok", "failed")
    alone = run("bench", "--models", str(bad), "--runtimes", "onnxruntime", "--sizes", "64", "--budget", "10s",
                "--output", str(tmp_path / "alone"))  # fmt: skip
    assert code(alone) == Exit.ARTIFACT, "the file's fault, if there is nothing else to say"


def test_bench_s_workers_have_the_limits_of_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    outcome = run("bench", "--models", str(small(tmp_path / "good.onnx")), "--runtimes", "onnxruntime", "--sizes", "64",
                  "--budget", "10s", "--max-memory", "64M", "--output", str(tmp_path / "out"))  # fmt: skip
    assert code(outcome) == Exit.ARTIFACT, outcome.output
    (case,) = schema.read(tmp_path / "out" / "result.json").cases
    assert "memory" in case.message


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "--sizes", "8"),
        ("bench", "--sizes", "99999"),
        ("bench", "--budget", "soon"),
        ("bench", "--within", "300%"),
        ("bench", "--suite", "nothing"),
        ("bench", "--cpu", "4096"),
        ("bench", "--models", "absent.onnx"),
        ("bench", "--runtimes", "caffe"),
        ("report", "absent.json"),
        ("compare", "absent.json", "absent.json"),
        ("gate", "absent.onnx", "absent.onnx"),
        ("gate", "absent.json", "absent.onnx"),
        ("gate", "a", "b", "--threshold", "much"),
        ("count", "absent.onnx", "--on", "avx2"),
        ("count", "absent.onnx"),
        ("count", "26m", "--on", "z80"),
        ("count", "--suite", "crossover"),
        ("gate", "absent.json", "absent.onnx", "--count"),
        ("profile", "absent.onnx"),
        ("profile", "absent.onnx", "--size", "224..1024"),
    ],
)
def test_nonsense_is_a_usage_error(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run(*arguments)
    assert isinstance(outcome.exception, UsageError), outcome.output
    assert code(outcome) == 2
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_folder_that_cannot_be_written_is_known_before_measuring(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outcome = run("bench", "--models", "absent.onnx", "--output", str(tmp_path / "file" / "out"))
    assert isinstance(outcome.exception, StorageError)


def test_compare_exit_codes(tmp_path: Path) -> None:
    import msgspec

    old, new = made_result((224,), rounds=10), made_result((224,), rounds=10, scale=1.3, seed=2)
    other = msgspec.structs.replace(old, environment=msgspec.structs.replace(old.environment, cpu="another"))
    paths = []
    for i, result in enumerate((old, new, other)):
        paths.append(str(tmp_path / f"{i}.json"))
        Path(paths[-1]).write_bytes(schema.encode(result))
    assert code(run("compare", paths[0], paths[0])) == 0
    assert code(run("compare", paths[0], paths[1], "--ratios-only")) == 1
    assert code(run("compare", paths[0], paths[2])) == 4
    assert code(run("compare", paths[0], paths[2], "--ratios-only")) == 0
    lines = json.loads(run("compare", paths[0], paths[1], "--ratios-only", "--json").stdout)
    assert lines[0]["verdict"] == "slower" and lines[0]["change"] == pytest.approx(1.3, abs=0.1)


def test_the_deterministic_gate_and_its_baseline(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    before, after = small(tmp_path / "before.onnx"), small(tmp_path / "after.onnx", transposes=1)
    stored = tmp_path / "baselines" / "small.json"
    assert code(run("gate", str(before), str(before), "--figures-only", "--save-figures", str(stored))) == 0
    assert code(run("gate", str(stored), str(before))) == 0
    markdown, junit = tmp_path / "gate.md", tmp_path / "gate.xml"
    outcome = run("gate", str(stored), str(after), "--markdown", str(markdown), "--junit", str(junit), "--json")
    assert code(outcome) == 1
    assert "transposes grew from 0 to 1" in markdown.read_text()
    assert int(ElementTree.parse(junit).getroot().get("failures") or 0) >= 2
    assert json.loads(outcome.stdout)["exit_code"] == 1
    assert code(run("gate", str(stored), str(after), "--limit", "90%")) == 1, "from none to one is no percentage"


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    modules = ", ".join(f"mfedge.cli.{command}" for command in COMMANDS)
    heavy = "{'numpy', 'scipy', 'matplotlib', 'torch', 'onnx', 'rich.live'}"
    program = f"import sys; import {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
