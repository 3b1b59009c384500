"""The wheel alone, away from the checkout, has everything a command reads; so has the editable install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PYTHONPATH": str(path)})}
    command = [sys.executable, "-m", "mfedge", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_the_wheel_brings_its_models_targets_suites_and_labels(unpacked: Path) -> None:
    for folder in ("models", "export", "benchmarks"):
        expected = {path.name for path in (CHECKOUT / folder).glob("*.toml")}
        assert {path.name for path in (unpacked / "mfedge" / "_data" / folder).glob("*.toml")} == expected
    assert (unpacked / "mfedge" / "data" / "imagenet_labels.txt").is_file()


def test_the_wheel_exports_away_from_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    code = "import mfedge; print(mfedge.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.strip() == str(unpacked / "mfedge" / "__init__.py")
    done = run("export", "--variant", "26m", "--target", "android", "--size", "64", cwd=tmp_path, path=unpacked)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "artifacts" / "mobile-former-26m-64x64-fp16-tflite" / "manifest.json").is_file()


def test_the_editable_install_runs_from_anywhere(tmp_path: Path) -> None:
    done = run("info", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == len(list((CHECKOUT / "models").glob("*.toml")))
