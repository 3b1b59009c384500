"""Native operators in OpenVINO, each in a model of its own: equal to its twin, or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from openvino import opset13

from mfedge import ops
from mfedge.formats.openvino.fused import factory
from mfedge.kernels import find as native
from mfedge.kernels import layout
from mfedge.kernels.layout import PADDING_ROWS, Config, Kind
from mfedge.runtimes.openvino import extension
from tests.formats.openvino_common import FLOAT32, Array, assert_close, core, random

pytestmark = pytest.mark.skipif(native.find("openvino") is None, reason="native kernels are not built")

STEM = Config(12, 24, 20, stride=2, tokens=5, heads=2)
SAME = Config(12, 24, 12, stride=1, tokens=3, heads=4)
BLOCK = Config(12, 36, 20, 0, 1, tokens=5, token_dim=24, heads=5, former_heads=4, ffn=40, hyper=6)
DOWN = Config(12, 24, 20, 60, 2, tokens=3, token_dim=16, heads=2, former_heads=2, hyper=4)
HEAD = Config(in_channels=20, expand=30, tokens=5, token_dim=24, hidden=50, classes=7)


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
    return {
        "features": random(batch, config.in_channels, 11 + PADDING_ROWS, 14),
        "tokens": random(token_batch, config.tokens, config.token_dim),
        "attended": random(batch, config.tokens, config.in_channels),
    }


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
    shapes = [output.partial_shape for output in model.outputs]
    rows = ov.Dimension(PADDING_ROWS, -1)
    assert shapes == [ov.PartialShape(shape) for shape in ([-1, 20, rows, -1], [-1, 3, 16], [-1, 3, 20])]
    wanted = expected(ops.block_reference, *inputs.values(), *constants.values(), DOWN)
    for found, array in zip(run_one(model, inputs), wanted, strict=True):
        assert_close(found, array)


def test_interval_sizes_are_halved() -> None:
    images = ov.PartialShape([1, 3, ov.Dimension(32, 65), ov.Dimension(33, -1)])
    weights = opset13.constant(vectors(Kind.STEM, SAME)["weights"])
    parameter = opset13.parameter(images, np.float32)
    node = factory(extension()).create("Stem", [parameter, weights], SAME._asdict())
    rows = ov.Dimension(16 + PADDING_ROWS, 33 + PADDING_ROWS)
    assert node.output(0).partial_shape == ov.PartialShape([1, 12, rows, ov.Dimension(17, -1)])
    assert node.output(1).partial_shape == ov.PartialShape([1, 3, 12])


def test_other_weights_are_another_operator() -> None:
    """A node that has run keeps nothing of weights that it no longer has."""
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    model = one_operator("Block", inputs, constants, BLOCK._asdict())
    run_one(model, inputs)
    other = vectors(Kind.BLOCK, BLOCK, seed=7)
    (node,) = [node for node in model.get_ops() if node.get_type_name() == "Block"]
    for port, array in ((3, other["weights"]), (4, other["matrices"])):
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
        refused(message, lambda: one_operator(name, inputs, constants, config._asdict()))  # noqa: B023 - called at once


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": (2, 13, 11, 14)}, r"features: expected \(B, 12, H \+ 1, W\), found \[2,13,11,14\]"),
        ({"features": (2, 12, 11)}, r"features: expected \(B, 12, H \+ 1, W\), found \[2,12,11\]"),
        ({"tokens": (1, 6, 24)}, r"tokens: expected \(B or 1, 5, 24\), found \[1,6,24\]"),
        ({"tokens": (3, 5, 24)}, r"tokens: expected \(B or 1, 5, 24\), found \[3,5,24\]"),
        ({"tokens": (5, 24)}, r"tokens: expected \(B or 1, 5, 24\), found \[5,24\]"),
        (
            {"features": (-1, 12, -1, -1), "tokens": (1, 5, -1, 24)},
            r"tokens: expected \(B or 1, 5, 24\), found \[1,5,\?,24\]",
        ),
        ({"attended": (1, 5, 12)}, r"attended: expected \(2, 5, 12\), found \[1,5,12\]"),
        ({"attended": (2, 6, 12)}, r"attended: expected \(2, 5, 12\), found \[2,6,12\]"),
        ({"attended": (2, 5, 20)}, r"attended: expected \(2, 5, 12\), found \[2,5,20\]"),
        ({"attended": (5, 12)}, r"attended: expected \(2, 5, 12\), found \[5,12\]"),
        (
            {"features": (-1, 12, -1, -1), "attended": (-1, 5, 24)},
            r"attended: expected \(B, 5, 12\), found \[\?,5,24\]",
        ),
        ({"features": (-1, 12, -1, -1), "tokens": (3, 5, 24)}, r"attended: expected \(3, 5, 12\), found \[2,5,12\]"),
    ],
)
def test_a_wrong_shape_is_refused(wrong: dict[str, tuple[int, ...]], message: str) -> None:
    inputs = {**whole_inputs(Kind.BLOCK, BLOCK), **wrong}
    refused(
        r"^mfedge\.Block '.*': " + message,
        lambda: one_operator("Block", inputs, vectors(Kind.BLOCK, BLOCK), BLOCK._asdict()),
    )


def test_a_wrong_shape_that_shows_when_it_runs_is_refused() -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    model = one_operator(
        "Block", {key: (-1,) * array.ndim for key, array in inputs.items()}, constants, BLOCK._asdict()
    )
    for name, shape in (
        ("tokens", (1, 5, 25)),
        ("tokens", (3, 5, 24)),
        ("features", (2, 13, 4, 4)),
        ("attended", (1, 5, 12)),
        ("attended", (2, 5, 20)),
    ):
        message = rf"mfedge\.Block '.*': {name}: expected .*, found \[{','.join(map(str, shape))}\]"
        refused(message, lambda: run_one(model, {**inputs, name: random(*shape)}))  # noqa: B023 - called at once


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


@pytest.mark.parametrize("value", [-1, -(2**31), 2**31 - 1, 2**40, 0], ids=str)
@pytest.mark.parametrize(
    ("name", "kind", "config", "field"),
    [
        *(
            ("Block", Kind.BLOCK, BLOCK, field)
            for field in ("in_channels", "expand", "out_channels", "stride", "tokens", "token_dim", "heads")
        ),
        *(("Stem", Kind.STEM, STEM, field) for field in ("tokens", "heads")),
    ],
)
def test_a_hostile_field_is_refused(name: str, kind: Kind, config: Config, field: str, value: int) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    attributes = {**config._asdict(), field: value}
    refused(rf"mfedge\.{name} '.*': .*{field}", lambda: one_operator(name, inputs, constants, attributes))


@pytest.mark.parametrize(("name", "kind", "config"), [("Stem", Kind.STEM, STEM), ("Block", Kind.BLOCK, DOWN)])
def test_heads_divide_the_map_that_is_written(name: str, kind: Kind, config: Config) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    attributes = {**config._asdict(), "heads": 3}  # of the 12 channels that come in, not of the 20 that go out
    message = rf"^mfedge\.{name} '.*': heads: expected a divisor of out_channels 20, found 3$"
    refused(message, lambda: one_operator(name, inputs, constants, attributes))


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


@pytest.mark.parametrize(("name", "kind", "config"), [("Block", Kind.BLOCK, BLOCK), ("Head", Kind.HEAD, HEAD)])
def test_a_node_of_before_is_refused(name: str, kind: Kind, config: Config) -> None:
    """Of ABI 1: nothing attended to goes in."""
    inputs = {key: value for key, value in whole_inputs(kind, config).items() if key != "attended"}
    message = rf"^mfedge\.{name} '.*': expected 5 inputs, found 4$"
    refused(message, lambda: one_operator(name, inputs, vectors(kind, config), config._asdict()))


def test_a_stem_of_before_is_refused() -> None:
    """Of ABI 1: it attended to nothing."""
    config = STEM._replace(tokens=0, heads=0)
    inputs, constants = whole_inputs(Kind.STEM, config), vectors(Kind.STEM, config)
    message = r"^mfedge\.Stem '.*': tokens: expected 1 to 16, found 0$"
    refused(message, lambda: one_operator("Stem", inputs, constants, config._asdict()))
