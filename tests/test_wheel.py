"""The wheel alone, away from the checkout, has everything a command reads; so has the editable install.

With a compiler it has the native kernels too, and without one it says why not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.kernels.build import missing_tools

CHECKOUT = Path(__file__).parent.parent


NATIVE = Path("mfedge", "kernels")
LINKED = """
#include <stdio.h>
#include "mfedge_kernels.h"
int main(void) { printf("%d %s", (int)mfedge_abi_version(), mfedge_isa()); return 0; }
"""


def build(folder: Path, target: str = "wheel", **environment: str) -> tuple[Path, str]:
    """The wheel or sdist built in this environment, and what was said."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(
        command, cwd=CHECKOUT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.iterdir()
    return made, done.stdout + done.stderr


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    wheel, _ = build(folder, MFEDGE_BUILD_NATIVE="off")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PYTHONPATH": str(path)})}
    command = [sys.executable, "-m", "mfedge", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_the_wheel_brings_its_models_targets_suites_and_labels(unpacked: Path) -> None:
    for folder in ("models", "export", "benchmarks", "benchmarks/cores"):
        expected = {path.name for path in (CHECKOUT / folder).glob("*.toml")}
        assert {path.name for path in (unpacked / "mfedge" / "_data" / folder).glob("*.toml")} == expected
    assert (unpacked / "mfedge" / "data" / "imagenet_labels.txt").is_file()


def test_the_wheel_says_its_licence_and_carries_its_notices(unpacked: Path) -> None:
    (about,) = unpacked.glob("mfedge-*.dist-info")
    metadata = message_from_string((about / "METADATA").read_text("utf-8"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert "Apache License" in (about / "licenses" / "LICENSE").read_text("utf-8")
    notice = (about / "licenses" / "NOTICE").read_text("utf-8")
    carried = [path for path in (unpacked / "mfedge" / "data").iterdir() if path.suffix not in (".py", ".pyc")]
    assert carried
    for path in carried:
        assert f"mfedge/data/{path.name}" in notice, "what others made is noticed"


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


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"CXX": "no-such-compiler"}, "no C++ compiler: CXX=no-such-compiler is no program; install one"),
        ({"PATH": ""}, "no C++ compiler: none of c++, g++, clang++ is on PATH; install one"),
        ({"CXX": "false"}, "configuring failed"),
        ({"MFEDGE_BUILD_NATIVE": "off"}, "switched off by MFEDGE_BUILD_NATIVE=off"),
    ],
)
def test_without_a_compiler_the_wheel_is_pure_and_says_why(
    tmp_path: Path, environment: dict[str, str], reason: str
) -> None:
    if environment == {"CXX": "false"} and shutil.which("cmake") is None:
        pytest.skip("no cmake on PATH")
    environment = {"CXX": "", "MFEDGE_BUILD_NATIVE": "auto", **environment}
    wheel, said = build(tmp_path / "wheel", **environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert reason in said
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    assert [path.name for path in (tmp_path / "site" / NATIVE / "lib").iterdir()] == ["not_built.txt"]
    done = run("doctor", "--json", cwd=tmp_path, path=tmp_path / "site")
    assert done.returncode == 0, done.stderr
    native = json.loads(done.stdout)["native"]
    assert reason in native["missing"] and native["isa"] is None


def test_what_must_be_built_fails_the_build(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    environment = {**os.environ, "MFEDGE_BUILD_NATIVE": "require", "CXX": "no-such-compiler"}
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "no C++ compiler" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_sdist_can_be_built_from(tmp_path: Path) -> None:
    made, _ = build(tmp_path, "sdist")
    with tarfile.open(made) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    sources = {
        str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / NATIVE).rglob("*") if path.suffix in (".cpp", ".h")
    }
    assert sources | {"hatch_build.py", "pyproject.toml", str(NATIVE / "CMakeLists.txt")} <= names
    assert not [name for name in names if name.startswith(f"{NATIVE / 'lib'}/")]


@pytest.mark.slow
@pytest.mark.skipif(missing_tools() is not None, reason=str(missing_tools()))
def test_with_a_compiler_the_wheel_has_the_native_kernels(tmp_path: Path) -> None:
    wheel, _ = build(tmp_path / "wheel", MFEDGE_BUILD_NATIVE="require")
    assert "-py3-none-" in wheel.name and not wheel.name.endswith("-any.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    library = tmp_path / "site" / NATIVE / "lib"
    assert "libmfedge_kernels.a" in {path.name for path in library.iterdir()}

    done = run("doctor", "--json", cwd=tmp_path, path=tmp_path / "site")
    native = json.loads(done.stdout)["native"]
    assert native["missing"] is None and native["isa"], done.stdout
    assert [row for row in native["bindings"] if row["missing"]] == []

    # An app compiles as C and links as C++, and needs nothing but the two files.
    (tmp_path / "app.c").write_text(LINKED)
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))))
    include = ["-I", Path(native["header"]).parent]
    subprocess.run([*compiler.split(), "-x", "c", "-c", "app.c", *include], cwd=tmp_path, check=True)
    subprocess.run([*compiler.split(), "app.o", native["static"], "-pthread", "-o", "app"], cwd=tmp_path, check=True)
    linked = subprocess.run([tmp_path / "app"], capture_output=True, text=True, check=True)
    assert linked.stdout == f"{native['abi']} {native['isa']}"
