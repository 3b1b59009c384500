"""Native operators in OpenVINO: files of whole blocks, each operator alone, errors in one line, many threads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENVINO_TELEMETRY_OPT_OUT", "1")

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13
from openvino.passes import ConvertFP32ToFP16, Manager
from PIL import Image

from mfedge import native, ops, runtimes
from mfedge.deploy import deploy, trace
from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.exporters import onnx as to_onnx
from mfedge.exporters.export import Request, export
from mfedge.exporters.openvino import write
from mfedge.exporters.openvino_native import factory
from mfedge.exporters.operators import count_operators
from mfedge.ops import layout
from mfedge.ops.layout import Config, Kind
from mfedge.runtimes.openvino import BUILT_FOR, extension
from mfedge.runtimes.torch_eager import TorchSession
from mfedge.spec import Spec
from tests.conftest import network

pytestmark = pytest.mark.skipif(native.find("openvino") is None, reason="native kernels are not built")

Array = np.ndarray[Any, Any]
VARIANTS = pytest.mark.parametrize("variant", ["26m", "52m", "214m"])
PRECISIONS = pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("fp16", 2e-2)])
STEM = Config(in_channels=12, expand=24, out_channels=20, stride=2)
SAME = Config(in_channels=12, expand=24, out_channels=12, stride=1)
BLOCK = Config(12, 36, 20, 0, 1, tokens=5, token_dim=24, heads=2, former_heads=4, ffn=40, hyper=6)
DOWN = Config(12, 24, 20, 60, 2, tokens=3, token_dim=16, heads=2, former_heads=2, hyper=4)
HEAD = Config(in_channels=20, expand=30, tokens=5, token_dim=24, heads=2, hidden=50, classes=7)
SAMPLES = Path(__file__).parents[2] / "export" / "samples" / "openvino"
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def write_native(variant: str, path: Path, size: tuple[int, int] | None, precision: str = "fp32") -> torch.nn.Module:
    net = network(variant)
    write(trace(deploy(net, kernels="native"), *(size or (224, 256)), dynamic=size is None), path, precision)
    return net


def assert_close(found: Array, expected: Array, bound: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


def core() -> Any:
    found = ov.Core()
    found.add_extension(str(extension()))
    return found


# Files of whole networks.


@VARIANTS
@PRECISIONS
def test_a_fixed_size_is_exact(variant: str, precision: str, bound: float, tmp_path: Path) -> None:
    net = write_native(variant, tmp_path / "model.xml", (225, 191), precision)
    images = random(1, 3, 225, 191)
    assert_close(runtimes.load(tmp_path / "model.xml").run(images), TorchSession(net).run(images), bound)


@VARIANTS
@PRECISIONS
def test_one_session_takes_sizes_that_were_not_traced(
    variant: str, precision: str, bound: float, tmp_path: Path
) -> None:
    net = write_native(variant, tmp_path / "model.xml", None, precision)
    session = runtimes.load(tmp_path / "model.xml")
    for size in ((224, 224), (33, 47), (191, 321), (32, 352), (33, 47)):
        images = random(1, 3, *size)
        assert_close(session.run(images), TorchSession(net).run(images), bound)


def test_what_is_in_a_file(tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.xml", None, "fp16")
    program = trace(deploy(network("26m"), kernels="native"), 64, 64)
    model = core().read_model(tmp_path / "model.xml")
    found = [node for node in model.get_ordered_ops() if node.get_type_info().version_id == "mfedge"]
    calls = [node for node in program.graph.nodes if str(node.target).startswith("mfedge.")]
    assert [node.get_type_name() for node in found] == ["Stem", *["Block"] * 8, "Head"]
    for node, call in zip(found, calls, strict=True):
        assert node.get_attributes() == Config(*call.args[-1])._asdict()
        assert (
            node.input(node.get_input_size() - 1 if node.get_type_name() == "Stem" else 2).get_element_type()
            == ov.Type.f32
        )
    assert {str(node.input_value(3).get_element_type()) for node in found[1:]} == {str(ov.Type.f16)}
    assert list(found[1].input_value(1).shape) == [1, 3, 128]
    assert count_operators(tmp_path / "model.xml") == {"Block": 8, "Head": 1, "Stem": 1}
    assert "native" in runtimes.load(tmp_path / "model.xml").metadata.execution


def test_the_plugin_adds_no_copies_and_leaves_the_weights_as_they_are(tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.xml", None, "fp16")
    compiled = core().compile_model(tmp_path / "model.xml", "CPU", FLOAT32)
    nodes = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    found = [(info["layerType"].astype(str), info["runtimePrecision"].astype(str)) for info in nodes]
    assert sorted(found) == sorted(
        [("Input", "f32"), ("Output", "f32"), ("Const", "f32")]  # images, logits, the first tokens
        + [("Reference", "f32"), ("Const", "f32")] * 10
        + [("Const", "f16")] * 9
    )


def test_the_same_export_writes_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        write_native("26m", tmp_path / run / "model.xml", None, "fp16")
        files.append({path.name: path.read_bytes() for path in (tmp_path / run).iterdir()})
    assert files[0] == files[1]


def test_sessions_come_and_go(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", None)
    images = random(1, 3, 33, 47)
    sessions = [runtimes.load(tmp_path / "model.xml") for _ in range(3)]
    sessions[0].run(images)
    del sessions[:2]
    sessions.append(runtimes.load(tmp_path / "model.xml"))
    for session in sessions:
        assert_close(session.run(images), TorchSession(net).run(images))


def test_requests_of_one_model_run_at_the_same_time(tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.xml", None)
    config = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2}
    compiled = core().compile_model(tmp_path / "model.xml", "CPU", config)
    batch = [random(1, 3, 33 + 2 * i, 47 + i, seed=i) for i in range(6)]

    def run(images: Array) -> list[Array]:
        request = compiled.create_infer_request()
        return [request.infer([images])[0].copy() for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:  # the first run of all, in which the operators are made, is one of these
        found = list(threads.map(run, batch))
    session = runtimes.load(tmp_path / "model.xml")
    for images, results in zip(batch, found, strict=True):
        assert all(np.array_equal(result, session.run(images)) for result in results)


# Other ways to the same file, and other precisions than the runtime's.


@PRECISIONS
def test_openvino_reads_native_onnx(precision: str, bound: float, tmp_path: Path) -> None:
    net = network("26m")
    to_onnx.write(trace(deploy(net, kernels="native"), 64, 96, dynamic=True), tmp_path / "model.onnx", precision)
    images = random(1, 3, 65, 43)
    found = core().compile_model(tmp_path / "model.onnx", "CPU", FLOAT32)(images)[0]
    assert_close(found, TorchSession(net).run(images), bound)


def test_a_file_that_openvino_compressed_runs(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", None)
    ov.save_model(core().read_model(tmp_path / "model.xml"), tmp_path / "half.xml", compress_to_fp16=True)
    assert (tmp_path / "half.bin").stat().st_size < 0.6 * (tmp_path / "model.bin").stat().st_size
    images = random(1, 3, 65, 43)
    assert_close(runtimes.load(tmp_path / "half.xml").run(images), TorchSession(net).run(images), 2e-2)


def test_a_graph_made_half_keeps_its_weights(tmp_path: Path) -> None:
    """What the plugin does with all of a model where it computes in float16, as it does by itself on newer Arm."""
    net = write_native("26m", tmp_path / "model.xml", (65, 43))
    model = core().read_model(tmp_path / "model.xml")
    passes = Manager()
    passes.register_pass(ConvertFP32ToFP16())
    passes.run_passes(model)
    assert model.input(0).get_element_type() == ov.Type.f16
    images = random(1, 3, 65, 43)
    found = core().compile_model(model, "CPU", FLOAT32)(images.astype(np.float16))[0]
    assert_close(found, TorchSession(net).run(images), 2e-3)


@pytest.mark.parametrize("hint", ["bf16", "f16"])
def test_another_precision_hint_changes_nothing(hint: str, tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", (65, 43))
    images = random(1, 3, 65, 43)
    found = core().compile_model(tmp_path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": hint})(images)[0]
    assert_close(found, TorchSession(net).run(images), 1e-4)


def test_a_cached_model_is_the_model(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", (65, 43), "fp16")
    images, cached = random(1, 3, 65, 43), core()
    cached.set_property({"CACHE_DIR": str(tmp_path / "cache")})
    for again in (False, True):
        compiled = cached.compile_model(tmp_path / "model.xml", "CPU", FLOAT32)
        assert compiled.get_property("LOADED_FROM_CACHE") is again
        assert_close(compiled(images)[0], TorchSession(net).run(images), 2e-2)


# One operator in a model of its own.


def one_operator(
    name: str, inputs: Mapping[str, Any], constants: Mapping[str, Array], attributes: Mapping[str, Any]
) -> ov.Model:
    """`inputs` are shapes, or arrays that have them."""
    shapes = {key: ov.PartialShape(list(getattr(value, "shape", value))) for key, value in inputs.items()}
    parameters = [opset13.parameter(shape, np.float32, name=key) for key, shape in shapes.items()]
    weights = [opset13.constant(array, name=key) for key, array in constants.items()]
    node = factory(extension()).create(name, [*parameters, *weights], dict(attributes))
    return ov.Model(node.outputs(), parameters, "one")


def run_one(model: ov.Model, inputs: Mapping[str, Array]) -> list[Array]:
    request = ov.Core().compile_model(model, "CPU", FLOAT32).create_infer_request()
    request.start_async(list(inputs.values()))  # infer() loses errors: see the runtime
    request.wait()
    return [np.array(tensor.data) for tensor in request.output_tensors]


def vectors(kind: Kind, config: Config, seed: int = 1) -> dict[str, Array]:
    """Random weights of a moderate size, those that the kind has."""
    sizes = {
        "weights": layout.count(layout.vectors(kind, config)),
        "matrices": layout.count(layout.matrices(kind, config)),
    }
    return {name: 0.3 * random(size, seed=seed) for name, size in sizes.items() if size}


def whole_inputs(kind: Kind, config: Config, batch: int = 2, token_batch: int = 1) -> dict[str, Array]:
    if kind is Kind.STEM:
        return {"images": random(batch, 3, 37, 22)}
    tokens = random(token_batch, config.tokens, config.token_dim)
    return {"features": random(batch, config.in_channels, 11, 14), "tokens": tokens}


def expected(twin: Callable[..., Any], *arguments: Any) -> list[Array]:
    tensors = [torch.from_numpy(value).float() if isinstance(value, np.ndarray) else value for value in arguments]
    found = twin(*tensors)
    return [tensor.numpy() for tensor in (found if isinstance(found, tuple) else (found,))]


def opened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a map the batch, height and width open, of others the batch."""
    return (-1, shape[1], -1, -1) if len(shape) == 4 else (-1, *shape[1:])


DYNAMIC = pytest.mark.parametrize("dynamic", [False, True], ids=["fixed", "dynamic"])
WHOLE = pytest.mark.parametrize(
    ("name", "kind", "config", "twin"),
    [
        ("Stem", Kind.STEM, STEM, ops.stem_reference),
        ("Stem", Kind.STEM, SAME, ops.stem_reference),
        ("Block", Kind.BLOCK, BLOCK, ops.block_reference),
        ("Block", Kind.BLOCK, DOWN, ops.block_reference),
        ("Head", Kind.HEAD, HEAD, ops.head_reference),
    ],
    ids=["stem", "same", "block", "down", "head"],
)


@WHOLE
@DYNAMIC
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
@pytest.mark.parametrize("token_batch", [1, 2])
def test_a_whole_operator_is_its_twin(
    name: str, kind: Kind, config: Config, twin: Callable[..., Any], dynamic: bool, half: bool, token_batch: int
) -> None:
    inputs, constants = whole_inputs(kind, config, token_batch=token_batch), vectors(kind, config)
    if half and "matrices" in constants:
        constants["matrices"] = constants["matrices"].astype(np.float16)
    shapes = {key: opened(array.shape) if dynamic else array.shape for key, array in inputs.items()}
    model = one_operator(name, shapes, constants, config._asdict())
    wanted = expected(twin, *inputs.values(), *constants.values(), config)
    for output, array in zip(model.outputs, wanted, strict=True):
        assert output.partial_shape.compatible(ov.PartialShape(list(array.shape)))
        assert output.partial_shape.is_static is not dynamic
    for found, array in zip(run_one(model, inputs), wanted, strict=True):
        assert_close(found, array)


@DYNAMIC
@pytest.mark.parametrize("token_batch", [1, 2])
@pytest.mark.parametrize("name", ["MobileToFormer", "FormerToMobile"])
def test_an_attention_is_its_twin(name: str, token_batch: int, dynamic: bool) -> None:
    inputs = {
        "features": random(2, 12, 9, 7),
        "key": random(token_batch, 5, 12),
        "value": random(token_batch, 5, 12, seed=2),
    }
    twin: Callable[..., torch.Tensor] = ops.former_to_mobile_reference
    if name == "MobileToFormer":
        del inputs["value"]
        twin = ops.mobile_to_former_reference
    shapes = {key: (-1,) * array.ndim if dynamic else array.shape for key, array in inputs.items()}
    (found,) = run_one(one_operator(name, shapes, {}, {"heads": 4, "scale": 12**-0.5}), inputs)
    assert_close(found, *expected(twin, *inputs.values(), 4, 12**-0.5))


@DYNAMIC
@pytest.mark.parametrize("slopes", [(2, 12), (1, 12), (2, 12, 9, 7)], ids=str)
def test_dynamic_relu_is_its_twin(slopes: tuple[int, ...], dynamic: bool) -> None:
    inputs = {"features": random(2, 12, 9, 7), "slope1": random(*slopes), "slope2": random(*slopes, seed=2)}
    shapes = {key: opened(array.shape) if dynamic else array.shape for key, array in inputs.items()}
    (found,) = run_one(one_operator("DynamicRelu", shapes, {}, {}), inputs)
    assert_close(found, *expected(ops.dynamic_relu_reference, *inputs.values()))


def test_attributes_survive_a_file(tmp_path: Path) -> None:
    """The scale to its last bit, which text could lose."""
    scale = float(np.float32(1 / 3))
    model = one_operator(
        "MobileToFormer", {"features": (1, 12, 5, 3), "query": (1, 2, 12)}, {}, {"heads": 3, "scale": scale}
    )
    ov.save_model(model, tmp_path / "one.xml", compress_to_fp16=False)
    (node,) = [
        node for node in core().read_model(tmp_path / "one.xml").get_ops() if node.get_type_name() == "MobileToFormer"
    ]
    assert node.get_attributes() == {"heads": 3, "scale": scale}


def test_unknown_ranks_are_found_out_at_the_first_run() -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, DOWN), vectors(Kind.BLOCK, DOWN)
    model = one_operator("Block", {key: (-1,) * array.ndim for key, array in inputs.items()}, constants, DOWN._asdict())
    assert model.output(0).partial_shape == ov.PartialShape([-1, 20, -1, -1])
    wanted = expected(ops.block_reference, *inputs.values(), *constants.values(), DOWN)
    for found, array in zip(run_one(model, inputs), wanted, strict=True):
        assert_close(found, array)


def test_interval_sizes_are_halved() -> None:
    images = ov.PartialShape([1, 3, ov.Dimension(32, 65), ov.Dimension(33, -1)])
    weights = opset13.constant(vectors(Kind.STEM, SAME)["weights"])
    parameter = opset13.parameter(images, np.float32)
    node = factory(extension()).create("Stem", [parameter, weights], SAME._asdict())
    assert node.output(0).partial_shape == ov.PartialShape([1, 12, ov.Dimension(16, 33), ov.Dimension(17, -1)])


def test_other_weights_are_another_operator() -> None:
    """A node that has run keeps nothing of weights that it no longer has."""
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    model = one_operator("Block", inputs, constants, BLOCK._asdict())
    run_one(model, inputs)
    other = vectors(Kind.BLOCK, BLOCK, seed=7)
    (node,) = [node for node in model.get_ops() if node.get_type_name() == "Block"]
    for port, array in ((2, other["weights"]), (3, other["matrices"])):
        node.input(port).replace_source_output(opset13.constant(array).output(0))
    model.validate_nodes_and_infer_types()
    wanted = expected(ops.block_reference, *inputs.values(), *other.values(), BLOCK)
    for found, array in zip(run_one(model, inputs), wanted, strict=True):
        assert_close(found, array)


# What is wrong is said in one line.


def refused(message: str, build: Callable[[], Any]) -> None:
    with pytest.raises(RuntimeError) as caught:
        build()
    assert re.search(message, str(caught.value)), str(caught.value)
    assert len([line for line in str(caught.value).splitlines() if "mfedge." in line]) == 1


@WHOLE
@pytest.mark.parametrize("change", [-1, 1])
def test_a_wrong_count_of_weights_is_refused(name: str, kind: Kind, config: Config, twin: Any, change: int) -> None:
    inputs = whole_inputs(kind, config)
    for which, array in vectors(kind, config).items():
        constants = {**vectors(kind, config), which: random(array.size + change)}
        message = rf"^mfedge\.{name} '.*': {which}: expected {array.size} values, found shape \[{array.size + change}\]"
        refused(message, lambda: one_operator(name, inputs, constants, config._asdict()))  # noqa: B023


@pytest.mark.parametrize(
    ("features", "tokens", "message"),
    [
        ((2, 13, 11, 14), (1, 5, 24), r"features: expected \(B, 12, H, W\), found \[2,13,11,14\]"),
        ((2, 12, 11), (1, 5, 24), r"features: expected \(B, 12, H, W\), found \[2,12,11\]"),
        ((2, 12, 11, 14), (1, 6, 24), r"tokens: expected \(B or 1, 5, 24\), found \[1,6,24\]"),
        ((2, 12, 11, 14), (3, 5, 24), r"tokens: expected \(B or 1, 5, 24\), found \[3,5,24\]"),
        ((2, 12, 11, 14), (5, 24), r"tokens: expected \(B or 1, 5, 24\), found \[5,24\]"),
        ((-1, 12, -1, -1), (1, 5, -1, 24), r"tokens: expected \(B or 1, 5, 24\), found \[1,5,\?,24\]"),
    ],
)
def test_a_wrong_shape_is_refused(features: tuple[int, ...], tokens: tuple[int, ...], message: str) -> None:
    inputs = {"features": features, "tokens": tokens}
    refused(
        r"^mfedge\.Block '.*': " + message,
        lambda: one_operator("Block", inputs, vectors(Kind.BLOCK, BLOCK), BLOCK._asdict()),
    )


def test_a_wrong_shape_that_shows_when_it_runs_is_refused() -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    model = one_operator(
        "Block", {key: (-1,) * array.ndim for key, array in inputs.items()}, constants, BLOCK._asdict()
    )
    for name, shape in (("tokens", (1, 5, 25)), ("tokens", (3, 5, 24)), ("features", (2, 13, 4, 4))):
        message = rf"mfedge\.Block '.*': {name}: expected .*, found \[{','.join(map(str, shape))}\]"
        refused(message, lambda: run_one(model, {**inputs, name: random(*shape)}))  # noqa: B023


def test_a_model_evaluates_itself() -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    model = one_operator(
        "Block", {key: opened(array.shape) for key, array in inputs.items()}, constants, BLOCK._asdict()
    )
    outputs = [ov.Tensor(ov.Type.f32, ov.Shape([0] * len(output.partial_shape))) for output in model.outputs]
    assert model.evaluate(outputs, [ov.Tensor(array) for array in inputs.values()])
    wanted = expected(ops.block_reference, *inputs.values(), *constants.values(), BLOCK)
    for found, array in zip(outputs, wanted, strict=True):
        assert_close(np.array(found.data), array)


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", None)
    session = runtimes.load(tmp_path / "model.xml")
    with pytest.raises(ArtifactError, match=r"cannot run \(1, 3, 0, 64\)"):
        session.run(random(1, 3, 0, 64))
    images = random(1, 3, 33, 64)
    assert_close(session.run(images), TorchSession(net).run(images))


@pytest.mark.parametrize("value", [-1, -(2**31), 2**31 - 1, 2**40, 0], ids=str)
@pytest.mark.parametrize("field", ["in_channels", "expand", "out_channels", "stride", "tokens", "token_dim", "heads"])
def test_a_hostile_field_is_refused(field: str, value: int) -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    config = {**BLOCK._asdict(), field: value}
    refused(rf"mfedge\.Block '.*': .*{field}", lambda: one_operator("Block", inputs, constants, config))


@pytest.mark.parametrize(
    ("which", "kind", "message"),
    [
        ("weights", np.float16, "weights: expected float32, found f16"),
        ("weights", np.int32, "weights: expected float32, found i32"),
        ("matrices", np.float64, "matrices: expected float32 or float16, found f64"),
    ],
)
def test_weights_of_another_type_are_refused(which: str, kind: Any, message: str) -> None:
    constants = vectors(Kind.BLOCK, BLOCK)
    constants[which] = constants[which].astype(kind)
    inputs = whole_inputs(Kind.BLOCK, BLOCK)
    refused(rf"mfedge\.Block '.*': {message}", lambda: one_operator("Block", inputs, constants, BLOCK._asdict()))


def test_weights_that_are_no_constants_are_refused() -> None:
    inputs = {**whole_inputs(Kind.STEM, STEM), "weights": vectors(Kind.STEM, STEM)["weights"]}
    model = one_operator("Stem", inputs, {}, STEM._asdict())
    refused(r"mfedge\.Stem '.*': weights and matrices have to be constants", lambda: run_one(model, inputs))


@pytest.mark.parametrize("inputs", [{}, {"features": (1, 12, 5, 5)}, dict.fromkeys("abcde", (1, 12, 5, 5))], ids=len)
def test_a_wrong_count_of_inputs_is_refused(inputs: dict[str, tuple[int, ...]]) -> None:
    message = rf"mfedge\.FormerToMobile '.*': expected 3 inputs, found {len(inputs)}"
    refused(message, lambda: one_operator("FormerToMobile", inputs, {}, {"heads": 2, "scale": 1.0}))


# Files and libraries that do not fit, through the runtime.


@pytest.mark.parametrize(
    ("text", "other", "message"),
    [
        ('token_dim="128"', 'token_dim="64"', r"mfedge\.Block '.*, blocks\.1\.weights': weights: expected \d+ values"),
        (' stride="1"', "", r"mfedge\.Block '.*, blocks\.1\.weights': stride: expected 1 to 2, found 0"),
        ('type="Head"', 'type="Heart"', "."),
    ],
)
def test_a_changed_file_is_an_artifact_error(text: str, other: str, message: str, tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.xml", (64, 64))
    content = (tmp_path / "model.xml").read_text()
    assert text in content
    (tmp_path / "model.xml").write_text(content.replace(text, other))
    for use in (runtimes.load, count_operators):
        with pytest.raises(ArtifactError, match=message):
            use(tmp_path / "model.xml")
    with pytest.raises(ArtifactError) as caught:
        runtimes.load(tmp_path / "model.xml")
    assert "\n" not in str(caught.value)


def test_a_library_for_another_openvino_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.xml", (64, 64))
    library = extension()
    built = BUILT_FOR.search(library.read_bytes())
    assert built is not None
    other = built[0].replace(built[1], b"1" * len(built[1]))
    (tmp_path / library.name).write_bytes(library.read_bytes().replace(built[0], other))
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    message = rf"^native kernels: {library.name} is built for OpenVINO 1+, found {built[1].decode()}; reinstall mfedge$"
    with pytest.raises(MissingRuntimeError, match=message):
        runtimes.load(tmp_path / "model.xml")
    with pytest.raises(MissingRuntimeError, match=message):
        write_native("26m", tmp_path / "again.xml", (64, 64))


def test_a_library_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.xml", (64, 64))
    library = extension()
    (tmp_path / library.name).write_bytes(
        b"\x7fELF" + library.read_bytes()[4:64] + BUILT_FOR.search(library.read_bytes())[0]
    )  # type: ignore[index]
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match=r"^native kernels: OpenVINO [\d.]+ cannot load .*reinstall mfedge$"):
        runtimes.load(tmp_path / "model.xml")


def test_without_the_library_portable_files_load_and_native_ones_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_native("26m", tmp_path / "native.xml", (64, 64))
    net = network("26m")
    write(trace(deploy(net), 64, 64), tmp_path / "portable.xml")
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path / "nowhere"))
    images = random(1, 3, 64, 64)
    assert_close(runtimes.load(tmp_path / "portable.xml").run(images), TorchSession(net).run(images))
    for use in (runtimes.load, count_operators):
        with pytest.raises(MissingRuntimeError, match=r"^native kernels: not built for openvino.*portable$"):
            use(tmp_path / "native.xml")


# The apps.


def test_the_python_sample_classifies(small_spec: Spec, tmp_path: Path) -> None:
    request = Request(small_spec, ("openvino",), (96, 64), kernels="native")
    (artifact,) = export(request, tmp_path)
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)).save(tmp_path / "photo.png")
    done = subprocess.run(
        [sys.executable, SAMPLES / "main.py", artifact, extension(), tmp_path / "photo.png"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    labels = (artifact / json.loads((artifact / "manifest.json").read_text())["labels"]).read_text().splitlines()
    odds = [float(line.split(" ", 1)[0]) for line in done.stdout.splitlines()]
    assert len(odds) == 5 and odds == sorted(odds, reverse=True)
    assert all(line.split(" ", 1)[1] in labels for line in done.stdout.splitlines())


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_cpp_sample_prints_the_same_logits(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", None)
    package = Path(ov.__file__).parent
    (library,) = (package / "libs").glob("libopenvino.so.*")
    subprocess.run(
        ["g++", "-std=c++17", SAMPLES / "main.cpp", "-o", tmp_path / "main", f"-I{package}/include", library,
         f"-Wl,-rpath,{package}/libs"],
        check=True,
    )  # fmt: skip
    images = random(1, 3, 65, 43)
    images.tofile(tmp_path / "image.f32")
    command = [tmp_path / "main", tmp_path / "model.xml", extension(), "65", "43", tmp_path / "image.f32"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    logits = TorchSession(net).run(images)[0]
    found = [(int(number), float(score)) for number, score in map(str.split, done.stdout.splitlines())]
    assert [number for number, _ in found] == list(np.argsort(logits)[:-6:-1])
    assert np.allclose([score for _, score in found], np.sort(logits)[:-6:-1], rtol=1e-3)
