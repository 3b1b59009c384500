"""`mfedge export --kernels native`: names, manifests, targets, verify, predict, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from mfedge.artifacts import folder as artifact
from mfedge.artifacts import manifest
from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.artifacts.targets import Target, load_target
from mfedge.artifacts.verify import verify
from mfedge.data.images import photograph
from mfedge.errors import ArtifactError, MissingRuntimeError, UnsupportedError, UsageError
from mfedge.families.spec import Spec
from mfedge.formats.table import FORMATS
from mfedge.kernels import find as native
from mfedge.predict import classify
from mfedge.sizes import Size
from mfedge.zoo import load_spec
from tests.cli.test_cli import run

FORMAT = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.skipif(native.find(row.runtime) is None, reason="not built"))
        for name, row in FORMATS.items()
    ],
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Exports by format, made as they are asked for."""

    class Made(dict[str, Path]):
        def __missing__(self, name: str) -> Path:
            request = Request.of(load_spec("26m"), (name,), Size(65, 97), kernels="native")
            (self[name],) = export(request, tmp_path_factory.mktemp(name))
            return self[name]

    return Made()


@FORMAT
def test_an_artifact_says_what_it_needs(name: str, folders: dict[str, Path]) -> None:
    folder = folders[name]
    written = manifest.read(folder)
    assert folder.name == written.name == f"mobile-former-26m-65x97-fp32-native-{name}"
    assert (written.kernels, written.kernels_abi) == ("native", native.ABI)
    kinds = {key.rpartition(".")[2]: count for key, count in written.operators.items() if key != "TRANSPOSE"}
    assert kinds == {"Block": 8, "Head": 1, "Stem": 1}
    assert max(case.max_relative for case in written.parity.cases) <= 1e-4


@FORMAT
def test_it_is_verified_and_predicts(name: str, folders: dict[str, Path]) -> None:
    checked = verify(folders[name])
    assert checked.max_relative <= 1e-4 and checked.cases == 4
    top = classify(folders[name], photograph(), 3).classes
    assert top[0].probability >= top[1].probability > 0


@FORMAT
def test_without_the_library_a_native_artifact_says_what_to_do(
    name: str, folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders[name]
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    for action in (lambda: verify(folder), lambda: classify(folder, photograph())):
        with pytest.raises(MissingRuntimeError, match="native kernels: not built") as caught:
            action()
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(native.find("onnxruntime") is None, reason="not built")
def test_another_abi_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(folders["onnx"], folder)
    other = msgspec.structs.replace(manifest.read(folder), kernels_abi=native.ABI + 1)
    (folder / artifact.MANIFEST).write_bytes(manifest.encode(other))
    with pytest.raises(ArtifactError, match=f"ABI version {native.ABI + 1}, this mfedge has {native.ABI}"):
        verify(folder)


def test_names(small_spec: Spec) -> None:
    for kernels, name in (
        ("portable", "mobile-former-26m-dynamic-fp16-onnx"),
        ("native", "mobile-former-26m-dynamic-fp16-native-onnx"),
    ):
        assert Request.of(small_spec, ("onnx",), None, "fp16", kernels=kernels).name(FORMATS["onnx"]) == name


def test_targets_carry_kernels(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('description = "x"\nformats = ["onnx"]\nkernels = "native"\n')
    assert load_target(str(path), (), None, None).kernels == "native"
    assert load_target(str(path), (), None, None, "portable").kernels == "portable"
    assert load_target(None, ("onnx",), None, None).kernels == Target("", ()).kernels == "portable"
    path.write_text('description = "x"\nformats = ["onnx"]\nkernels = "fast"\n')
    with pytest.raises(UsageError, match="fast"):
        load_target(str(path), (), None, None)
    with pytest.raises(UsageError, match="--kernels fast: expected one of portable, native"):
        load_target(None, ("onnx",), None, None, "fast")


def test_what_has_no_kernels_is_refused_as_it_is_asked_for() -> None:
    with pytest.raises(UsageError, match="mobilenet-v3-small"):
        Request.of(load_spec("mobilenet-v3-small"), tuple(FORMATS), Size(64, 64), kernels="native")
    wide = load_spec("26m", ["kernel=5"])
    with pytest.raises(UnsupportedError, match=r"^kernel: "):
        Request.of(wide, tuple(FORMATS), Size(64, 64), kernels="native")


def test_without_the_library_nothing_is_asked_for(
    small_spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path / "none"))
    for name in FORMATS:
        with pytest.raises(MissingRuntimeError, match=r"install a C.. compiler and reinstall$"):
            Request.of(small_spec, (name,), Size(64, 64), kernels="native")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--variant", "26m", "--kernels", "fast"), 2, "--kernels fast: expected one of portable, native"),
        (("--variant", "mobilenet-v3-small", "--kernels", "native"), 2, "no native kernels for mobilenet-v3-small"),
        (("--variant", "26m", "--kernels", "native", "--set", "kernel=7"), 7, "kernel: "),
    ],
)
def test_mistakes_on_the_command_line(arguments: tuple[str, ...], code: int, message: str, tmp_path: Path) -> None:
    done = run("export", "--format", "onnx", "--output", tmp_path, *arguments)
    assert done.returncode == code
    assert message in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(native.find("onnxruntime") is None, reason="not built")
def test_the_command(tmp_path: Path) -> None:
    done = run(
        "export", "--variant", "26m", "--format", "onnx", "--size", "64", "--kernels", "native", "--output", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "mobile-former-26m-64x64-fp32-native-onnx" in done.stdout and "10 operators" in done.stdout
    done = run("verify", tmp_path / "mobile-former-26m-64x64-fp32-native-onnx", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["operators"] == 10
