"""Every runtime's profile in one schema; what is not known is not made up."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mfedge.bench.profile import peak as machine
from mfedge.bench.profile import profilers, roofline
from mfedge.bench.profile import run as profile
from mfedge.bench.profile import tables as profile_report
from mfedge.bench.profile.parts import part_of
from mfedge.bench.profile.schema import Peak, Profile, shares
from mfedge.errors import UsageError
from mfedge.formats.graph import Graph, Node, Tensor
from mfedge.sizes import Size
from tests.bench.test_figures import small

REACHED = Peak(1e11, 2e10)
SIZE = Size(64, 64)


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("stem.0.conv/Conv_1", "Conv", "stem"),
        ("blocks.1.mobile_to_former.mobile_to_former/Reshape_8", "Reshape", "Mobile→Former"),
        ("mobile_to_former.project/Gemm_800", "Gemm", "Mobile→Former"),
        ("blocks.3.former.ffn.expand/Gemm_188", "Gemm", "Former"),
        ("blocks.2.former_to_mobile.former_to_mobile/MatMul", "MatMul", "Mobile←Former"),
        ("blocks.2.mobile.act1.dynamic_relu/Max_131", "Max", "dynamic ReLU"),
        ("blocks.2.mobile.act1.hyper.1/Relu_122", "Relu", "dynamic ReLU"),
        ("blocks.2.mobile.act1/Split_125", "Split", "dynamic ReLU"),
        ("blocks.2.mobile.act1/Clip_7", "Clip", "Mobile"),
        ("blocks.2.mobile.depthwise.conv/Conv_132", "Conv", "Mobile"),
        ("classifier.hidden/Gemm_860", "Gemm", "head"),
        ("features.4.block.1.0/Conv_9", "Conv", "Mobile"),
        ("ReorderInput_token_19", "ReorderInput", "layout"),
        ("Reshape_3", "Reshape", "other"),
    ],
)
def test_parts(name: str, kind: str, part: str) -> None:
    assert part_of(name, kind) == part


def graph() -> Graph:
    """conv → relu → add(x): three operators on 100 numbers each, a weight of 10."""
    tensors = {name: Tensor((100,), 4, False, True) for name in "xabc"} | {"w": Tensor((10,), 4, True, True)}
    nodes = (
        Node("conv", "Conv", ("x", "w"), ("a",), 1000),
        Node("relu", "Relu", ("a",), ("b",), 0),
        Node("add", "Add", ("b", "x"), ("c",), 0),
    )
    return Graph(nodes, tensors, ("x",), ("c",))


def test_fusing_leaves_only_what_crosses_the_border() -> None:
    whole = graph()
    assert whole.fused(whole.nodes[:1]) == (1000, 400 + 40 + 400)
    assert whole.fused(whole.nodes) == (1000, 400 + 40 + 400), "x, the weight and c: a and b never leave"


def test_kernels_in_blocked_layout_are_found_again() -> None:
    measured = profilers.Measured(
        (
            profilers.Timed("conv", "Conv", 1e-3, origins=("conv", "relu")),
            profilers.Timed("ReorderInput", "ReorderInput", 1e-3),
        ),
        3e-3,
        "made up",
    )
    made = profile.assemble(measured, graph(), REACHED, "m", "onnxruntime", "1", SIZE, Path(__file__), 2e-3, 5)
    conv, reorder = made.operators
    assert (conv.madds, conv.bytes) == (1000, 840)
    assert (reorder.madds, reorder.bytes, reorder.part) == (None, None, "layout")
    assert made.madds == 1000
    total = sum(share.seconds or 0 for share in shares(made, "part"))
    assert total == pytest.approx(2e-3)
    assert profilers._origin("b_nchwc", "Conv", graph()) == ("conv", "Conv"), "behind the activation it took in"
    assert profilers._origin("nothing_nchwc", "Conv", graph()) == ("nothing_nchwc", "Conv")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("profile") / "model.onnx")


@pytest.fixture(autouse=True)
def reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "measure", lambda cpu: REACHED)


def test_onnxruntime(model: Path) -> None:
    pytest.importorskip("onnxruntime")
    made = profile.profile(model, "small", "onnxruntime", SIZE, runs=5)
    assert made.timed and made.seconds > 0
    assert made.madds == 32 * 32 * 8 * 27 + 80
    assert sum(operator.madds or 0 for operator in made.operators) == made.madds, "no product is lost or counted twice"
    assert "profiler" in made.source


def test_openvino(model: Path) -> None:
    openvino = pytest.importorskip("openvino")
    path = model.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(str(model)), str(path), compress_to_fp16=False)
    made = profile.profile(path, "small", "openvino", SIZE, runs=5)
    assert made.timed
    assert made.madds == 32 * 32 * 8 * 27 + 80
    assert any(operator.type == "Convolution" and operator.madds for operator in made.operators)


def test_litert_says_that_it_has_no_times() -> None:
    measured = profilers.untimed("LiteRT", graph())
    made = profile.assemble(measured, graph(), REACHED, "m", "litert", "1", SIZE, Path(__file__), 2e-3, 5)
    assert not made.timed
    assert "no operator times" in made.source
    assert {row[2] for row in profile_report.rows(made, "type")} == {"–"}
    assert "<svg" not in profile_report.section(made), "no roofline without times"


def test_stored_profiles_and_their_html(model: Path, tmp_path: Path) -> None:
    made = profile.profile(model, "<small>", "onnxruntime", SIZE, runs=3)
    path = tmp_path / "profile.json"
    path.write_bytes(profile.encode(made))
    assert profile.read(path) == made
    page = profile_report.section(made)
    assert "&lt;small&gt;" in page and "<small>" not in page
    assert roofline.draw(made)["png"].startswith(b"\x89PNG")
    path.write_text("[]")
    with pytest.raises(UsageError):
        profile.read(path)


@pytest.mark.skipif(shutil.which("objdump") is None, reason="no objdump (Debian: binutils)")
@pytest.mark.parametrize(("wide", "register"), [(True, "zmm"), (False, "ymm")])
def test_the_code_that_measures_the_peak_is_what_it_is_meant_to_be(wide: bool, register: str, tmp_path: Path) -> None:
    (tmp_path / "code").write_bytes(machine._machine_code(wide))
    command = ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel", "--no-show-raw-insn"]
    text = subprocess.run([*command, str(tmp_path / "code")], capture_output=True, text=True, check=True).stdout
    found = [line.split("\t")[1].split("#")[0].strip() for line in text.splitlines() if "\t" in line]
    lines = [" ".join(line.replace(",", " ").split()) for line in found]
    assert lines[:16] == [f"vxorps xmm{i} xmm{i} xmm{i}" for i in range(16)]
    assert lines[16:30] == [f"vfmadd231ps {register}{i} {register}14 {register}15" for i in range(14)]
    assert lines[30] == "dec rdi" and lines[31].startswith("jne 0x") and lines[32:] == ["vzeroupper", "ret"]


def test_shares_of_the_roof() -> None:
    measured = profilers.Measured((profilers.Timed("conv", "Conv", 1e-6, origins=("conv",)),), 1e-6, "made up")
    made: Profile = profile.assemble(measured, graph(), REACHED, "m", "r", "1", SIZE, Path(__file__), 1e-6, 5)
    (share,) = shares(made, "type")
    assert share.of_peak(REACHED) == pytest.approx(1000 / 1e-6 / 1e11)
    assert share.of_bandwidth(REACHED) == pytest.approx(840 / 1e-6 / 2e10)
    assert np.isfinite(share.seconds or 0)
