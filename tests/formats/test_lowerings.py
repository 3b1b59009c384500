"""Every variant, as ONNX and OpenVINO IR, computes what PyTorch does, at sizes that were and were not traced."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mfedge import runtimes
from mfedge.arrays import random_images
from mfedge.deploy import deploy, trace
from mfedge.errors import UnsupportedError
from mfedge.formats.onnx import lower as to_onnx
from mfedge.formats.table import FORMATS
from mfedge.ops import dynamic_relu, former_attention, former_to_mobile, mobile_to_former
from mfedge.precisions import PRECISIONS, Precision
from mfedge.sizes import Size
from mfedge.tasks.classify import LOGITS
from mfedge.zoo import variants
from tests.conftest import network
from tests.support.models import count_operators, logits, reference, write_network

FAST = ("mobile-former-26m", "mobile-former-96m", "mobilenet-v3-small")
EVERY_FORMAT = pytest.mark.parametrize("format_name", FORMATS)


def by_speed(names: list[str]) -> list[object]:
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


def assert_same(net: nn.Module, path: Path, size: tuple[int, int], bound: float = 1e-4) -> None:
    images = np.random.default_rng(sum(size)).standard_normal((1, 3, *size)).astype(np.float32)
    expected = reference(net, images)
    found = logits(runtimes.load(path), images)
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


@EVERY_FORMAT
@pytest.mark.parametrize("variant", by_speed(variants()))
def test_a_fixed_size_is_exact(variant: str, format_name: str, tmp_path: Path) -> None:
    net = network(variant)
    for size in ((224, 224), (320, 256)):
        assert_same(net, write_network(net, format_name, tmp_path, size), size)


@EVERY_FORMAT
@pytest.mark.parametrize("variant", by_speed(variants()))
def test_a_dynamic_file_is_exact_at_sizes_that_were_not_traced(variant: str, format_name: str, tmp_path: Path) -> None:
    net = network(variant)
    path = write_network(net, format_name, tmp_path, None)
    for size in ((224, 224), (32, 32), (33, 47), (191, 321), (64, 512)):
        assert_same(net, path, size)


@EVERY_FORMAT
@pytest.mark.parametrize(
    "overrides",
    [
        ("mobile_only=true", "activation=relu"),
        ("activation=relu",),
        ("tokens=1",),
        ("tokens=9",),
        ("token_dim=64",),
        ("former_ffn=false",),
        ("kernel=5",),
    ],
    ids=" ".join,
)
def test_an_ablation_is_exact(overrides: tuple[str, ...], format_name: str, tmp_path: Path) -> None:
    net = network("52m", *overrides)
    assert_same(net, write_network(net, format_name, tmp_path, (97, 97)), (97, 97))


POSITION_MLP = ("mixing=position-mlp", "image_size=97")


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_position_mixing_is_exact(format_name: str, tmp_path: Path) -> None:
    net = network("52m", *POSITION_MLP)
    assert_same(net, write_network(net, format_name, tmp_path, (97, 97)), (97, 97))


def test_what_one_format_cannot_names_those_that_can(tmp_path: Path) -> None:
    message = r"tflite: .*aten::flatten.* of module blocks\.1\.mobile_to_former; formats that can: onnx, openvino"
    with pytest.raises(UnsupportedError, match=message):
        write_network(network("52m", *POSITION_MLP), "tflite", tmp_path, (97, 97))
    assert list(tmp_path.iterdir()) == []


class OneOperator(nn.Module):
    """A fused operator on the image itself, its token side computed from constants: 4 heads, odd sizes."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        generator = torch.Generator().manual_seed(1)
        self.tokens = nn.Parameter(torch.randn(1, 5, 12, generator=generator))
        self.lift = nn.Conv2d(3, 12, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.lift(images)
        if self.name == "mobile_to_former":
            y = mobile_to_former(x, self.tokens, 4, 0.3)
            return y[:, 0]
        if self.name == "former_attention":
            tokens = mobile_to_former(x, self.tokens, 1, 1.0)
            return former_attention(tokens + self.tokens, tokens, 4, 0.7)[:, 0]
        if self.name == "dynamic_relu":
            y = dynamic_relu(x, 1 + self.tokens[:, 0], 0.3 * self.tokens[:, 1])
        else:
            y = former_to_mobile(x, self.tokens, 0.5 * self.tokens, 4, 0.3)
        return y.mean(dim=(2, 3))


@EVERY_FORMAT
@pytest.mark.parametrize("name", ["mobile_to_former", "former_to_mobile", "former_attention", "dynamic_relu"])
@pytest.mark.parametrize("size", [(33, 37), None], ids=["fixed", "dynamic"])
def test_each_fused_operator_alone_is_exact(
    name: str, format_name: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    net = OneOperator(name).eval()
    path = write_network(net, format_name, tmp_path, size)
    for check in (size,) if size else ((35, 64), (61, 33)):
        assert_same(net, path, check, 1e-5)


def test_attention_scores_that_would_overflow_exp_stay_finite(tmp_path: Path) -> None:
    net = OneOperator("former_to_mobile").eval()
    with torch.no_grad():
        net.tokens.mul_(1000)
    for format_name in FORMATS:
        assert_same(net, write_network(net, format_name, tmp_path, (33, 37)), (33, 37))


def test_onnx_has_standard_operators_and_no_transposes(tmp_path: Path) -> None:
    model = onnx.load(write_network(network("26m"), "onnx", tmp_path, None))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", to_onnx.OPSET)]
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Transpose"] == 0
    assert kinds["BatchNormalization"] == 0
    assert all(node.domain == "" for node in model.graph.node)
    onnx.checker.check_model(model, full_check=True)


def test_openvino_transposes_tokens_only(tmp_path: Path) -> None:
    import openvino

    model = openvino.Core().read_model(write_network(network("26m"), "openvino", tmp_path, (224, 224)))
    sizes = [int(np.prod(node.output(0).shape)) for node in model.get_ops() if node.get_type_name() == "Transpose"]
    assert max(sizes) <= 9 * 128  # tokens × width; the smallest pixel map has 7·7·64 elements more than that
    types = {
        node.output(0).element_type.get_type_name() for node in model.get_ops() if node.get_type_name() == "Constant"
    }
    assert "f16" not in types


@EVERY_FORMAT
def test_the_same_export_writes_the_same_bytes(format_name: str, tmp_path: Path) -> None:
    files = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        write_network(network("26m"), format_name, tmp_path / run, None)
        files.append({path.name: path.read_bytes() for path in sorted((tmp_path / run).iterdir())})
    assert files[0] == files[1]


@EVERY_FORMAT
def test_half_precision_halves_the_file_and_keeps_its_bound(format_name: str, tmp_path: Path) -> None:
    net = network("26m")
    (tmp_path / "full").mkdir()
    (tmp_path / "half").mkdir()
    full = write_network(net, format_name, tmp_path / "full", (224, 224))
    half = write_network(net, format_name, tmp_path / "half", (224, 224), "fp16")
    size = {path: sum(file.stat().st_size for file in path.parent.iterdir()) for path in (full, half)}
    assert size[half] < 0.6 * size[full]
    assert_same(net, half, (224, 224), 2e-2)
    assert count_operators(half).keys() - {"Cast", "Convert", "DEQUANTIZE"} == count_operators(full).keys()


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.strange = nn.Softsign()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(images).mean(dim=(2, 3))


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Unknown()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.inner(images)


@EVERY_FORMAT
def test_an_unknown_operator_is_named_with_its_module(format_name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"aten::special_bessel_j0.* of module inner; formats that can: none"):
        write_network(Outer().eval(), format_name, tmp_path, (64, 64))
    assert list(tmp_path.iterdir()) == []


@EVERY_FORMAT
def test_weights_are_stored_in_no_type_that_the_format_cannot(format_name: str, tmp_path: Path) -> None:
    program = trace(deploy(network("26m")), 64, 64)
    unknown = Precision("fp8", "float8", "float32", 1e-1, "weights stored as float8")
    with pytest.raises(
        UnsupportedError, match=f"{format_name}: cannot store weights as float8; expected one of float32"
    ):
        FORMATS[format_name].write(program, tmp_path / FORMATS[format_name].model_file, unknown, (LOGITS,))
    assert list(tmp_path.iterdir()) == []


class TwoOutputs(nn.Module):
    """A map and a vector: what a network with several outputs hands a lowering."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.lift(images)
        return {"map": x, "mean": x.mean(dim=(2, 3))}


@EVERY_FORMAT
@pytest.mark.parametrize("size", [Size(33, 48), None], ids=["fixed", "dynamic"])
def test_outputs_have_names_and_come_in_order(format_name: str, size: Size | None, tmp_path: Path) -> None:
    net = TwoOutputs().eval()
    row = FORMATS[format_name]
    program = trace(net, *((size.height, size.width) if size else (40, 56)), dynamic=size is None)
    row.write(program, tmp_path / row.model_file, PRECISIONS["fp32"], ("map", "mean"))
    session = runtimes.load(tmp_path / row.model_file)
    assert session.metadata.outputs == ("map", "mean")
    images = random_images(3, 33, 48)
    with torch.inference_mode():
        expected = {name: value.numpy() for name, value in net(torch.from_numpy(images)).items()}
    found = session.run(images)
    for name, value in expected.items():
        # A map comes in the format's own layout.
        array = (
            found[name].transpose(0, 3, 1, 2) if name == "map" and session.metadata.layout == "NHWC" else found[name]
        )
        np.testing.assert_allclose(array, value, rtol=0, atol=1e-5)
