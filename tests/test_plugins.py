"""A format, a runtime and a family are one row each: added from the test folder, every command knows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLUGIN = "tests.support.toy"


def mfedge(*arguments: object, cwd: Path, plugins: str = PLUGIN) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MFEDGE_PLUGINS": plugins, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-m", "mfedge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec of the toy family, exported to the toy format."""
    folder = tmp_path_factory.mktemp("toy")
    (folder / "mine.toml").write_text('family = "toy"\nchannels = 4\n')
    done = mfedge(
        "export", "--variant", "./mine.toml", "--num-classes", 5, "--size", 48, "--format", "toy", "--json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    (made,) = json.loads(done.stdout)
    return Path(folder / made["artifact"]).rename(folder / "artifact")


def test_export_proves_it(folder: Path) -> None:
    written = json.loads((folder / "manifest.json").read_text())
    assert (written["format"], written["task"], written["parity"]["runtime"]) == ("toy", "classify", "toy-runtime")
    assert written["operators"] == {"conv": 1, "linear": 1, "mean": 1, "relu": 1}
    assert [output["name"] for output in written["outputs"]] == ["logits"]


def test_verify_replays_it(folder: Path) -> None:
    done = mfedge("verify", folder, cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert "4 parity cases within" in done.stdout and "in toy-runtime" in done.stdout


def test_bench_measures_variant_and_artifact(folder: Path) -> None:
    options = ["--runtimes", "toy-runtime", "--sizes", "48", "--processes", "1", "--budget", "20s", "--within", "50%"]
    models = f"./mine.toml,{folder}"
    done = mfedge("bench", "--models", models, *options, "--output", "out", "--json", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    assert [(case["model"], case["runtime"], case["status"]) for case in cases] == [
        ("mine", "toy-runtime", "ok"), ("artifact", "toy-runtime", "ok"),
    ]  # fmt: skip
    assert all(case["executed"]["compute"] == "float32" for case in cases)


def test_info_counts_it(folder: Path) -> None:
    done = mfedge("info", "--variant", "./mine.toml", "--num-classes", 5, "--json", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["params"] == 4 * 27 + 8 + 4 * 5 + 5


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("export", "onnx, openvino, tflite, toy"),
        ("bench", "toy-runtime"),
        ("predict", "toy-runtime"),
        ("doctor", "toy-"),
    ],
)
def test_help_and_doctor_name_it(command: str, name: str, tmp_path: Path) -> None:
    arguments = [command] if command == "doctor" else [command, "--help"]
    done = mfedge(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert name in " ".join(done.stdout.replace("│", " ").split())
    assert "toy" not in mfedge(*arguments, cwd=tmp_path, plugins="").stdout


def test_what_the_toy_format_cannot_names_those_that_can(folder: Path) -> None:
    done = mfedge("export", "--variant", "26m", "--format", "toy", "--size", "64", cwd=folder.parent)
    assert done.returncode == 7
    assert "formats that can: onnx, openvino, tflite" in done.stderr


def test_a_missing_plugin_is_one_line(tmp_path: Path) -> None:
    done = mfedge("doctor", cwd=tmp_path, plugins="no.such.module")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: MFEDGE_PLUGINS: module no.such.module cannot be imported")
