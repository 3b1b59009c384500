"""What a device runs needs no PyTorch: verify, predict, info, doctor, and bench, profile, gate and report of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.data.images import photograph
from mfedge.formats.table import FORMATS
from mfedge.kernels import find
from mfedge.sizes import Size
from mfedge.zoo import load_spec

NO_TORCH = Path(__file__).parent / "support" / "no_torch"
QUICK = ("--sizes", "64", "--processes", "1", "--budget", "6s", "--within", "50%")
KERNELS = [
    "portable",
    pytest.param("native", marks=pytest.mark.skipif(find.find("kernels") is None, reason="kernels are not built")),
]


def mfedge(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(NO_TORCH)}
    command = [sys.executable, "-m", "mfedge", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """(kernels, format) → artifact of Mobile-Former-26M, made as they are asked for."""

    class Made(dict[tuple[str, str], Path]):
        def __missing__(self, key: tuple[str, str]) -> Path:
            request = Request.of(load_spec("26m"), (key[1],), Size(64, 64), kernels=key[0])
            (self[key],) = export(request, tmp_path_factory.mktemp(key[0]))
            return self[key]

    return Made()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_verified_predicts_and_is_measured(
    name: str, kernels: str, artifacts: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    folder = artifacts[kernels, name]
    assert json.loads(succeeded(mfedge("verify", folder, "--json", cwd=tmp_path)))["cases"] == 4
    assert len(succeeded(mfedge("predict", folder, photograph(), cwd=tmp_path)).splitlines()) == 5
    done = mfedge("bench", "--models", folder, *QUICK, "--output", "out", "--json", cwd=tmp_path)
    (case,) = json.loads(succeeded(done))["cases"]
    assert (case["status"], case["executed"]["kernels"], case["executed"]["compute"]) == ("ok", kernels, "float32")
    assert (tmp_path / "out" / "report.md").is_file()
    profile = json.loads(succeeded(mfedge("profile", folder, "--runs", "3", "--json", cwd=tmp_path)))
    assert profile["madds"] > 1_000_000
    assert json.loads(succeeded(mfedge("gate", folder, folder, "--figures-only", "--json", cwd=tmp_path)))["figures"]
    assert "median" in succeeded(mfedge("report", tmp_path / "out" / "result.json", "--format", "md,csv", cwd=tmp_path))


def test_info_and_doctor(tmp_path: Path) -> None:
    assert "9,425,920" in succeeded(mfedge("info", cwd=tmp_path))
    assert "bneck-lite" in succeeded(mfedge("info", "--variant", "294m", "--set", "tokens=3", cwd=tmp_path))
    runtimes = json.loads(succeeded(mfedge("doctor", "--json", cwd=tmp_path)))["runtimes"]
    assert "mfedge[export]" in next(row["missing"] for row in runtimes if row["runtime"] == "torch")


@pytest.mark.parametrize(
    "arguments",
    [
        ("export", "--variant", "26m", "--format", "onnx"),
        ("bench", "--models", "26m", "--runtimes", "onnxruntime", *QUICK),
        ("weights", "convert", "a.pth", "b.safetensors"),
    ],
    ids=["export", "bench", "weights"],
)
def test_what_needs_pytorch_names_the_extra(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = mfedge(*arguments, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "pip install 'mfedge[export]'" in done.stderr and "Traceback" not in done.stderr
