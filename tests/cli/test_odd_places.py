"""Commands in odd surroundings: modules in the working folder, no home, closed or full streams, outputs upon inputs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from mfedge.artifacts import manifest
from mfedge.artifacts.export import export
from mfedge.artifacts.folder import file_sums
from mfedge.artifacts.request import Request
from mfedge.errors import Exit
from mfedge.formats.table import FORMATS
from mfedge.kernels import find
from mfedge.sizes import Size
from mfedge.zoo import load_spec

SCRIPT = "import sys; sys.path[:] = [p for p in sys.path if p]; from mfedge.cli import main; main()"  # as installed
MEASURES = ("--sizes", "64", "--budget", "4s", "--within", "50%", "--processes", "1")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell opens and closes the streams")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (made,) = export(Request.of(load_spec("26m"), ("onnx",), Size(64, 64)), tmp_path_factory.mktemp("portable"))
    return made


def run(*arguments: object, cwd: Path, streams: str = "", **environment: str | None) -> tuple[int, str]:
    """Exit code and stderr. `streams` are the shell's redirections."""
    changed = {**os.environ, "PYTHONPATH": str(Path(manifest.__file__).parents[2]), **environment}
    kept = {name: value for name, value in changed.items() if value is not None}
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {streams}', "sh", sys.executable, "-P", "-c", SCRIPT, *map(str, arguments)],
        cwd=cwd, env=kept, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("module", ["safetensors", "numpy", "msgspec", "onnxruntime"])
def test_no_module_of_the_working_folder_is_imported(module: str, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / f"{module}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nraise ImportError\n")
    assert run("verify", artifact, cwd=tmp_path)[0] == Exit.DONE
    assert not (tmp_path / "ran").exists()


def test_a_user_without_a_home(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--user", "--map-user=12345", "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    done = subprocess.run(
        ["unshare", "--user", "--map-user=12345", sys.executable, "-m", "mfedge", "info"],
        env={name: value for name, value in os.environ.items() if name != "HOME"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "<&-"])
def test_closed_and_full_streams_change_no_exit_code(streams: str, artifact: Path, tmp_path: Path) -> None:
    assert run("info", cwd=tmp_path, streams=streams)[0] == Exit.DONE
    assert run("verify", artifact, cwd=tmp_path, streams=streams)[0] == Exit.DONE
    assert run("verify", "nowhere", cwd=tmp_path, streams=streams)[0] == Exit.ARTIFACT


@pytest.mark.parametrize("option", ["--save-figures", "--markdown", "--junit"])
def test_a_gate_writes_into_no_artifact(option: str, artifact: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(artifact, tmp_path / "artifact")
    for place in (whole / "model.onnx", whole / "new.txt"):
        code, said = run("gate", whole, whole, "--figures-only", option, place, cwd=tmp_path)
        assert code == Exit.USAGE, said
    assert manifest.opened(whole)


def test_a_gate_writes_each_answer_to_a_place_of_its_own(artifact: Path, tmp_path: Path) -> None:
    code, said = run("gate", artifact, artifact, "--figures-only", "--markdown", "x", "--junit", "./x", cwd=tmp_path)
    assert (code, "for several" in said) == (Exit.USAGE, True)


@pytest.mark.skipif(find.find("kernels") is None, reason="the native kernels are not built")
def test_every_command_holds_the_model_against_its_manifest(artifact: Path, tmp_path: Path) -> None:
    (native,) = export(Request.of(load_spec("26m"), ("onnx",), Size(64, 64), kernels="native"), tmp_path)
    written = msgspec.structs.replace(manifest.opened(native), kernels="portable", kernels_abi=None)
    (native / "manifest.json").write_bytes(manifest.encode(written))
    photo = Path(manifest.__file__).parents[1] / "data" / "photograph.jpg"
    for line in (
        ("verify", native),
        ("predict", native, photo),
        ("profile", native),
        ("gate", native, native, "--figures-only"),
        ("bench", "--models", native, *MEASURES),
    ):
        code, said = run(*line, cwd=tmp_path)
        assert (code, "the manifest says portable" in said) == (Exit.ARTIFACT, True), (line, said)


def test_the_model_of_an_artifact_is_the_one_that_its_manifest_names(artifact: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(artifact, tmp_path / "artifact")
    (whole / "model.onnx").rename(whole / "other.onnx")
    (whole / "model.onnx").write_bytes(b"another model")
    written = manifest.read(whole)
    sealed = msgspec.structs.replace(written, model="other.onnx", files=file_sums(whole))
    (whole / "manifest.json").write_bytes(manifest.encode(sealed))
    assert run("gate", artifact, whole, "--figures-only", cwd=tmp_path)[0] == Exit.DONE


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", {"shape": (7, 3, 64, 64)}),
        ("input", {"dtype": "int8"}),
        ("outputs", {"shape": (1, 999)}),
        ("outputs", {"shape": (9, 9, 9)}),
    ],
)
def test_shapes_and_types_of_a_manifest_are_the_model_s(
    field: str, value: dict[str, object], artifact: Path, tmp_path: Path
) -> None:
    whole = shutil.copytree(artifact, tmp_path / "artifact")
    written = manifest.opened(whole)
    tensor = msgspec.structs.replace(written.input if field == "input" else written.outputs[0], **value)
    changed = msgspec.structs.replace(written, **{field: tensor if field == "input" else (tensor,)})
    (whole / "manifest.json").write_bytes(manifest.encode(changed))
    assert run("verify", whole, cwd=tmp_path)[0] == Exit.ARTIFACT
    assert FORMATS[written.format].model_file == "model.onnx"
