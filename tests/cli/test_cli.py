"""The command line as a new user meets it: help at once, data on stdout, one line and a code for every mistake."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mfedge.data.images import photograph


def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mfedge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    done = run("export", "--variant", "26m", "--format", "onnx", "--size", "64", "--output", folder, "--json")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["random_weights"] is True
    assert "random weights" in done.stderr
    return Path(result["artifact"])


def test_help_answers_at_once() -> None:
    """In processor time, which other work on the machine stretches little; on an idle one help takes 0.3 s."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert done.returncode == 0
        assert "Exit codes" in done.stdout
    assert min(times) < 1.0


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "onnx", "openvino", "scipy", "matplotlib", "PIL")
    code = f"import sys, mfedge.cli.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_version() -> None:
    import mfedge

    assert run("--version").stdout.strip() == mfedge.__version__


def test_verify_and_predict(exported: Path) -> None:
    done = run("verify", exported, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["max_relative"] < 1e-4
    done = run("predict", exported, photograph(), "--top", "3", "--json")
    assert done.returncode == 0, done.stderr
    classes = json.loads(done.stdout)["classes"]
    assert len(classes) == 3
    assert classes[0]["probability"] >= classes[1]["probability"]
    assert len(run("predict", exported, photograph()).stdout.splitlines()) == 5


# Each mistake: the arguments, the exit code, and what the one line has to say.
MISTAKES = [
    (["export", "--variant", "9000m", "--format", "onnx"], 2, "expected one of mobile-former-26m"),
    (["export", "--variant", "26m", "--format", "coreml"], 2, "expected one of onnx, openvino, tflite"),
    (["export", "--variant", "26m"], 2, "--target NAME"),
    (["export", "--variant", "26m", "--target", "toaster"], 2, "expected one of android, desktop, intel-edge"),
    (
        ["export", "--variant", "26m", "--format", "onnx", "--size", "big"],
        2,
        "one size, 512, HEIGHTxWIDTH or",
    ),
    (
        ["export", "--variant", "26m", "--format", "onnx", "--size", "31"],
        2,
        "32 to 4096 pixels per side, found 31",
    ),
    (["export", "--variant", "26m", "--format", "onnx", "--size", "99999"], 2, "found 99999"),
    (["export", "--variant", "26m", "--format", "onnx", "--precision", "int4"], 2, "expected one of fp32, fp16"),
    (
        ["export", "--variant", "26m", "--format", "onnx", "--set", "tokens=0"],
        2,
        "tokens: expected `int` >= 1, found 0",
    ),
    (["export", "--variant", "26m", "--format", "onnx", "--set", "tokenz=3"], 2, "tokenz: no such field"),
    (
        ["export", "--variant", "26m", "--format", "onnx", "--set", "mixing=position-mlp", "--size", "96"],
        2,
        "this network takes 224x224 only",
    ),
    (["export", "--variant", "26m", "--format", "onnx", "--weights", "none.pth"], 8, "none.pth: no such file"),
    (["export", "--variant", "./mine.toml", "--format", "onnx"], 2, "no such file"),
    (
        ["bench", "--processes", "0"],
        2,
        "'--processes': Input should be greater than or equal to 1; see `",
    ),
    (["bench", "--nonsense"], 2, "No such option: --nonsense; see `"),
    (["frobnicate"], 2, "No such command 'frobnicate'; see `"),
    (["gate"], 2, "Missing argument 'baseline'"),
    (["weights"], 2, "Missing command"),
    (["verify", "nowhere"], 6, "not an artifact"),
    (["predict", "nowhere", "photo.jpg"], 6, "not an artifact"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), MISTAKES, ids=lambda value: "")
def test_a_mistake_is_one_line_and_a_code(arguments: list[str], code: int, message: str, tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_broken_photograph_is_one_line(exported: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photograph().read_bytes()[:5000])
    done = run("predict", exported, broken)
    assert (done.returncode, done.stdout) == (9, "")
    assert "broken.jpg: Pillow cannot read it: image file is truncated" in done.stderr


def test_predict_refuses_another_format_s_runtime(exported: Path) -> None:
    done = run("predict", exported, photograph(), "--runtime", "openvino")
    assert done.returncode == 2
    assert "openvino takes .xml files, found .onnx" in done.stderr


def test_a_user_s_own_network_and_classes(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('base = "26m"\ntokens = 2\nhead = { channels = 64, hidden = 32 }\n')
    options = ["--variant", "./mine.toml", "--num-classes", "7", "--format", "onnx", "--size", "40x56"]
    done = run("export", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "artifacts").iterdir()
    assert re.fullmatch(r"mine-[0-9a-f]{8}-40x56-fp32-onnx", folder.name)
    assert not (folder / "labels.txt").exists()
    Image.new("L", (30, 20), 128).save(tmp_path / "grey.png")
    done = run("predict", folder, tmp_path / "grey.png", "--top", "9")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 7
    assert "class " in done.stdout
