"""Counts on networks small enough to count by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from mfedge.bench.gate import figures
from mfedge.errors import ArtifactError, UsageError
from mfedge.formats.table import read_graph
from mfedge.sizes import Size


def small(path: Path, extra: int = 0, transposes: int = 0) -> Path:
    """Conv 3→8, 3×3, stride 2; ReLU; `extra` more ReLUs; pool; a matrix product 8→10."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((8, 3, 3, 3), dtype=np.float32), "kernel"),
        numpy_helper.from_array(rng.standard_normal((8, 10), dtype=np.float32), "matrix"),
        numpy_helper.from_array(np.array([1, 8], dtype=np.int64), "shape"),
    ]
    nodes = [helper.make_node("Conv", ["images", "kernel"], ["c"], "conv", strides=[2, 2], pads=[1, 1, 1, 1])]
    last = "c"
    for i in range(1 + extra):
        nodes.append(helper.make_node("Relu", [last], [f"r{i}"], f"relu{i}"))
        last = f"r{i}"
    for i in range(transposes):
        nodes.append(helper.make_node("Transpose", [last], [f"t{i}"], f"transpose{i}", perm=[0, 1, 2, 3]))
        last = f"t{i}"
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["p"], "pool"),
        helper.make_node("Reshape", ["p", "shape"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "matrix"], ["logits"], "matmul"),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, "height", "width"])
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])
    model = helper.make_model(
        helper.make_graph(nodes, "small", [image], [out], weights),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.save(model, str(path))
    return path


def test_counted_by_hand(tmp_path: Path) -> None:
    found = figures.count(small(tmp_path / "m.onnx"), Size(64, 32))
    assert found.operators == {"Conv": 1, "GlobalAveragePool": 1, "MatMul": 1, "Relu": 1, "Reshape": 1}
    assert found.parameters == 8 * 27 + 80, "an index is no parameter"
    assert found.madds == 32 * 16 * 8 * 27 + 80
    assert found.peak_activation_bytes == (64 * 32 * 3 + 32 * 16 * 8) * 4, "the image and the convolution's output"
    assert found.transposes == 0


def test_size_scales_the_activations(tmp_path: Path) -> None:
    path = small(tmp_path / "m.onnx")
    one, two = (figures.count(path, Size(side, side)) for side in (64, 128))
    assert two.peak_activation_bytes == 4 * one.peak_activation_bytes
    assert two.parameters == one.parameters


def test_growth_blocks_and_shrinking_does_not(tmp_path: Path) -> None:
    size = Size(64, 64)
    before = figures.count(small(tmp_path / "a.onnx"), size)
    after = figures.count(small(tmp_path / "b.onnx", extra=1, transposes=1), size)
    blocking = {line.name for line in figures.compare(before, after) if line.blocks}
    assert {"operators", "transposes"} <= blocking
    assert not any(line.blocks for line in figures.compare(after, before))
    assert not any(line.blocks for line in figures.compare(before, before))
    lenient = {line.name: line for line in figures.compare(before, after, limit=0.5)}
    assert 0 < lenient["operators"].growth <= 0.5 and not lenient["operators"].blocks
    assert lenient["transposes"].blocks, "from none to one is more than any share"
    with pytest.raises(UsageError):
        figures.compare(before, figures.count(tmp_path / "a.onnx", Size(32, 32)))


def test_stored_figures_read_back(tmp_path: Path) -> None:
    found = figures.count(small(tmp_path / "a.onnx"), Size(64, 64))
    path = tmp_path / "figures.json"
    path.write_bytes(figures.encode(found))
    assert figures.read(path) == found
    path.write_text("{}")
    with pytest.raises(UsageError):
        figures.read(path)


def test_openvino_counts_the_same(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = small(tmp_path / "a.onnx")
    openvino.save_model(openvino.convert_model(str(path)), str(tmp_path / "a.xml"), compress_to_fp16=False)
    size = Size(64, 32)
    ours, theirs = figures.count(path, size), figures.count(tmp_path / "a.xml", size)
    assert (ours.parameters, ours.madds) == (theirs.parameters, theirs.madds)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    for name in ("a.onnx", "a.xml", "a.tflite"):
        path = tmp_path / name
        path.write_bytes(b"\x00garbage" * 20)
        with pytest.raises(ArtifactError) as caught:
            read_graph(path, Size(64, 64))
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        read_graph(tmp_path / "absent.onnx", Size(64, 64))
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(UsageError):
        read_graph(tmp_path / "a.bin", Size(64, 64))
