"""The environment of a device: one runtime, no PyTorch, about 300 MB; an artifact copied there works."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.data.images import photograph
from mfedge.formats.table import FORMATS
from mfedge.sizes import Size
from mfedge.zoo import load_spec

ROOT = Path(__file__).parent.parent
MOST = 300e6  # bytes of what pip brings
LARGER = {"openvino": 330e6}  # of which 190e6 are OpenVINO itself, with its GPU and NPU plugins


def run(*command: object, cwd: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_an_artifact_copied_to_a_device(name: str, tmp_path: Path) -> None:
    row = FORMATS[name]
    (made,) = export(Request.of(load_spec("26m"), (name,), Size(96, 64)), tmp_path / "made")
    there = tmp_path / "device"
    there.mkdir()
    folder, photo = there / "copied", there / "photo.jpg"
    shutil.copytree(made, folder)
    shutil.copy(photograph(), photo)

    run(sys.executable, "-m", "venv", there / "venv", cwd=there)
    python = there / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", f"{ROOT}[{row.runtime}]", cwd=there)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=there).strip())
    assert not (packages / "torch").exists()
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools", "pip", cwd=there)
    size = sum(file.stat().st_size for file in packages.rglob("*") if file.is_file() and not file.is_symlink())
    assert size < LARGER.get(name, MOST), f"{size / 1e6:.0f} MB"

    mfedge = there / "venv" / "bin" / "mfedge"
    verified = json.loads(run(mfedge, "verify", folder, "--json", cwd=there))
    assert verified["cases"] == 4 and verified["max_relative"] <= verified["bound"]
    assert len(run(mfedge, "predict", folder, photo, "--top", "3", cwd=there).splitlines()) == 3
    quick = ("--processes", "1", "--budget", "6s", "--within", "50%")
    result = json.loads(run(mfedge, "bench", "--models", folder, "--sizes", "96x64", *quick, "--json", cwd=there))
    assert [(case["runtime"], case["status"]) for case in result["cases"]] == [(row.runtime, "ok")]
    assert "mobile-former-26m" in run(mfedge, "info", cwd=there)
    doctor = json.loads(run(mfedge, "doctor", "--json", cwd=there))
    assert {"runtime": row.runtime, "missing": None}.items() <= next(
        found for found in doctor["runtimes"] if found["runtime"] == row.runtime
    ).items()
