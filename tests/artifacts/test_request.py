"""An artifact's folder is its identity, and a request is checked once, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mfedge.artifacts.request import Request
from mfedge.errors import CheckpointError, UsageError
from mfedge.formats.table import FORMATS
from mfedge.sizes import Size
from mfedge.zoo import load_spec
from tests.conftest import network

ONNX, SIZE = FORMATS["onnx"], Size(224, 320)


def name(variant: str = "26m", *overrides: str, size: Size | None = SIZE, **options: object) -> str:
    return Request.of(load_spec(variant, overrides), ("onnx",), size, **options).name(ONNX)


def test_what_ships_is_named_in_words() -> None:
    assert name() == "mobile-former-26m-224x320-fp32-onnx"
    assert name(size=None, precision="fp16") == "mobile-former-26m-dynamic-fp16-onnx"
    assert name("mobilenet-v3-large-0.75") == "mobilenet-v3-large-0.75-224x320-fp32-onnx"
    assert name("26m", "tokens=3") == name(), "a field set to what it is anyway"


def test_what_makes_another_file_makes_another_folder(tmp_path: Path) -> None:
    torch.save(network("26m").state_dict(), tmp_path / "a.pth")
    torch.save(network("26m", num_classes=7).state_dict(), tmp_path / "b.pth")
    (tmp_path / "mine.toml").write_text('base = "26m"\ntokens = 2\n')
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.toml").write_text('base = "26m"\ntokens = 4\n')
    names = [
        name(),
        name("26m", "tokens=6"),
        name("26m", "tokens=5"),
        name(num_classes=7),
        name(weights=tmp_path / "a.pth"),
        name(weights=tmp_path / "b.pth", num_classes=7),
        name(str(tmp_path / "mine.toml")),
        name(str(tmp_path / "other" / "mine.toml")),
    ]
    assert len(set(names)) == len(names), names
    assert names[1] == name("26m", "tokens=6"), "the same request has the same name"


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pth: no such file"):
        name(weights=tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("formats", "options", "message"),
    [
        ((), {}, "--format: expected at least one of onnx, openvino, tflite"),
        (("coreml",), {}, "--format coreml: expected one of onnx"),
        (("onnx",), {"precision": "int4"}, "--precision int4: expected one of fp32, fp16"),
        (("onnx",), {"kernels": "fast"}, "--kernels fast: expected one of portable, native"),
    ],
)
def test_an_unknown_name_is_refused(formats: tuple[str, ...], options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Request.of(load_spec("26m"), formats, None, **options)


def test_a_format_given_twice_counts_once() -> None:
    request = Request.of(load_spec("26m"), ("tflite", "onnx", "tflite"), None)
    assert [row.name for row in request.formats] == ["tflite", "onnx"]
