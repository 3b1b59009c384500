"""A file whose input is not float32 is refused in one line, by whatever loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from onnx import TensorProto, helper

from mfedge import runtimes
from mfedge.bench.profile.run import profile
from mfedge.errors import ArtifactError
from mfedge.sizes import Size

SHAPE = (1, 3, 32, 48)


def onnx_file(folder: Path, kind: str) -> Path:
    element = {"float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8}[kind]
    ends = [helper.make_tensor_value_info(name, element, SHAPE) for name in ("images", "logits")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["logits"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def openvino_file(folder: Path, kind: str) -> Path:
    images = openvino.opset13.parameter(SHAPE, np.dtype(kind), name="images")
    logits = openvino.opset13.add(images, openvino.opset13.constant(1, np.dtype(kind)))
    openvino.save_model(openvino.Model([logits], [images]), folder / "model.xml", compress_to_fp16=False)
    return folder / "model.xml"


@pytest.mark.parametrize("kind", ["float16", "uint8"])
@pytest.mark.parametrize(("runtime", "write"), [("onnxruntime", onnx_file), ("openvino", openvino_file)])
def test_it_is_refused_in_one_line(
    runtime: str, write: Callable[[Path, str], Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, kind)
    monkeypatch.setattr("mfedge.bench.profile.peak.measure", lambda cpu: None)
    for call in (lambda: runtimes.load(path), lambda: profile(path, "model", runtime, Size(32, 48), 3)):
        with pytest.raises(ArtifactError) as caught:
            call()
        assert str(caught.value).startswith(f"{path}: expected an input of float32, found {kind}; ")
