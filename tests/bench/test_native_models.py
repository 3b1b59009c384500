"""`214m@native` wherever a variant is measured: its names, its files, its figures and its parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mfedge.bench import cases, exports
from mfedge.bench.gate import figures
from mfedge.bench.profile import peak as machine
from mfedge.bench.profile import run as profile
from mfedge.bench.profile.parts import order, part_of
from mfedge.bench.profile.roofline import COLOURS, MARKERS
from mfedge.bench.profile.schema import Peak, shares
from mfedge.errors import UnsupportedError, UsageError
from mfedge.formats import fused_graph as graph_native
from mfedge.kernels import find as native
from mfedge.sizes import Size
from mfedge.zoo import load_spec

LIBRARIES = {"torch": "kernels", "onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "litert"}
SIZE = Size(97, 65)
RUNTIMES = pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(name, marks=pytest.mark.skipif(native.find(library) is None, reason="not built"))
        for name, library in LIBRARIES.items()
    ],
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MFEDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("MFEDGE_NATIVE", raising=False)
        patch.setattr(machine, "measure", lambda cpu: Peak(1e11, 2e10))
        yield


def resolve(model: str, runtime: str) -> cases.Case:
    (case,) = cases.resolve([model], [runtime], [SIZE])
    return case


def expected_madds() -> int:
    """Of the deployed network, as PyTorch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from mfedge.deploy import deploy
    from tests.conftest import network

    deployed = deploy(network("26m"), kernels="native")  # outside: a constant is computed there, once
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        deployed(torch.zeros(1, 3, SIZE.height, SIZE.width))
    return counter.get_total_flops() // 2


def test_names() -> None:
    models = ["214m@native", "mobile-former-26m@native", "./mine.toml@native", "214m", "mobilenet-v3-large"]
    assert cases.names(models) == [
        "mobile-former-214m-native", "mobile-former-26m-native", "mine-native", "mobile-former-214m",
        "mobilenet-v3-large",
    ]  # fmt: skip
    assert not any(map(cases.is_path, models))
    assert cases.names(["mobilenet-v3-large-0.75"]) == ["mobilenet-v3-large-0.75"]
    assert cases.names(["214m@native-fp16"]) == ["mobile-former-214m-native-fp16"]
    assert exports.parse("214m@native") == exports.Variant("214m", "native", "fp32")
    assert exports.parse("214m@native-fp16") == exports.Variant("214m", "native", "fp16")
    assert exports.parse("214m@fp16") == exports.Variant("214m", "portable", "fp16")
    assert exports.parse("./a@b/model.onnx") is None and cases.is_path("./a@b/model.onnx")
    with pytest.raises(UsageError, match="with - between, found @fast"):
        exports.parse("214m@fast")


def test_what_cannot_be_native_is_refused(tmp_path: Path) -> None:
    for runtime in ("torch", "onnxruntime"):
        with pytest.raises(UsageError, match="mobilenet-v3-small"):
            exports.export("mobilenet-v3-small@native", runtime)
        (tmp_path / "wide.toml").write_text('base = "26m"\nkernel = 5\n')
        with pytest.raises(UnsupportedError, match="kernel"):
            exports.export(f"{tmp_path}/wide.toml@native", runtime)


@RUNTIMES
def test_a_native_model_is_a_file_of_its_own(runtime: str) -> None:
    made = resolve("26m@native", runtime)
    assert made.model == "mobile-former-26m-native"
    assert "native" in made.path
    again, portable = resolve("mobile-former-26m@native", runtime), resolve("26m", runtime)
    assert (again.path, again.sha256) == (made.path, made.sha256)
    assert portable.sha256 != made.sha256


@pytest.mark.skipif(native.find("kernels") is None, reason="not built")
def test_the_file_for_pytorch_is_the_spec(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "26m"\ntokens = 2\nname = "näïve \\"quoted\\""\nformer_ffn = false\nactivation = "relu"\n')
    assert load_spec(str(exports.export(f"{path}@native", "torch"))) == load_spec(str(path))


@pytest.mark.skipif(native.find("kernels") is None, reason="not built")
def test_other_libraries_are_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {runtime: exports._content(load_spec("26m")) for runtime in LIBRARIES}
    first = resolve("26m@native", "torch").sha256
    for name in native.NAMES:
        file = native.find(name)
        if file is not None:
            (tmp_path / file.name).write_bytes(file.read_bytes() + (b"" if name == "litert" else b"\0"))
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    assert exports._content(load_spec("26m")) != before["torch"]
    assert resolve("26m@native", "torch").sha256 != first


@RUNTIMES
def test_figures_and_parts(runtime: str) -> None:
    case = resolve("26m@native", runtime)
    wanted = expected_madds()
    made = profile.profile(Path(case.path), case.model, runtime, SIZE, runs=3)
    by_part = {share.name: share for share in shares(made, "part")}
    assert made.madds == wanted == sum(share.madds for share in by_part.values())
    assert set(by_part) == {"stem", "block (fused)", "head"}
    assert by_part["block (fused)"].operators == 8
    weights = (Path(case.path).stat().st_size if runtime == "onnxruntime" else 13_000_000) * 0.9
    assert sum(share.bytes for share in by_part.values()) > weights, "every weight is read once"
    if runtime == "torch":
        return
    counted = figures.count(Path(case.path), SIZE)
    assert counted.madds == wanted
    assert {name: n for name, n in counted.operators.items() if name != "TRANSPOSE"} == {
        "Block": 8,
        "Stem": 1,
        "Head": 1,
    }
    assert counted.transposes == (runtime == "litert"), "of the image, which TFLite has with its channels last"
    assert counted.peak_activation_bytes >= 4 * 3 * SIZE.height * SIZE.width
    half = figures.count(Path(case.path), Size(33, 33))
    assert half.madds < wanted and half.parameters == counted.parameters


@pytest.mark.skipif(native.find("onnxruntime") is None, reason="not built")
def test_native_and_portable_have_the_same_weights() -> None:
    """Within what a portable file adds (masks of the heads) and folds away (tokens that are constants)."""
    ours, theirs = (figures.count(Path(resolve(model, "onnxruntime").path), SIZE) for model in ("26m@native", "26m"))
    assert ours.parameters == pytest.approx(theirs.parameters, rel=0.02)
    assert 0.95 * theirs.madds < ours.madds < theirs.madds, "a portable attention multiplies with zeros"


def test_shapes_are_those_of_the_operators() -> None:
    import torch

    from mfedge import ops
    from mfedge.kernels.layout import Kind
    from tests.ops.test_native_ops import arguments, config_of

    for kind, operator in ((Kind.STEM, ops.stem), (Kind.BLOCK, ops.block), (Kind.HEAD, ops.head)):
        for stride in (1, 2):
            config = config_of(kind, stride)
            args = arguments(kind, config, (2, 15, 8))
            result = operator(*args)
            found = graph_native.shapes(kind.name.title(), config._asdict(), tuple(args[0].shape))
            results = [result] if isinstance(result, torch.Tensor) else result
            assert found == [tuple(value.shape) for value in results]


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("blocks.3/Block_5", "Block", "block (fused)"),
        ("blocks.3/Block", "Reference", "block (fused)"),
        ("blocks.11/Block:0", "mfedge.Block.10", "block (fused)"),
        ("blocks.3", "Block", "block (fused)"),
        ("stem/Stem_1", "Stem", "stem"),
        ("head/Head_13", "Reference", "head"),
        ("blocks.3.mobile.project.conv/Conv_5", "Conv", "Mobile"),
    ],
)
def test_parts(name: str, kind: str, part: str) -> None:
    assert part_of(name, kind) == part


def test_every_part_has_its_dot() -> None:
    assert len(order()) == len(set(COLOURS)) == len(MARKERS)
