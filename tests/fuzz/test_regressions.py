"""What the fuzz test has found, by kind: each is refused in one line, with the exit code of its kind."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import safetensors.numpy
from onnx import TensorProto, helper
from PIL import Image

from mfedge import reading, resources, runtimes
from mfedge.artifacts import manifest
from mfedge.artifacts.proof import FILE
from mfedge.artifacts.verify import verify
from mfedge.bench import cases
from mfedge.bench.gate import figures
from mfedge.data.images import load_image, photograph
from mfedge.errors import ArtifactError, Exit, InputError, MfedgeError, UsageError
from mfedge.formats.table import format_of
from mfedge.predict import classify
from mfedge.runtimes.onnxruntime import is_native, stored_as
from mfedge.sizes import Size
from mfedge.zoo import load_spec
from tests.fuzz.kinds import seeds


def refused(call: Callable[[], object], error: type[MfedgeError]) -> str:
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable() and len(message) <= 800
    return message


# Messages


def test_a_message_is_one_printable_line_wherever_it_goes() -> None:
    for code in Exit:
        assert code.meaning.isprintable()
    error = ArtifactError(f"a\nb\x1b[31m\udcff{'x' * 10_000}; export it again")
    assert str(error).isprintable() and len(str(error)) <= 800 and str(error).endswith("export it again")


# TOML


@pytest.mark.parametrize(
    "text",
    [
        "tokens = " + "1" * 5000,  # which Python's int() refuses with a ValueError
        "tokens = 0x" + "f" * 5000,  # which it takes, and repr() does not
        "tokens = 9223372036854775808",
        "a = " + "[" * 3000 + "]" * 3000,
        ".".join("a" * 100) + " = 1",
        ".".join("a" * 30_000) + " = 1",  # a minute of Python's parser, by the square
        "a = '" + "x" * 70_000 + "'",
    ],
    ids=lambda text: text[:12],
)
def test_toml_beyond_any_use(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    refused(lambda: resources.read_toml(path), UsageError)
    refused(lambda: load_spec(str(path)), UsageError)


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    refused(lambda: load_spec(f"./{'x' * 300}.toml"), UsageError)
    refused(lambda: load_image(tmp_path / ("x" * 300)), InputError)
    refused(lambda: runtimes.load(tmp_path / f"{'x' * 300}.onnx"), ArtifactError)
    refused(lambda: figures.count(tmp_path / f"{'x' * 300}.onnx", Size(32, 32)), UsageError)
    refused(lambda: cases.resolve([f"{tmp_path}/{'x' * 300}.onnx"], None, [Size(32, 32)]), UsageError)


# Pictures


@pytest.mark.parametrize("name", ["EPS", "DDS", "SPIDER", "TGA"])
def test_pictures_that_no_camera_takes(name: str, tmp_path: Path) -> None:
    """Pillow starts Ghostscript for EPS, and its other readers raise whatever they like."""
    data = io.BytesIO()  # of a path, Pillow's SPIDER would remember the suffix as its own
    Image.new("F" if name == "SPIDER" else "RGB", (8, 8)).save(data, name)
    (tmp_path / "photo.jpg").write_bytes(data.getvalue())
    assert "not an image of a known kind" in refused(lambda: load_image(tmp_path / "photo.jpg"), InputError)


def test_pixels_that_are_no_numbers(tmp_path: Path) -> None:
    Image.fromarray(np.array([[np.nan, np.inf, -np.inf, 7]], np.float32)).save(tmp_path / "photo.tiff")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.asarray(load_image(tmp_path / "photo.tiff")).shape == (1, 4, 3)


# Artifacts: the seal is right each time


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return seeds.of_today("tiny-32x48-fp32-onnx", tmp_path / "artifact")


def changed(folder: Path, path: str, value: object) -> None:
    """The manifest with another value at "parity.cases.0.height", sealed."""
    tree: Any = msgspec.json.decode((folder / "manifest.json").read_bytes())
    *parents, last = path.split(".")
    place = tree
    for step in parents:
        place = place[int(step)] if step.isdigit() else place[step]
    place[last] = value
    seeds.resealed(folder, tree)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *(("parity.cases.0.height", value) for value in (200_000_000, -32, 0, 4097, 2**63 - 1, 2**63, 64)),
        *(("parity.cases.0.width", value) for value in (-1, 2**31)),
        ("parity.cases", []), ("parity.cases.0.outputs", {}), ("parity.cases.0.outputs.logits.largest", -1.0),
        *(("parity.bound", value) for value in (0.0, -1.0, 1e9)),
        *(("model", value) for value in ("../../etc/passwd", "/etc/passwd", "labels.txt", "other.onnx", "")),
        *(("labels", value) for value in ("../../../etc/passwd", "LABELS.TXT", "/dev/stdin")),
        *(("input.layout", value) for value in ("NCH", "HWNC", "", "NCHWX")),
        *(("input.shape", value) for value in ([1, 3, 32], [], [1, 3, -32, 48], [1] * 9)),
        ("outputs", []), ("num_classes", 0), ("num_classes", -5),
        *(("preprocessing.crop", value) for value in (1e-300, 0.0)),
        *(("preprocessing.std", value) for value in ([0.0, 1.0, 1.0], [1e300, 1.0, 1.0], [1e-45, 1.0, 1.0])),
        ("preprocessing.mean", [1e300, 0.0, 0.0]),
        ("files", {}),
    ],
    ids=lambda value: str(value)[:24],
)  # fmt: skip
def test_a_field_that_no_export_writes(artifact: Path, path: str, value: object) -> None:
    changed(artifact, path, value)
    assert "manifest.json" in refused(lambda: manifest.read(artifact), ArtifactError)
    refused(lambda: verify(artifact), ArtifactError)
    refused(lambda: classify(artifact, photograph()), ArtifactError)


@pytest.mark.parametrize("text", [b"", b"one\ntwo\n", b"\xff\xfe" * 5, b"a\n" * 6], ids=repr)
def test_labels_that_are_none(artifact: Path, text: bytes) -> None:
    (artifact / "labels.txt").write_bytes(text)
    seeds.resealed(artifact)
    assert "labels.txt" in refused(lambda: classify(artifact, photograph()), ArtifactError)


@pytest.mark.parametrize(
    "change",
    [lambda value: value.astype(np.float64), lambda value: value * np.float32(np.nan), lambda value: value[:0]],
    ids=["float64", "NaN", "empty"],
)
def test_a_proof_of_other_numbers(artifact: Path, change: Callable[[Any], Any]) -> None:
    tensors = safetensors.numpy.load_file(artifact / FILE)
    name = next(name for name in tensors if name.endswith("/logits"))
    tensors[name] = change(tensors[name])
    (artifact / FILE).write_bytes(safetensors.numpy.save(tensors))
    seeds.resealed(artifact)
    assert FILE in refused(lambda: verify(artifact), ArtifactError)


def test_logits_that_are_no_numbers(artifact: Path) -> None:
    model = onnx.load(artifact / "model.onnx")
    bias = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("classify.bias"))
    bias.raw_data = struct.pack("<f", float("nan")) * (len(bias.raw_data) // 4)
    (artifact / "model.onnx").write_bytes(model.SerializeToString())
    seeds.resealed(artifact)
    assert "expected finite logits" in refused(lambda: classify(artifact, photograph()), ArtifactError)


# Models


def test_shapes_that_nothing_could_hold(tmp_path: Path) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 3, 32, 48)) for name in ("images", "logits")]
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3, 3], [0.0] * 9)
    weight.dims[:] = [1 << 40, 1 << 20]
    graph = helper.make_graph([helper.make_node("Add", ["images", "w"], ["logits"])], "g", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    refused(lambda: figures.count(tmp_path / "model.onnx", Size(32, 48)), ArtifactError)


def test_a_file_of_endless_fields_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for data in (bytes(1 << 16), b"\x08\x01" * (3 << 20)):
        path.write_bytes(data)
        assert not is_native(path) and stored_as(path) is None


# Places


def odd(path: Path) -> dict[str, Callable[[], object]]:
    return {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "loop": lambda: path.symlink_to(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "sparse": lambda: sparse(path),
    }


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, reading.LARGEST + 1)


@pytest.mark.parametrize("kind", odd(Path()))
@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite", ".bin"])
def test_what_is_no_file_is_not_opened(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    odd(path)[kind]()
    model = tmp_path / "model.xml" if suffix == ".bin" else path
    if suffix == ".bin":
        model.write_text("<net/>")
    if kind != "folder" or suffix == ".bin":
        refused(lambda: format_of(model).operators(model), ArtifactError)
        refused(lambda: runtimes.load(model), ArtifactError)
    refused(lambda: cases.resolve([str(model)], None, [Size(32, 48)]), MfedgeError)


@pytest.mark.parametrize("kind", odd(Path()))
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "labels.txt", FILE])
def test_no_part_of_an_artifact_may_be_one(kind: str, name: str, artifact: Path) -> None:
    (artifact / name).unlink()
    odd(artifact / name)[kind]()
    for call in (lambda: verify(artifact), lambda: cases.default_size(str(artifact))):
        refused(call, ArtifactError)
