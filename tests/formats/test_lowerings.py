"""Every variant, as ONNX and OpenVINO IR, computes what PyTorch does, at sizes that were and were not traced."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mfedge.formats.operators import count_operators
from torch import nn

from mfedge import runtimes
from mfedge.deploy import deploy, trace
from mfedge.errors import UnsupportedError
from mfedge.formats.onnx import lower as to_onnx
from mfedge.formats.openvino import lower as to_openvino
from mfedge.formats.tflite import lower as to_tflite
from mfedge.ops import dynamic_relu, former_attention, former_to_mobile, mobile_to_former
from mfedge.reference import TorchSession
from mfedge.zoo import variants
from tests.conftest import network

WRITERS = {
    "onnx": (to_onnx.write, "model.onnx"),
    "openvino": (to_openvino.write, "model.xml"),
    "tflite": (to_tflite.write, "model.tflite"),
}
FAST = ("mobile-former-26m", "mobile-former-96m", "mobilenet-v3-small")
FORMATS = pytest.mark.parametrize("format_name", WRITERS)


def by_speed(names: list[str]) -> list[object]:
    return [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in names]


def write(
    net: nn.Module, format_name: str, folder: Path, size: tuple[int, int] | None, precision: str = "fp32"
) -> Path:
    writer, name = WRITERS[format_name]
    writer(trace(deploy(net), *(size or (224, 256)), dynamic=size is None), folder / name, precision)
    return folder / name


def assert_same(net: nn.Module, path: Path, size: tuple[int, int], bound: float = 1e-4) -> None:
    images = np.random.default_rng(sum(size)).standard_normal((1, 3, *size)).astype(np.float32)
    expected = TorchSession(net).run(images)
    found = runtimes.load(path).run(images)
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


@FORMATS
@pytest.mark.parametrize("variant", by_speed(variants()))
def test_a_fixed_size_is_exact(variant: str, format_name: str, tmp_path: Path) -> None:
    net = network(variant)
    for size in ((224, 224), (320, 256)):
        assert_same(net, write(net, format_name, tmp_path, size), size)


@FORMATS
@pytest.mark.parametrize("variant", by_speed(variants()))
def test_a_dynamic_file_is_exact_at_sizes_that_were_not_traced(variant: str, format_name: str, tmp_path: Path) -> None:
    net = network(variant)
    path = write(net, format_name, tmp_path, None)
    for size in ((224, 224), (32, 32), (33, 47), (191, 321), (64, 512)):
        assert_same(net, path, size)


@FORMATS
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
    assert_same(net, write(net, format_name, tmp_path, (97, 97)), (97, 97))


POSITION_MLP = ("mixing=position-mlp", "image_size=97")


@pytest.mark.parametrize("format_name", ["onnx", "openvino"])
def test_position_mixing_is_exact(format_name: str, tmp_path: Path) -> None:
    net = network("52m", *POSITION_MLP)
    assert_same(net, write(net, format_name, tmp_path, (97, 97)), (97, 97))


def test_what_one_format_cannot_names_those_that_can(tmp_path: Path) -> None:
    message = r"tflite: .*aten::flatten.* of module blocks\.1\.mobile_to_former; formats that can: onnx, openvino"
    with pytest.raises(UnsupportedError, match=message):
        write(network("52m", *POSITION_MLP), "tflite", tmp_path, (97, 97))
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


@FORMATS
@pytest.mark.parametrize("name", ["mobile_to_former", "former_to_mobile", "former_attention", "dynamic_relu"])
@pytest.mark.parametrize("size", [(33, 37), None], ids=["fixed", "dynamic"])
def test_each_fused_operator_alone_is_exact(
    name: str, format_name: str, size: tuple[int, int] | None, tmp_path: Path
) -> None:
    net = OneOperator(name).eval()
    path = write(net, format_name, tmp_path, size)
    for check in (size,) if size else ((35, 64), (61, 33)):
        assert_same(net, path, check, 1e-5)


def test_attention_scores_that_would_overflow_exp_stay_finite(tmp_path: Path) -> None:
    net = OneOperator("former_to_mobile").eval()
    with torch.no_grad():
        net.tokens.mul_(1000)
    for format_name in WRITERS:
        assert_same(net, write(net, format_name, tmp_path, (33, 37)), (33, 37))


def test_onnx_has_standard_operators_and_no_transposes(tmp_path: Path) -> None:
    model = onnx.load(write(network("26m"), "onnx", tmp_path, None))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", to_onnx.OPSET)]
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Transpose"] == 0
    assert kinds["BatchNormalization"] == 0
    assert all(node.domain == "" for node in model.graph.node)
    onnx.checker.check_model(model, full_check=True)


def test_openvino_transposes_tokens_only(tmp_path: Path) -> None:
    import openvino

    model = openvino.Core().read_model(write(network("26m"), "openvino", tmp_path, (224, 224)))
    sizes = [int(np.prod(node.output(0).shape)) for node in model.get_ops() if node.get_type_name() == "Transpose"]
    assert max(sizes) <= 9 * 128  # tokens × width; the smallest pixel map has 7·7·64 elements more than that
    types = {
        node.output(0).element_type.get_type_name() for node in model.get_ops() if node.get_type_name() == "Constant"
    }
    assert "f16" not in types


@FORMATS
def test_the_same_export_writes_the_same_bytes(format_name: str, tmp_path: Path) -> None:
    files = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        write(network("26m"), format_name, tmp_path / run, None)
        files.append({path.name: path.read_bytes() for path in sorted((tmp_path / run).iterdir())})
    assert files[0] == files[1]


@FORMATS
def test_half_precision_halves_the_file_and_keeps_its_bound(format_name: str, tmp_path: Path) -> None:
    net = network("26m")
    (tmp_path / "full").mkdir()
    (tmp_path / "half").mkdir()
    full = write(net, format_name, tmp_path / "full", (224, 224))
    half = write(net, format_name, tmp_path / "half", (224, 224), "fp16")
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


@FORMATS
def test_an_unknown_operator_is_named_with_its_module(format_name: str, tmp_path: Path) -> None:
    writer, name = WRITERS[format_name]
    with pytest.raises(UnsupportedError, match=r"aten::special_bessel_j0.* of module inner; formats that can: none"):
        writer(trace(Outer().eval(), 64, 64), tmp_path / name)
    assert not (tmp_path / name).exists()
