"""An artifact appears whole or not at all; what was there before stays; verify finds every damage."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from mfedge import files
from mfedge.artifacts import export as exporting
from mfedge.artifacts import folder as artifact
from mfedge.artifacts import manifest, parity
from mfedge.artifacts.export import export
from mfedge.artifacts.proof import Proof
from mfedge.artifacts.request import Request
from mfedge.artifacts.verify import verify
from mfedge.errors import ArtifactError, ParityError, StorageError, UsageError
from mfedge.families.spec import Spec
from mfedge.formats.table import FORMATS
from mfedge.sizes import Size
from mfedge.tasks.table import TASKS

BYTES = {"onnx": "model.onnx", "openvino": "model.bin", "tflite": "model.tflite"}


@pytest.fixture(scope="module")
def artifacts(small_spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    return dict(zip(FORMATS, export(Request.of(small_spec, tuple(FORMATS), Size(64, 96)), folder), strict=True))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", FORMATS)
def test_an_artifact_holds_what_an_app_needs(artifacts: dict[str, Path], name: str) -> None:
    written = manifest.read(artifacts[name])
    assert (written.format, written.variant, written.num_classes) == (name, "mobile-former-26m", 1000)
    assert written.weights == manifest.Weights("random, seed 0", True, None)
    assert set(written.files) == {path.name for path in artifacts[name].iterdir()} - {"manifest.json"}
    assert len((artifacts[name] / "labels.txt").read_text().splitlines()) == 1000
    assert {case.input for case in written.parity.cases} == {"random-0", "random-1", "random-2", "photograph"}
    assert all(case.max_relative <= written.parity.bound == 1e-4 and case.agrees for case in written.parity.cases)
    assert written.input.shape == ((1, 64, 96, 3) if name == "tflite" else (1, 3, 64, 96))
    text = (artifacts[name] / "manifest.json").read_text()
    assert str(Path.home()) not in text
    assert str(artifacts[name].parent) not in text


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_export_writes_the_same_folder(
    artifacts: dict[str, Path], name: str, small_spec: Spec, tmp_path: Path
) -> None:
    (again,) = export(Request.of(small_spec, (name,), Size(64, 96)), tmp_path)
    assert contents(again) == contents(artifacts[name])


@pytest.mark.parametrize("name", FORMATS)
def test_verify_accepts_what_was_exported(artifacts: dict[str, Path], name: str) -> None:
    result = verify(artifacts[name])
    assert (result.cases, result.skipped) == (4, 0)
    assert result.max_relative <= result.bound


@pytest.mark.parametrize("name", FORMATS)
def test_verify_names_a_flipped_byte(artifacts: dict[str, Path], name: str, tmp_path: Path) -> None:
    folder = copy(artifacts[name], tmp_path)
    for file in sorted(folder.iterdir()):
        original = file.read_bytes()
        flipped = bytearray(original)
        flipped[len(flipped) // 2] ^= 1
        file.write_bytes(flipped)
        with pytest.raises(ArtifactError, match=file.name):
            verify(folder)
        file.write_bytes(original)


def test_verify_names_missing_and_added_files(artifacts: dict[str, Path], tmp_path: Path) -> None:
    folder = copy(artifacts["onnx"], tmp_path)
    (folder / "labels.txt").unlink()
    (folder / "extra.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"missing: labels\.txt; not of the artifact: extra\.bin"):
        verify(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 1}', b"\xff\xfe", b"null"])
def test_a_broken_manifest_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json"):
        verify(tmp_path)


def test_a_folder_that_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not an artifact"):
        verify(tmp_path)


# The gate must be able to fail: one weight of the file is changed between writing and proving.


def corrupt(path: Path) -> None:
    """Change one weight of a model file and leave it a sound model."""
    if path.suffix == ".onnx":
        model = onnx.load(path)
        tensor = next(t for t in model.graph.initializer if t.name.endswith("classify.bias"))
        values = numpy_helper.to_array(tensor).copy()
        values[7] += 1
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        path.write_bytes(model.SerializeToString())
        return
    # The same weight, found by its bytes: the last bias, written with the seed that every test has.
    from tests.conftest import network

    bias = network("26m").classifier.classify.bias.detach().numpy()
    file = path.with_suffix(".bin") if path.suffix == ".xml" else path
    data = file.read_bytes()
    at = data.index(bias.tobytes()) + 4 * 7
    changed = (torch.tensor(bias[7]) + 1).numpy().tobytes()
    file.write_bytes(data[:at] + changed + data[at + 4 :])


@pytest.mark.parametrize("name", FORMATS)
def test_one_wrong_weight_is_refused(
    name: str, artifacts: dict[str, Path], small_spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module = importlib.import_module(f"mfedge.formats.{name}.lower")
    original = module.write

    def write_wrong(program: object, path: Path, *rest: object) -> None:
        original(program, path, *rest)
        corrupt(path)

    monkeypatch.setattr(module, "write", write_wrong)
    before = tmp_path / artifacts[name].name
    copy(artifacts[name], tmp_path)
    was = contents(before)
    with pytest.raises(ParityError, match=r"within 0\.0001 .* found .* at 64x96 .*4 of 4 cases fail"):
        export(Request.of(small_spec, (name,), Size(64, 96)), tmp_path)
    assert contents(before) == was
    assert [path.name for path in tmp_path.iterdir()] == [before.name]


@pytest.mark.parametrize("name", FORMATS)
def test_verify_replays_parity_and_not_only_sums(name: str, artifacts: dict[str, Path], tmp_path: Path) -> None:
    """A weight changed with all sums put right again is still found."""
    folder = copy(artifacts[name], tmp_path)
    written = manifest.read(folder)
    corrupt(folder / written.model)
    summed = msgspec.structs.replace(written, files=artifact.file_sums(folder))
    (folder / "manifest.json").write_bytes(manifest.encode(summed))
    with pytest.raises(ParityError, match="4 of 4 cases fail"):
        verify(folder)


@pytest.mark.parametrize(
    "found",
    [np.zeros((1, 5)), np.full((1, 5), np.nan), np.full((1, 5), np.inf), np.ones((1, 4)), -np.ones((1, 5)), None],
    ids=["zero", "NaN", "infinite", "misshapen", "negated", "missing"],
)
def test_what_is_not_the_references_answer_fails(found: np.ndarray | None) -> None:
    """Each output is compared relative to its own largest magnitude; what cannot be compared is infinitely far off."""
    images, expected = np.zeros((1, 3, 4, 4), np.float32), np.ones((1, 5), np.float32)
    outputs = {"boxes": expected, **({} if found is None else {"logits": found.astype(np.float32)})}
    case = parity.compare("random-0", images, outputs, {"logits": expected, "boxes": expected}, TASKS["classify"])
    with pytest.raises(ParityError, match=r"expected logits within .* 1 of 1 cases fail"):
        parity.check(manifest.Parity("onnxruntime", "1", 1e-4, (case,)))
    assert case.outputs["boxes"].max_relative == 0


# Nothing half-written: errors, full disks, signals.


def test_a_failing_step_leaves_what_was_there(
    artifacts: dict[str, Path], small_spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(artifacts["onnx"], tmp_path)
    was = contents(tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place, step in ((Proof, "encode"), (parity, "prove"), (exporting, "encode")):
        with monkeypatch.context() as patched:
            patched.setattr(place, step, full)
            with pytest.raises(StorageError, match="no space left"):
                export(Request.of(small_spec, ("onnx",), Size(64, 96)), tmp_path)
        assert contents(tmp_path) == was


def test_a_disk_that_takes_no_more_bytes(artifacts: dict[str, Path], tmp_path: Path) -> None:
    """A real limit of the system on file sizes, for each format's own writer."""
    for name in FORMATS:
        copy(artifacts[name], tmp_path)
    was = contents(tmp_path)
    for name in FORMATS:
        done = run_export(
            tmp_path, name, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        )
        assert done.returncode == 10, (name, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stderr.count("error:") == 1
    assert contents(tmp_path) == was


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_export_leaves_what_was_there(
    artifacts: dict[str, Path], number: signal.Signals, tmp_path: Path
) -> None:
    copy(artifacts["onnx"], tmp_path)
    was = contents(tmp_path)
    process = subprocess.Popen(command(tmp_path, "onnx"), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "onnx: writing" in line:
            break
    process.send_signal(number)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode not in (0, None)
    assert "Traceback" not in rest
    left = {path: data for path, data in contents(tmp_path).items() if not path.startswith(".mfedge-staging")}
    assert left == was
    if number == signal.SIGKILL:  # nobody could clean up: the next export does
        export_again = run_export(tmp_path, "onnx")
        assert export_again.returncode == 0, export_again.stderr
    assert contents(tmp_path) == was
    assert [path.name for path in tmp_path.iterdir()] == [artifacts["onnx"].name]


def test_a_folder_that_is_not_ours_is_never_replaced(small_spec: Spec, tmp_path: Path) -> None:
    request = Request.of(small_spec, ("onnx",), Size(64, 96))
    destination = tmp_path / request.name(FORMATS["onnx"])
    destination.mkdir()
    (destination / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="replaces only its own artifacts"):
        export(request, tmp_path)
    assert (destination / "thesis.tex").read_text() == "years of work"


def test_publishing_works_where_names_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    for content in ("first", "second"):
        with artifact.staged(tmp_path / "out") as staging:
            (staging / "manifest.json").write_text(content)
    assert contents(tmp_path) == {"out/manifest.json": b"second"}


def test_an_unwritable_output_is_one_line(small_spec: Spec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((StorageError, UsageError), match="file"):
        export(Request.of(small_spec, ("onnx",), Size(64, 96)), tmp_path / "file" / "out")


def copy(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to / folder.name))


def command(output: Path, name: str) -> list[str]:
    options = ["--variant", "26m", "--format", name, "--size", "64x96", "--output", str(output)]
    return [sys.executable, "-m", "mfedge", "export", *options]


def run_export(output: Path, name: str, **options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command(output, name), capture_output=True, text=True, env=environment, **options)
