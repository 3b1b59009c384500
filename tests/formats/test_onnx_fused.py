"""Native operators in onnxruntime: files of whole blocks, each operator alone, threads, errors that do not crash."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from mfedge import ops, runtimes
from mfedge.deploy import deploy, trace
from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.formats.onnx import lower as to_onnx
from mfedge.kernels import find as native
from mfedge.kernels import layout
from mfedge.kernels.layout import PADDING_ROWS, Config, Kind
from mfedge.runtimes.onnxruntime import is_native
from tests.conftest import network
from tests.support.models import logits, reference
from tests.support.models import write as write_model

pytestmark = pytest.mark.skipif(native.find("onnxruntime") is None, reason="native kernels are not built")

VARIANTS = pytest.mark.parametrize(
    "variant", ["26m", pytest.param("52m", marks=pytest.mark.slow), pytest.param("214m", marks=pytest.mark.slow)]
)
STEM = Config(12, 24, 20, stride=2, tokens=5, heads=2)
BLOCK = Config(12, 36, 20, 0, 1, tokens=5, token_dim=24, heads=5, former_heads=4, ffn=40, hyper=6)
DOWN = Config(12, 24, 20, 60, 2, tokens=3, token_dim=16, heads=2, former_heads=2, hyper=4)
HEAD = Config(in_channels=20, expand=30, tokens=5, token_dim=24, hidden=50, classes=7)


def random(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def write(variant: str, path: Path, size: tuple[int, int] | None, precision: str = "fp32") -> torch.nn.Module:
    net = network(variant) if " " not in variant else network(*variant.split())
    program = trace(deploy(net, kernels="native"), *(size or (224, 256)), dynamic=size is None)
    write_model(program, path, precision)
    return net


def assert_same(net: torch.nn.Module, path: Path, size: tuple[int, int], bound: float = 1e-4) -> None:
    images = random(1, 3, *size)
    expected = reference(net, images)
    assert np.abs(logits(runtimes.load(path), images) - expected).max() <= bound * np.abs(expected).max()


@VARIANTS
def test_a_fixed_size_is_exact(variant: str, tmp_path: Path) -> None:
    for size in ((224, 224), (225, 191)):
        assert_same(write(variant, tmp_path / "model.onnx", size), tmp_path / "model.onnx", size)


@VARIANTS
def test_a_dynamic_file_is_exact_at_sizes_that_were_not_traced(variant: str, tmp_path: Path) -> None:
    net = write(variant, tmp_path / "model.onnx", None)
    for size in ((224, 224), (32, 32), (33, 47), (191, 321), (64, 512)):
        assert_same(net, tmp_path / "model.onnx", size)


@pytest.mark.parametrize("override", ["activation=relu", "tokens=1", "tokens=9", "token_dim=64", "former_ffn=false"])
def test_an_ablation_is_exact(override: str, tmp_path: Path) -> None:
    assert_same(write(f"52m {override}", tmp_path / "model.onnx", (97, 65)), tmp_path / "model.onnx", (97, 65))


@VARIANTS
def test_half_precision_keeps_vectors_whole_and_its_bound(variant: str, tmp_path: Path) -> None:
    net = write(variant, tmp_path / "model.onnx", None, "fp16")
    types = {
        value.name.split(".")[-1]: value.data_type for value in onnx.load(tmp_path / "model.onnx").graph.initializer
    }
    assert types == {"matrices": TensorProto.FLOAT16, "weights": TensorProto.FLOAT, "tokens": TensorProto.FLOAT}
    assert_same(net, tmp_path / "model.onnx", (161, 224), 2e-2)


def test_a_file_can_be_read_without_the_library(tmp_path: Path) -> None:
    write("26m", tmp_path / "model.onnx", None)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": to_onnx.OPSET, "mfedge": 1}
    assert [node.op_type for node in model.graph.node] == ["Stem", *["Block"] * 8, "Head"]
    assert {a.name for a in model.graph.node[1].attribute} == set(Config._fields)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
    }
    features, tokens, attended = model.graph.node[1].output
    assert (shapes[tokens], shapes[attended]) == ([1, 3, 128], [1, 3, 12])
    stem, *others = model.graph.node
    assert list(stem.output) == [others[0].input[0], others[0].input[2]]
    for before, after in pairwise(others):
        assert list(before.output) == list(after.input[:3])
    channels, height, width = shapes[features][1:]
    assert channels == 12
    assert (eval(height, {"height": 33, "width": 0}), eval(width, {"height": 0, "width": 50})) == (9 + PADDING_ROWS, 13)
    assert all(name in shapes for node in model.graph.node for name in node.output)


def test_the_same_export_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first.onnx", "second.onnx"):
        write("26m", tmp_path / name, None, "fp16")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


# One node in a model of its own.

Arrays = Mapping[str, np.ndarray[Any, Any]]
OUTPUTS = {"Stem": 2, "Block": 3}  # of others: 1


def one_node(
    op_type: str, inputs: Arrays, constants: Arrays, attributes: Mapping[str, Any], outputs: int | None = None
) -> bytes:
    """A model of one node of ours; its inputs have no shapes, so that a session takes any."""
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}
    names = [f"output{i}" for i in range(outputs or OUTPUTS.get(op_type, 1))]
    node = helper.make_node(op_type, [*inputs, *constants], names, name="the node", domain="mfedge", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info(name, kinds[array.dtype], None) for name, array in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("mfedge", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.register_custom_ops_library(str(native.path("onnxruntime")))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def vectors(kind: Kind, config: Config) -> dict[str, np.ndarray[Any, Any]]:
    """Random weights of a moderate size, those that the kind has."""
    sizes = {
        "weights": layout.count(layout.vectors(kind, config)),
        "matrices": layout.count(layout.matrices(kind, config)),
    }
    return {name: 0.3 * random(size, seed=1) for name, size in sizes.items() if size}


def assert_close(found: list[np.ndarray[Any, Any]], expected: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
    expected = expected if isinstance(expected, tuple) else (expected,)
    for array, tensor in zip(found, expected, strict=True):
        assert array.shape == tuple(tensor.shape)
        assert np.abs(array - tensor.numpy()).max() <= 1e-4 * np.abs(tensor.numpy()).max()


@pytest.mark.parametrize("token_batch", [1, 2])
@pytest.mark.parametrize("name", ["MobileToFormer", "FormerToMobile"])
def test_an_attention_alone_is_its_twin(name: str, token_batch: int) -> None:
    inputs = {
        "features": random(2, 12, 9, 7),
        "key": random(token_batch, 5, 12),
        "value": random(token_batch, 5, 12, seed=2),
    }
    twin: Callable[..., torch.Tensor] = ops.former_to_mobile_reference
    if name == "MobileToFormer":
        del inputs["value"]
        twin = ops.mobile_to_former_reference
    model = one_node(name, inputs, {}, {"heads": 4, "scale": 0.3})
    tensors = [torch.from_numpy(array) for array in inputs.values()]
    assert_close(session(model).run(None, inputs), twin(*tensors, 4, 0.3))


@pytest.mark.parametrize("slopes", [(2, 12), (1, 12), (2, 12, 9, 7)], ids=str)
def test_dynamic_relu_alone_is_its_twin(slopes: tuple[int, ...]) -> None:
    inputs = {"features": random(2, 12, 9, 7), "slope1": random(*slopes), "slope2": random(*slopes, seed=2)}
    expected = ops.dynamic_relu_reference(*map(torch.from_numpy, inputs.values()))
    assert_close(session(one_node("DynamicRelu", inputs, {}, {})).run(None, inputs), expected)


WHOLE = pytest.mark.parametrize(
    ("op_type", "kind", "config", "twin"),
    [
        ("Stem", Kind.STEM, STEM, ops.stem_reference),
        ("Block", Kind.BLOCK, BLOCK, ops.block_reference),
        ("Block", Kind.BLOCK, DOWN, ops.block_reference),
        ("Head", Kind.HEAD, HEAD, ops.head_reference),
    ],
    ids=["stem", "block", "down", "head"],
)


def whole_inputs(kind: Kind, config: Config) -> dict[str, np.ndarray[Any, Any]]:
    if kind is Kind.STEM:
        return {"images": random(2, 3, 37, 22)}
    return {
        "features": random(2, config.in_channels, 11 + PADDING_ROWS, 14),
        "tokens": random(1, config.tokens, config.token_dim),
        "attended": random(2, config.tokens, config.in_channels),
    }


@WHOLE
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_a_whole_operator_alone_is_its_twin(
    op_type: str, kind: Kind, config: Config, twin: Callable[..., Any], half: bool
) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    if half and "matrices" in constants:
        constants["matrices"] = constants["matrices"].astype(np.float16)
    model = one_node(op_type, inputs, constants, config._asdict())
    tensors = [torch.from_numpy(array).float() for array in (*inputs.values(), *constants.values())]
    assert_close(session(model).run(None, inputs), twin(*tensors, config))


def test_threads_share_a_session(tmp_path: Path) -> None:
    write("26m", tmp_path / "model.onnx", None)
    shared = runtimes.load(tmp_path / "model.onnx")
    sizes = [(65, 33), (97, 224), (224, 97), (32, 32), (33, 160), (191, 65)]
    images = [random(1, 3, *size, seed=seed) for seed in range(4) for size in sizes]
    expected = [logits(shared, image) for image in images]
    with ThreadPoolExecutor(6) as threads:
        for found, alone in zip(threads.map(lambda image: logits(shared, image), images), expected, strict=True):
            assert np.array_equal(found, alone)


def test_sessions_come_and_go(tmp_path: Path) -> None:
    """Each registers the library anew; the operators of one that is gone are not those of another."""
    net = write("26m", tmp_path / "model.onnx", (33, 47))
    images = random(1, 3, 33, 47)
    sessions = [runtimes.load(tmp_path / "model.onnx") for _ in range(4)]
    first = logits(sessions[0], images)
    del sessions[:3]
    for _ in range(3):
        sessions.append(runtimes.load(tmp_path / "model.onnx"))
        assert all(np.array_equal(logits(loaded, images), first) for loaded in sessions)
    assert_same(net, tmp_path / "model.onnx", (33, 47))


# Errors.


def refused(model: bytes, message: str) -> None:
    with pytest.raises(Exception, match=message):
        session(model)


@WHOLE
def test_a_wrong_count_of_weights_is_one_error(op_type: str, kind: Kind, config: Config, twin: Any) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    for name in constants:
        for wrong in (constants[name][:-1], np.append(constants[name], np.float32(0)), constants[name][:0]):
            model = one_node(op_type, inputs, {**constants, name: wrong}, config._asdict())
            refused(model, rf"mfedge\.{op_type} 'the node': .*{len(wrong)}")


@WHOLE
def test_a_missing_attribute_is_named(op_type: str, kind: Kind, config: Config, twin: Any) -> None:
    inputs = whole_inputs(kind, config)
    for field in Config._fields:
        attributes = config._asdict()
        del attributes[field]
        refused(
            one_node(op_type, inputs, vectors(kind, config), attributes), f"'the node': attribute {field} is missing"
        )


@pytest.mark.parametrize("value", [-1, 2**31, 1.5, "many"], ids=str)
def test_an_attribute_out_of_range_is_named(value: object) -> None:
    model = one_node(
        "Stem", whole_inputs(Kind.STEM, STEM), vectors(Kind.STEM, STEM), {**STEM._asdict(), "expand": value}
    )
    refused(model, "'the node': attribute expand is missing or not an int of 0 or more")


@pytest.mark.parametrize(("name", "attributes"), [("heads", {"scale": 0.5}), ("scale", {"heads": 2})])
def test_an_attention_without_its_attribute_is_refused(name: str, attributes: dict[str, Any]) -> None:
    inputs = {"features": random(1, 4, 3, 3), "query": random(1, 2, 4)}
    refused(one_node("MobileToFormer", inputs, {}, attributes), f"'the node': attribute {name} is missing")


@pytest.mark.parametrize(
    ("op_type", "kind", "config", "field", "value"),
    [
        ("Block", Kind.BLOCK, BLOCK, "heads", 7),
        ("Block", Kind.BLOCK, DOWN, "heads", 3),  # of the 12 channels that come in, not of the 20 that go out
        ("Stem", Kind.STEM, STEM, "heads", 3),
        ("Stem", Kind.STEM, STEM, "heads", 0),
        ("Stem", Kind.STEM, STEM, "tokens", 0),
        ("Stem", Kind.STEM, STEM, "tokens", 17),
    ],
)
def test_a_configuration_that_is_none_is_refused(
    op_type: str, kind: Kind, config: Config, field: str, value: int
) -> None:
    attributes = {**config._asdict(), field: value}
    model = one_node(op_type, whole_inputs(kind, config), vectors(kind, config), attributes)
    refused(model, rf"mfedge\.{op_type} 'the node': {field}: expected .*, found {value}")


@pytest.mark.parametrize(
    ("op_type", "kind", "config", "outputs", "message"),
    [
        ("Stem", Kind.STEM, STEM, 1, "output size 1 not in range"),
        ("Block", Kind.BLOCK, BLOCK, 2, "input size 4 not in range"),
        ("Head", Kind.HEAD, HEAD, 1, "input size 4 not in range"),
    ],
)
def test_a_node_of_before_is_refused(op_type: str, kind: Kind, config: Config, outputs: int, message: str) -> None:
    """Of ABI 1: nothing attended to goes in, and nothing comes out."""
    inputs = whole_inputs(kind, config)
    inputs.pop("attended", None)
    with pytest.raises(Exception, match=rf"the node.*mfedge::{op_type}:1\) has {message}") as caught:
        session(one_node(op_type, inputs, vectors(kind, config), config._asdict(), outputs))
    assert "\n" not in str(caught.value)


def test_weights_have_to_be_initializers() -> None:
    inputs = {**whole_inputs(Kind.STEM, STEM), **vectors(Kind.STEM, STEM)}
    refused(one_node("Stem", inputs, {}, STEM._asdict()), "'the node': input weights must be an initializer")


def test_weights_that_a_caller_could_override_are_refused() -> None:
    constants = vectors(Kind.STEM, STEM)
    model = onnx.load_from_string(one_node("Stem", whole_inputs(Kind.STEM, STEM), constants, STEM._asdict()))
    shape = constants["weights"].shape
    model.graph.input.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, shape))
    refused(model.SerializeToString(), "'the node': input weights must be an initializer that no caller can override")


def test_constant_nodes_are_initializers_too() -> None:
    inputs, constants = whole_inputs(Kind.STEM, STEM), vectors(Kind.STEM, STEM)
    model = onnx.load_from_string(one_node("Stem", inputs, constants, STEM._asdict()))
    expected = session(model.SerializeToString()).run(None, inputs)
    node = helper.make_node("Constant", [], ["weights"], value=model.graph.initializer.pop())
    model.graph.node.insert(0, node)
    found = session(model.SerializeToString()).run(None, inputs)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [np.float64, np.int32, np.int64])
def test_matrices_of_another_type_are_refused(dtype: type) -> None:
    constants = vectors(Kind.HEAD, HEAD)
    constants["matrices"] = constants["matrices"].astype(dtype)
    model = one_node("Head", whole_inputs(Kind.HEAD, HEAD), constants, HEAD._asdict())
    refused(model, "'the node': input matrices must be float32 or float16")


def test_half_vectors_are_refused() -> None:
    constants = {name: array.astype(np.float16) for name, array in vectors(Kind.HEAD, HEAD).items()}
    refused(one_node("Head", whole_inputs(Kind.HEAD, HEAD), constants, HEAD._asdict()), "Head")


@pytest.mark.parametrize(
    "wrong",
    [
        {"features": (2, 13, 11, 14)},
        {"features": (12, 11, 14)},
        {"features": (2, 12, 11, 14, 1)},
        {"features": (2, 12, 0, 14)},
        {"features": (2, 12, 1, 14)},
        {"tokens": (3, 5, 24)},
        {"tokens": (5, 24)},
        {"tokens": (1, 4, 24)},
        {"attended": (1, 5, 12)},
        {"attended": (2, 4, 12)},
        {"attended": (2, 5, 20)},
        {"attended": (5, 12)},
        {"attended": (2, 5, 12, 1)},
    ],
    ids=str,
)
def test_inputs_of_a_wrong_shape_are_one_error_and_the_session_lives_on(wrong: dict[str, tuple[int, ...]]) -> None:
    inputs = whole_inputs(Kind.BLOCK, BLOCK)
    loaded = session(one_node("Block", inputs, vectors(Kind.BLOCK, BLOCK), BLOCK._asdict()))
    expected = loaded.run(None, inputs)
    with pytest.raises(Exception, match=r"mfedge\.Block 'the node': ") as caught:
        loaded.run(None, {**inputs, **{name: random(*shape) for name, shape in wrong.items()}})
    if "attended" in wrong:
        found = ", ".join(map(str, wrong["attended"]))
        assert f"attended: expected (2, 5, 12), found ({found})" in str(caught.value)
    assert all(np.array_equal(*pair) for pair in zip(loaded.run(None, inputs), expected, strict=True))


def test_a_runtime_without_the_library_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("26m", tmp_path / "native.onnx", (64, 64))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(
        [helper.make_node("Relu", ["images"], ["logits"], name="mfedge")], "mfedge", [images], [logits]
    )
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("mfedge.other", 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=9), tmp_path / "portable.onnx")
    assert (is_native(tmp_path / "native.onnx"), is_native(tmp_path / "portable.onnx")) == (True, False)
    assert runtimes.load(tmp_path / "native.onnx").metadata.kernels == "native"
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    runtimes.load(tmp_path / "portable.onnx")
    with pytest.raises(MissingRuntimeError, match="native kernels: not built for onnxruntime"):
        runtimes.load(tmp_path / "native.onnx")
    (tmp_path / "libmfedge_onnxruntime.so").write_bytes(b"not a library")
    with pytest.raises(MissingRuntimeError, match=r"native kernels: onnxruntime .* cannot load"):
        runtimes.load(tmp_path / "native.onnx")


@pytest.mark.parametrize("content", [b"", b"\x3a", b"\x3a\xff\xff\x7f", b"\x0f" * 40, b"\xff" * 40, bytes(40)], ids=str)
def test_a_damaged_file_is_onnxruntimes_to_refuse(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert not is_native(tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        runtimes.load(tmp_path / "model.onnx")


def test_an_onnxruntime_that_is_too_old_is_told_so() -> None:
    """A runtime whose API ends before the version that is needed: the library asks it for the oldest and says so."""
    said: list[tuple[int, bytes]] = []
    create_status = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)(
        lambda code, message: said.append((code, message)) or 1
    )
    table = (ctypes.c_void_p * 120)(ctypes.cast(create_status, ctypes.c_void_p))
    get_api = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)(
        lambda version: ctypes.addressof(table) if version <= 16 else None
    )
    get_version = ctypes.CFUNCTYPE(ctypes.c_void_p)(lambda: ctypes.addressof(text))
    text = ctypes.create_string_buffer(b"1.16.3")
    base = (ctypes.c_void_p * 2)(ctypes.cast(get_api, ctypes.c_void_p), ctypes.cast(get_version, ctypes.c_void_p))
    register = ctypes.CDLL(str(native.path("onnxruntime"))).RegisterCustomOps
    register.restype, register.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_void_p)
    assert register(None, ctypes.addressof(base))
    assert said == [(9, b"mfedge: needs onnxruntime 1.17 or newer, this is 1.16.3")]
