"""Artifacts of every schema that mfedge ever wrote are verified for ever; those of a later one say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from mfedge.artifacts import manifest, parity
from mfedge.artifacts.folder import MANIFEST, check_sums
from mfedge.artifacts.proof import FILE_1, Proof
from mfedge.artifacts.verify import verify
from mfedge.data.images import Preprocessing, photograph
from mfedge.errors import ArtifactError, ParityError
from mfedge.kernels import find
from mfedge.predict import classify
from mfedge.runtimes.table import RUNTIMES, load

STORED = Path(__file__).parent.parent / "data" / "artifacts"
ARTIFACTS = sorted(path.parent for path in STORED.glob("*/*/manifest.json"))


def needs_kernels(folder: Path) -> bool:
    return "-native-" in folder.name


@pytest.fixture(params=ARTIFACTS, ids=[f"{path.parent.name}-{path.name}" for path in ARTIFACTS])
def stored(request: pytest.FixtureRequest) -> Path:
    folder = Path(request.param)
    if needs_kernels(folder) and find.find("kernels") is None:
        pytest.skip("the kernels are not built")
    return folder


def test_every_format_is_stored_portable_and_native() -> None:
    names = {path.name for path in STORED.joinpath("1").iterdir()}
    assert names == {
        f"tiny-32x48-fp32{kernels}-{name}" for kernels in ("", "-native") for name in ("onnx", "openvino", "tflite")
    }


def test_it_is_verified(stored: Path) -> None:
    found = verify(stored)
    assert (found.cases, found.skipped) == (4, 0)
    assert found.max_relative <= found.bound == 1e-4


def test_it_predicts(stored: Path) -> None:
    classes = classify(stored, photograph()).classes
    assert len(classes) == 5
    assert sum(guess.probability for guess in classes) == pytest.approx(1)


def test_schema_1_is_read_as_if_it_had_been_written_as_2() -> None:
    read = manifest.read(STORED / "1" / "tiny-32x48-fp32-tflite")
    assert (read.schema, read.task, read.kernels, read.kernels_abi) == (1, "classify", "portable", None)
    assert [(output.name, output.shape, output.layout) for output in read.outputs] == [("logits", (1, 5), "NC")]
    assert read.input.shape == (1, 32, 48, 3)
    assert all(case.agrees and set(case.outputs) == {"logits"} for case in read.parity.cases)
    check_sums(STORED / "1" / "tiny-32x48-fp32-tflite", read.files)


def changed(folder: Path, tmp_path: Path, change: dict[str, object]) -> Path:
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    data = json.loads((copy / MANIFEST).read_text()) | change
    (copy / MANIFEST).write_text(json.dumps(data, indent=2))
    return copy


def test_a_later_schema_says_so_whatever_it_holds(tmp_path: Path) -> None:
    copy = changed(ARTIFACTS[0], tmp_path, {"schema": manifest.SCHEMA + 1, "a field of its own": [1, 2]})
    with pytest.raises(ArtifactError, match=r"expected a manifest \(schema 2\), found schema 3: .*newer mfedge"):
        verify(copy)


@pytest.mark.parametrize("schema", ["2", None, 1.5, -1, [2]], ids=str)
def test_what_is_no_schema_number_is_damage(schema: object, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"manifest\.json: expected a manifest"):
        verify(changed(ARTIFACTS[0], tmp_path, {"schema": schema}))


def test_a_changed_field_of_an_old_manifest_is_found(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="changed since the export"):
        verify(changed(STORED / "1" / "tiny-32x48-fp32-onnx", tmp_path, {"num_classes": 6}))


def test_inputs_that_cannot_be_made_again_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of schema 1: another Pillow decodes the photograph otherwise, and its random inputs are numpy's own."""
    folder = STORED / "1" / "tiny-32x48-fp32-onnx"
    monkeypatch.setattr("mfedge.artifacts.proof.preprocess", lambda *_: np.zeros((1, 3, 32, 48), np.float32))
    assert (verify(folder).cases, verify(folder).skipped) == (3, 1)
    monkeypatch.setattr("mfedge.artifacts.proof._random_images_1", lambda *_: np.zeros((1, 3, 32, 48), np.float32))
    with pytest.raises(ParityError, match="none of 4 inputs can be made again to the bit"):
        verify(folder)


def test_a_proof_of_today_depends_on_no_image_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The photograph travels as the bytes that the network sees."""
    from mfedge.sizes import Size

    made = Proof.of_sizes([Size(33, 48)], Preprocessing())
    before = made.inputs(Size(33, 48))
    (tmp_path / "proof.safetensors").write_bytes(made.encode())
    for name in ("load_image", "crop", "preprocess"):
        monkeypatch.delattr(f"mfedge.artifacts.proof.{name}")
    monkeypatch.delattr("numpy.random.default_rng")
    after = Proof.read(tmp_path, 2, Preprocessing(), ("logits",)).inputs(Size(33, 48))
    assert before.keys() == after.keys() == {"random-0", "random-1", "random-2", "photograph"}
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_random_inputs_are_the_same_for_ever() -> None:
    from mfedge.arrays import random_images

    images = random_images(1, 2, 3)
    assert parity.sha256(images) == "158ff3dfb13db0f4661f3a389afb3657d17d1a715a7e433e241439618036be48"
    big = random_images(7, 200, 300)
    assert abs(float(big.mean())) < 0.01 and abs(float(big.std()) - 1) < 0.01


@pytest.mark.parametrize(
    ("field", "value"), [("format", "coreml"), ("precision", "int4"), ("task", "segment"), ("kernels", "fast")]
)
def test_a_name_that_no_table_has_is_one_line(field: str, value: str, tmp_path: Path) -> None:
    written = manifest.read(STORED / "1" / "tiny-32x48-fp32-onnx")
    other = msgspec.structs.replace(written, schema=2, **{field: value})
    (tmp_path / MANIFEST).write_bytes(manifest.encode(other))
    with pytest.raises(ArtifactError, match=f"{field}: expected one of .*, found '{value}'"):
        manifest.read(tmp_path)


def test_the_outputs_of_a_proof_are_those_of_the_manifest(tmp_path: Path) -> None:
    folder = STORED / "1" / "tiny-32x48-fp32-onnx"
    written = manifest.read(folder)
    proof = Proof.read(folder, 1, written.preprocessing, ("logits",))
    session = load(folder / written.model, RUNTIMES["onnxruntime"].name)
    missing = msgspec.structs.replace(written.parity.cases[0], input="random-9")
    with pytest.raises(ArtifactError, match=f"{FILE_1}: logits of random-9_32x48"):
        parity.replay(session, msgspec.structs.replace(written.parity, cases=(missing,)), proof, "classify")
