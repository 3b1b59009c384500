"""Native operators in LiteRT: files of whole blocks, each operator alone by both doors, errors that do not crash."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from mfedge import ops, runtimes
from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.data.images import photograph
from mfedge.deploy import deploy, trace
from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.formats.tflite.fused import MAX_NODES, options
from mfedge.formats.tflite.writer import Writer
from mfedge.kernels import find as native
from mfedge.kernels import layout
from mfedge.kernels.layout import PADDING_ROWS, Config, Kind
from mfedge.predict import classify
from mfedge.sizes import Size
from mfedge.zoo import load_spec
from tests.conftest import network
from tests.formats.litert_doors import Array, Refused, compiled, folder, interpreter
from tests.support.models import count_operators, logits, reference, write

pytestmark = pytest.mark.skipif(native.find("litert") is None, reason="native kernels are not built")

VARIANTS = pytest.mark.parametrize("variant", ["26m", pytest.param("214m", marks=pytest.mark.slow)])
DOORS = pytest.mark.parametrize("run", [interpreter, compiled])
STEM = Config(12, 24, 20, stride=2, tokens=5, heads=2)
BLOCK = Config(12, 36, 20, 0, 1, tokens=5, token_dim=24, heads=5, former_heads=4, ffn=40, hyper=6)
DOWN = Config(12, 24, 20, 60, 2, tokens=3, token_dim=16, heads=2, former_heads=2, hyper=4)
HEAD = Config(in_channels=20, expand=30, tokens=5, token_dim=24, hidden=50, classes=7)
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "export" / "samples" / "litert"

Run = Callable[[bytes, list[Array]], list[Array]]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def write_native(variant: str, path: Path, size: tuple[int, int] | None, precision: str = "fp32") -> torch.nn.Module:
    net = network(variant)
    write(trace(deploy(net, kernels="native"), *(size or (224, 256)), dynamic=size is None), path, precision)
    return net


def assert_close(found: Array, expected: Array, bound: float = 1e-4) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()


# Files of whole networks.


@VARIANTS
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("fp16", 2e-2)])
def test_a_fixed_size_is_exact(variant: str, precision: str, bound: float, tmp_path: Path) -> None:
    net = write_native(variant, tmp_path / "model.tflite", (225, 191), precision)
    images = random(1, 3, 225, 191)
    assert_close(logits(runtimes.load(tmp_path / "model.tflite"), images), reference(net, images), bound)


@VARIANTS
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("fp16", 2e-2)])
def test_one_session_takes_sizes_that_were_not_traced(
    variant: str, precision: str, bound: float, tmp_path: Path
) -> None:
    net = write_native(variant, tmp_path / "model.tflite", None, precision)
    session = runtimes.load(tmp_path / "model.tflite")
    for size in ((224, 224), (33, 47), (191, 321), (64, 352), (33, 47)):
        images = random(1, 3, *size)
        assert_close(logits(session, images), reference(net, images), bound)


def test_sessions_come_and_go(tmp_path: Path) -> None:
    """Each has a delegate and operators of its own."""
    write_native("26m", tmp_path / "model.tflite", None)
    images = random(1, 3, 33, 47)
    sessions = [runtimes.load(tmp_path / "model.tflite") for _ in range(3)]
    first = logits(sessions[0], images)
    del sessions[:2]
    sessions.append(runtimes.load(tmp_path / "model.tflite"))
    assert all(np.array_equal(logits(session, images), first) for session in sessions)


def test_what_is_in_a_file(tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.tflite", None, "fp16")
    data = (tmp_path / "model.tflite").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    (graph,) = model.subgraphs
    codes = [model.operatorCodes[operator.opcodeIndex].customCode for operator in graph.operators]
    blocks = [f"mfedge.Block.{i}".encode() for i in range(8)]
    assert codes == [None, b"mfedge.Stem.0", *blocks, b"mfedge.Head.0"]
    transpose, stem, block = graph.operators[:3]
    assert list(transpose.inputs)[:1] == list(graph.inputs)
    assert list(stem.outputs) == [block.inputs[0], block.inputs[2]]
    for before, after in pairwise(graph.operators[2:]):
        assert list(before.outputs) == list(after.inputs)[:3]
    program = trace(deploy(network("26m"), kernels="native"), 64, 64)
    (config,) = [node.args[5] for node in program.graph.nodes if node.name == "block"]
    assert bytes(block.customOptions) == options(Config(*config))
    kinds = {graph.tensors[i].type for operator in graph.operators[2:] for i in list(operator.inputs)[4:]}
    assert kinds == {schema.TensorType.FLOAT16}
    assert {graph.tensors[operator.inputs[3]].type for operator in graph.operators[2:]} == {schema.TensorType.FLOAT32}
    assert model.signatureDefs[0].inputs[0].name == b"images"
    assert count_operators(tmp_path / "model.tflite") == {
        "mfedge.Block": 8, "TRANSPOSE": 1, "mfedge.Head": 1, "mfedge.Stem": 1,
    }  # fmt: skip
    assert runtimes.load(tmp_path / "model.tflite").metadata.kernels == "native"


def test_weights_lie_where_a_compiled_model_hands_them_on(tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.tflite", (64, 64))
    data = (tmp_path / "model.tflite").read_bytes()
    start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
    model = schema.Model.GetRootAs(data, 0)
    graph, found = model.Subgraphs(0), 0
    for i in range(1, graph.OperatorsLength()):
        for index in graph.Operators(i).InputsAsNumpy():
            buffer = model.Buffers(graph.Tensors(int(index)).Buffer())
            if buffer.DataLength():
                found += 1
                assert (buffer.DataAsNumpy().__array_interface__["data"][0] - start) % 64 == 0
    assert found == 1 + 1 + 2 * 9  # stem, the first tokens, eight blocks and the head


def test_the_same_export_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first.tflite", "second.tflite"):
        write_native("26m", tmp_path / name, None, "fp16")
    assert (tmp_path / "first.tflite").read_bytes() == (tmp_path / "second.tflite").read_bytes()


# One operator in a file of its own, by both doors.


OUTPUTS = {"Stem": 2, "Block": 3}  # of others: 1


def one_operator(
    code: str, inputs: Mapping[str, Array], constants: Mapping[str, Array], custom: bytes, outputs: int | None = None,
    wrong: Callable[[Any], None] = lambda _: None,
) -> bytes:  # fmt: skip
    """`wrong` may spoil the operator before it is written. Outputs are declared with a shape that is not theirs."""
    writer = Writer()
    activations = {name: writer.tensor(name, array.shape) for name, array in inputs.items()}
    weights = [writer.raw(name, array) for name, array in constants.items()]
    shapes = [(1,)] * (outputs or OUTPUTS.get(code.split(".")[1], 1))
    found = writer.custom(code, [*activations.values(), *weights], shapes, code, custom)
    wrong(writer.operators[-1])
    return writer.finish(activations, {f"output{i}": tensor for i, tensor in enumerate(found)})


def vectors(kind: Kind, config: Config) -> dict[str, Array]:
    """Random weights of a moderate size, those that the kind has."""
    sizes = {
        "weights": layout.count(layout.vectors(kind, config)),
        "matrices": layout.count(layout.matrices(kind, config)),
    }
    return {name: 0.3 * random(size, seed=1) for name, size in sizes.items() if size}


def whole_inputs(kind: Kind, config: Config) -> dict[str, Array]:
    if kind is Kind.STEM:
        return {"images": random(2, 3, 37, 22)}
    return {
        "features": random(2, config.in_channels, 11 + PADDING_ROWS, 14),
        "tokens": random(1, config.tokens, config.token_dim),
        "attended": random(2, config.tokens, config.in_channels),
    }


WHOLE = pytest.mark.parametrize(
    ("name", "kind", "config", "twin"),
    [
        ("Stem", Kind.STEM, STEM, ops.stem_reference),
        ("Block", Kind.BLOCK, BLOCK, ops.block_reference),
        ("Block", Kind.BLOCK, DOWN, ops.block_reference),
        ("Head", Kind.HEAD, HEAD, ops.head_reference),
    ],
    ids=["stem", "block", "down", "head"],
)


@DOORS
@WHOLE
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_a_whole_operator_is_its_twin(
    run: Run, name: str, kind: Kind, config: Config, twin: Callable[..., Any], half: bool
) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    if half and "matrices" in constants:
        constants["matrices"] = constants["matrices"].astype(np.float16)
    model = one_operator(f"mfedge.{name}", inputs, constants, options(config))
    expected = twin(*(torch.from_numpy(array).float() for array in (*inputs.values(), *constants.values())), config)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for array, tensor in zip(run(model, list(inputs.values())), expected, strict=True):
        assert_close(array, tensor.numpy())


@DOORS
@pytest.mark.parametrize("token_batch", [1, 2])
@pytest.mark.parametrize("name", ["MobileToFormer", "FormerToMobile"])
def test_an_attention_is_its_twin(run: Run, name: str, token_batch: int) -> None:
    inputs = {
        "features": random(2, 12, 9, 7),
        "key": random(token_batch, 5, 12),
        "value": random(token_batch, 5, 12, seed=2),
    }
    twin: Callable[..., torch.Tensor] = ops.former_to_mobile_reference
    if name == "MobileToFormer":
        del inputs["value"]
        twin = ops.mobile_to_former_reference
    model = one_operator(f"mfedge.{name}.63", inputs, {}, options(Config(heads=4), 0.3))
    (found,) = run(model, list(inputs.values()))
    assert_close(found, twin(*map(torch.from_numpy, inputs.values()), 4, 0.3).numpy())


@DOORS
@pytest.mark.parametrize("slopes", [(2, 12), (1, 12), (2, 12, 9, 7)], ids=str)
def test_dynamic_relu_is_its_twin(run: Run, slopes: tuple[int, ...]) -> None:
    inputs = {"features": random(2, 12, 9, 7), "slope1": random(*slopes), "slope2": random(*slopes, seed=2)}
    (found,) = run(one_operator("mfedge.DynamicRelu.0", inputs, {}, options(Config())), list(inputs.values()))
    assert_close(found, ops.dynamic_relu_reference(*map(torch.from_numpy, inputs.values())).numpy())


# What is wrong is said in one line, by both doors.


def refused(run: Run, message: str, code: str, inputs: Mapping[str, Array], *rest: Any, **more: Any) -> None:
    with pytest.raises(Refused, match=message):
        run(one_operator(code, inputs, *rest, **more), list(inputs.values()))


@DOORS
@pytest.mark.parametrize(
    "custom", [b"", b"mfe1", options(BLOCK)[:-1], options(BLOCK) + b"\0", b"mfe2" + options(BLOCK)[4:]], ids=len
)
def test_damaged_options_are_refused(run: Run, custom: bytes) -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    refused(run, r"mfedge\.Block\.0: expected 60 bytes", "mfedge.Block.0", inputs, constants, custom)


@DOORS
@pytest.mark.parametrize("value", [-1, -(2**31), 2**31 - 1, 0], ids=str)
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
def test_a_hostile_field_is_refused(run: Run, name: str, kind: Kind, config: Config, field: str, value: int) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    custom = options(config._replace(**{field: value}))
    refused(run, rf"mfedge\.{name}\.0: .*{field}", f"mfedge.{name}.0", inputs, constants, custom)


@DOORS
@pytest.mark.parametrize(("name", "kind", "config"), [("Stem", Kind.STEM, STEM), ("Block", Kind.BLOCK, DOWN)])
def test_heads_divide_the_map_that_is_written(run: Run, name: str, kind: Kind, config: Config) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    custom = options(config._replace(heads=3))  # of the 12 channels that come in, not of the 20 that go out
    message = rf"mfedge\.{name}\.0: heads: expected a divisor of out_channels 20, found 3"
    refused(run, message, f"mfedge.{name}.0", inputs, constants, custom)


@DOORS
@WHOLE
def test_a_wrong_count_of_weights_is_refused(run: Run, name: str, kind: Kind, config: Config, twin: Any) -> None:
    inputs, constants = whole_inputs(kind, config), vectors(kind, config)
    for part in constants:
        for wrong in (constants[part][:-1], np.append(constants[part], np.float32(0))):
            spoilt = {**constants, part: wrong}
            refused(run, rf"mfedge\.{name}", f"mfedge.{name}.0", inputs, spoilt, options(config))


@DOORS
def test_half_vectors_are_refused(run: Run) -> None:
    constants = {name: array.astype(np.float16) for name, array in vectors(Kind.HEAD, HEAD).items()}
    inputs = whole_inputs(Kind.HEAD, HEAD)
    refused(run, "its weights are not float32", "mfedge.Head.0", inputs, constants, options(HEAD))


@DOORS
@pytest.mark.parametrize("shape", [(2, 13, 11, 14), (2, 12, 1, 14), (12, 11, 14), (1, 2, 12, 11, 14)], ids=str)
def test_a_map_of_a_wrong_shape_is_refused(run: Run, shape: tuple[int, ...]) -> None:
    inputs = {**whole_inputs(Kind.BLOCK, BLOCK), "features": random(*shape)}
    constants = vectors(Kind.BLOCK, BLOCK)
    refused(run, r"mfedge\.Block\.0: ", "mfedge.Block.0", inputs, constants, options(BLOCK))


@DOORS
@pytest.mark.parametrize("shape", [(1, 5, 12), (2, 4, 12), (2, 5, 20), (5, 12), (2, 5, 12, 1)], ids=str)
def test_what_was_attended_to_in_a_wrong_shape_is_refused(run: Run, shape: tuple[int, ...]) -> None:
    inputs = {**whole_inputs(Kind.BLOCK, BLOCK), "attended": random(*shape)}
    message = rf"mfedge\.Block\.0: .*attended: expected \(2, 5, 12\), found \({', '.join(map(str, shape))}\)"
    refused(run, message, "mfedge.Block.0", inputs, vectors(Kind.BLOCK, BLOCK), options(BLOCK))


@DOORS
def test_a_wrong_count_of_inputs_is_refused(run: Run) -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)
    code = "mfedge.Block.0"
    for count in (1, 3, 4):

        def wrong(operator: Any, count: int = count) -> None:
            operator.inputs = operator.inputs[:count]

        message = rf"expected 5 inputs and 3 outputs, found {count} and 3"
        refused(run, message, code, inputs, constants, options(BLOCK), wrong=wrong)
    for outputs in (1, 2):
        message = rf"expected 5 inputs and 3 outputs, found 5 and {outputs}"
        refused(run, message, code, inputs, constants, options(BLOCK), outputs)


@DOORS
@pytest.mark.parametrize(
    ("name", "kind", "config", "outputs", "message"),
    [
        ("Stem", Kind.STEM, STEM, 1, "expected 2 inputs and 2 outputs, found 2 and 1"),
        ("Stem", Kind.STEM, STEM._replace(tokens=0, heads=0), 1, "tokens: expected 1 to 16, found 0"),
        ("Block", Kind.BLOCK, BLOCK, 2, "expected 5 inputs and 3 outputs, found 4 and 2"),
        ("Head", Kind.HEAD, HEAD, 1, "expected 5 inputs and 1 outputs, found 4 and 1"),
    ],
)
def test_an_operator_of_before_is_refused(
    run: Run, name: str, kind: Kind, config: Config, outputs: int, message: str
) -> None:
    """Of ABI 1: nothing attended to goes in, and nothing comes out."""
    inputs = whole_inputs(kind, config)
    inputs.pop("attended", None)
    code, constants = f"mfedge.{name}.0", vectors(kind, config)
    refused(run, rf"mfedge\.{name}\.0: {message}", code, inputs, constants, options(config), outputs)


def test_weights_have_to_be_constants() -> None:
    inputs = {**whole_inputs(Kind.STEM, STEM), **vectors(Kind.STEM, STEM)}
    refused(interpreter, "its weights are not float constants", "mfedge.Stem.0", inputs, {}, options(STEM))


def test_an_output_that_is_a_constant_is_refused() -> None:
    inputs, constants = whole_inputs(Kind.STEM, STEM), vectors(Kind.STEM, STEM)

    def wrong(operator: Any) -> None:
        operator.outputs = operator.inputs[1:]

    refused(interpreter, r"mfedge\.Stem", "mfedge.Stem.0", inputs, constants, options(STEM), wrong=wrong)


@pytest.mark.parametrize("places", [(0, 0, 2), (0, 1, 1), (0, 1, 0), (0, 0, 0)], ids=str)
def test_two_outputs_in_one_tensor_are_refused(places: tuple[int, ...]) -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, BLOCK), vectors(Kind.BLOCK, BLOCK)

    def wrong(operator: Any) -> None:
        operator.outputs = [operator.outputs[place] for place in places]

    refused(interpreter, "an output has no memory", "mfedge.Block.0", inputs, constants, options(BLOCK), wrong=wrong)


@DOORS
def test_options_of_random_bytes_never_crash(run: Run) -> None:
    inputs, constants = whole_inputs(Kind.BLOCK, DOWN), vectors(Kind.BLOCK, DOWN)
    generator = np.random.default_rng()
    for _ in range(40):
        custom = bytearray(options(DOWN))
        for position in generator.integers(4, len(custom) - 4, 3):
            custom[position] = generator.integers(256)
        if bytes(custom) == options(DOWN):
            continue
        model = one_operator("mfedge.Block.0", inputs, constants, bytes(custom))
        with contextlib.suppress(Refused):  # few mean the same: a random `scale`, or a field that a block ignores
            run(model, list(inputs.values()))


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.tflite", (64, 64))
    data = (tmp_path / "model.tflite").read_bytes()
    (tmp_path / "bad.tflite").write_bytes(data.replace(options(Config())[:4], b"mfe9"))
    with pytest.raises(ArtifactError, match=r"bad\.tflite: litert cannot load it: mfedge\.\w+\.\d: expected 60 bytes"):
        runtimes.load(tmp_path / "bad.tflite")


def test_without_the_library_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = write_native("26m", tmp_path / "native.tflite", (64, 64))
    write(trace(deploy(net), 64, 64), tmp_path / "portable.tflite")
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="not built for litert"):
        runtimes.load(tmp_path / "native.tflite")
    assert runtimes.load(tmp_path / "portable.tflite").metadata.kernels == "portable"


def test_a_library_that_is_none_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_native("26m", tmp_path / "native.tflite", (64, 64))
    (tmp_path / "libmfedge_litert.so").write_bytes(b"not a library")
    monkeypatch.setenv("MFEDGE_NATIVE_LIB", str(tmp_path))
    with pytest.raises(MissingRuntimeError, match="does not take the native kernels"):
        runtimes.load(tmp_path / "native.tflite")


# What an app does.


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("the sample needs a C compiler")
    program = tmp_path_factory.mktemp("sample") / "main"
    sources, libraries = ROOT / "mfedge/kernels", (native.path("litert"), folder() / "libLiteRt.so")
    flags = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{sources / 'include'}", f"-I{sources / 'bindings'}")
    paths = [f"-Wl,-rpath,{library.parent}" for library in libraries]
    subprocess.run([compiler, *flags, SAMPLES / "main.c", *libraries, *paths, "-o", program], check=True)
    return program


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("fp16", 2e-2)])
def test_the_sample_app_computes_it(precision: str, bound: float, sample: Path, tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.tflite", None, precision)
    for height, width in ((224, 256), (97, 161)):
        images = random(1, 3, height, width)
        command = [str(sample), str(tmp_path / "model.tflite"), str(height), str(width)]
        image = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).tobytes()
        done = subprocess.run(command, input=image, capture_output=True, check=True)
        assert_close(np.frombuffer(done.stdout, np.float32)[None], reference(net, images), bound)


def test_the_sample_app_says_what_is_wrong(sample: Path, tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.tflite", (64, 64))
    data = (tmp_path / "model.tflite").read_bytes()
    (tmp_path / "bad.tflite").write_bytes(data.replace(options(Config())[:4], b"mfe9"))
    for file, said in (("bad.tflite", "expected 60 bytes of options"), ("none.tflite", "LiteRT status")):
        done = subprocess.run([str(sample), str(tmp_path / file), "64", "64"], input=b"", capture_output=True)
        assert done.returncode == 1
        assert said in done.stderr.decode()


def test_the_python_sample_sees_what_predict_sees(tmp_path: Path) -> None:
    (artifact,) = export(Request.of(load_spec("26m"), ("tflite",), Size(193, 257), kernels="native"), tmp_path)
    command = [sys.executable, SAMPLES / "main.py", artifact, native.path("litert"), photograph()]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    classes = classify(artifact, photograph()).classes
    assert result.stdout.splitlines() == [f"{guess.probability:.3f} {guess.label}" for guess in classes]


def test_headers_and_python_agree_on_the_number_of_nodes() -> None:
    header = (Path(native.__file__).parent / "bindings/litert.h").read_text()
    assert f"MFEDGE_LITERT_MAX_NODES = {MAX_NODES} " in header
