"""What TFLite files promise beyond parity: one XNNPACK partition, no transposes, a signature, resizable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mfedge import runtimes
from mfedge.deploy import deploy, trace
from mfedge.errors import ArtifactError, UsageError
from mfedge.formats.tflite.unroll import plan_unrolling
from mfedge.formats.tflite.writer import Writer
from mfedge.precisions import PRECISIONS
from tests.conftest import network
from tests.support.models import count_operators, logits, write


@pytest.fixture(scope="module", params=["26m", "mobilenet-v3-small"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    write(trace(deploy(network(request.param)), 224, 256, dynamic=True), path)
    return path


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_xnnpack_takes_the_whole_graph(precision: str, tmp_path: Path) -> None:
    for variant in ("26m", "96m", "mobilenet-v3-small"):
        file = tmp_path / f"{variant}.tflite"
        write(trace(deploy(network(variant)), 224, 224), file, precision)
        known = runtimes.load(file).metadata
        assert (known.provider, known.compute, known.partitions, known.whole) == ("XNNPACK", "float32", 1, True)
        assert known.stored == PRECISIONS[precision].stored


def test_nothing_is_transposed(path: Path) -> None:
    assert "TRANSPOSE" not in count_operators(path)


def test_depthwise_multipliers_are_unrolled(tmp_path: Path) -> None:
    """Parity alone would not show it: XNNPACK computes multipliers too, only slowly."""
    from ai_edge_litert import schema_py_generated as schema

    for variant in ("26m", "96m"):
        program = trace(deploy(network(variant)), 64, 64)
        multiplying = [node.name for node in program.graph.nodes if is_multiplying(node)]
        plan = plan_unrolling(program)
        assert list(plan.convolutions) == multiplying
        assert len(multiplying) >= 7  # one of the lite bottleneck, two of each downsampling block
        write(program, tmp_path / "model.tflite")
        graph = schema.Model.GetRootAs((tmp_path / "model.tflite").read_bytes(), 0).Subgraphs(0)
        operators = schema.SubGraphT.InitFromObj(graph).operators
        multipliers = [
            op.builtinOptions.depthMultiplier for op in operators if hasattr(op.builtinOptions, "depthMultiplier")
        ]
        assert set(multipliers) == {1}


def is_multiplying(node: torch.fx.Node) -> bool:
    if node.target is not torch.ops.aten.conv2d.default:
        return False
    O, I = node.args[1].meta["val"].shape[:2]
    return bool(I == 1 and node.args[0].meta["val"].shape[1] < O)


def test_the_signature(path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    images = np.random.default_rng(0).standard_normal((1, 224, 256, 3)).astype(np.float32)
    assert runner(images=images)["logits"].shape == (1, 1000)


def test_buffers_are_aligned(path: Path) -> None:
    from ai_edge_litert import schema_py_generated as schema

    data = path.read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    for i in range(model.BuffersLength()):
        if model.Buffers(i).DataLength():
            address = model.Buffers(i).DataAsNumpy().__array_interface__["data"][0]
            assert (address - np.frombuffer(data, np.uint8).__array_interface__["data"][0]) % 16 == 0


def test_a_fixed_file_refuses_another_size(tmp_path: Path) -> None:
    write(trace(deploy(network("26m")), 64, 96), tmp_path / "model.tflite")
    session = runtimes.load(tmp_path / "model.tflite")
    with pytest.raises(UsageError, match="litert: the model takes 64x96, found 96x64"):
        logits(session, np.zeros((1, 3, 96, 64), np.float32))


@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated"])
def test_a_damaged_file_is_one_line(damage: str, path: Path, tmp_path: Path) -> None:
    content = {"empty": b"", "garbage": b"x" * 5000, "truncated": path.read_bytes()[:100_000]}[damage]
    (tmp_path / "bad.tflite").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"bad\.tflite: litert cannot load it"):
        runtimes.load(tmp_path / "bad.tflite")


def test_constants_are_written_once() -> None:
    writer = Writer(PRECISIONS["fp32"])
    first = writer.constant("a", np.arange(3, dtype=np.float32))
    assert writer.constant("b", np.arange(3, dtype=np.float32)) == first
    assert writer.constant("c", np.arange(3, dtype=np.int32)) != first
