"""The bindings to the runtimes, given operators that somebody else wrote: each is refused or computed right.

Everything runs in this process: a binding that crashes takes its test with it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from mfedge import runtimes
from mfedge.deploy import deploy
from mfedge.formats.table import FORMATS
from mfedge.formats.tflite.fused import options
from mfedge.kernels import find
from mfedge.kernels.layout import Config
from tests.conftest import network
from tests.formats import test_litert_fused as litert
from tests.formats import test_onnx_fused as onnx
from tests.formats import test_openvino_operators as openvino
from tests.formats.litert_doors import Refused, compiled, interpreter
from tests.formats.openvino_common import FLOAT32, core
from tests.kernels.hostile import CONFIGS, Array, Case, assert_same, hostile, sound
from tests.support.models import logits, reference, write_network

pytestmark = pytest.mark.skipif(
    any(find.find(name) is None for name in find.NAMES), reason="native kernels are not built for every runtime"
)
INT32 = 2**31
SEED = random.SystemRandom().randrange(1 << 32)  # another one every time; a failure prints the case


def by_onnxruntime(case: Case) -> list[Array]:
    try:
        session = onnx.session(onnx.one_node(case.name, case.inputs, case.constants, case.attributes))
        return list(session.run(None, case.inputs))
    except Exception as error:  # onnxruntime's have no common base but this
        raise Refused(str(error)) from None


def by_openvino(case: Case) -> list[Array]:
    try:
        model = openvino.one_operator(case.name, case.inputs, case.constants, case.attributes)
        return openvino.run_one(model, case.inputs)
    except RuntimeError as error:
        raise Refused(str(error)) from None


def by_litert(door: Callable[[bytes, list[Array]], list[Array]], case: Case) -> list[Array]:
    config, code = Config(**case.fields), f"mfedge.{case.name}.0"
    custom = options(config, case.attributes.get("scale", 0.0))
    return door(litert.one_operator(code, case.inputs, case.constants, custom), list(case.inputs.values()))


RUNTIMES = pytest.mark.parametrize(
    "run",
    [by_onnxruntime, by_openvino, partial(by_litert, interpreter), partial(by_litert, compiled)],
    ids=["onnxruntime", "openvino", "interpreter", "compiled"],
)
Run = Callable[[Case], list[Array]]


def hold(run: Run, case: Case) -> bool:
    """Whether it is an operator; that it is refused otherwise, and computed right if so."""
    expected, refused = case.expected(), ""
    try:
        assert_same(run(case), case, expected or [])
    except Refused as error:
        refused = str(error)
    # Some refuse a number that no size can be, whether the operator uses the field or not.
    if expected is not None and all(0 <= value < INT32 for value in case.sizes.values()):
        assert not refused, case
    assert not refused or case.name in refused or "mfedge" not in refused, case
    return not refused


@RUNTIMES
@pytest.mark.parametrize("which", CONFIGS)
def test_what_is_sound_is_computed(run: Run, which: str) -> None:
    assert hold(run, sound(which))


@RUNTIMES
@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.slow)])
def test_an_operator_is_refused_or_right(run: Run, count: int) -> None:
    fields = INT32 if "litert" in str(run) else 2**63  # what a file can hold
    cases = [hostile(seed) for seed in range(SEED, SEED + count)]
    computed = [hold(run, case) for case in cases if all(-fields <= value < fields for value in case.sizes.values())]
    assert 0.1 < sum(computed) / len(computed) < 0.9


def test_a_very_wide_map() -> None:
    """A product of its vectors and blocks is beyond 32 bits: onnxruntime crashed on a file of 924 bytes."""
    case = sound("Block")
    config = CONFIGS["Block"]._replace(in_channels=3, expand=3, out_channels=3, heads=1, hyper=0, ffn=0)
    inputs = {
        "features": np.random.default_rng(0).standard_normal((1, 3, 3, 800_000), np.float32),
        "tokens": case.inputs["tokens"],
        "attended": case.inputs["attended"][:1, :, :3],
    }
    constants = openvino.vectors(openvino.Kind.BLOCK, config)
    assert hold(by_onnxruntime, case._replace(inputs=inputs, constants=constants, fields=config._asdict()))


@pytest.mark.parametrize("format_name", FORMATS)
def test_nan_in_an_image_is_nan_in_every_logit(format_name: str, tmp_path: Path) -> None:
    """Natively in every runtime, as in PyTorch. Without it the logits are numbers."""
    net = network("26m")
    images = np.random.default_rng(0).standard_normal((1, 3, 64, 96), np.float32)
    spoilt = images.copy()
    spoilt[0, 1, 40, 70] = np.nan
    fused = deploy(net, kernels="native")
    assert np.isnan(reference(net, spoilt)).all() and np.isnan(reference(fused, spoilt)).all()
    session = runtimes.load(write_network(net, format_name, tmp_path, kernels="native"))
    for image, none in ((images, False), (spoilt, True), (np.full_like(images, np.nan), True)):
        assert (np.isnan(logits(session, image)) == none).all()


class IR:
    """A block in an OpenVINO IR, to be spoilt."""

    def __init__(self, folder: Path, which: str = "Block") -> None:
        case = sound(which)
        self.folder, self.inputs = folder, case.inputs
        model = openvino.one_operator(case.name, case.inputs, case.constants, case.attributes)
        ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
        self.xml, self.weights = (folder / "model.xml").read_text(), (folder / "model.bin").read_bytes()

    def run(self, xml: str, weights: bytes | None = None) -> list[Array]:
        (self.folder / "model.xml").write_text(xml)
        (self.folder / "model.bin").write_bytes(self.weights if weights is None else weights)
        opened = core()
        try:
            model = opened.read_model(self.folder / "model.xml")
            request = opened.compile_model(model, "CPU", FLOAT32).create_infer_request()
            request.start_async(list(self.inputs.values()))
            request.wait()
        except RuntimeError as error:
            raise Refused(str(error)) from None
        return [np.array(tensor.data) for tensor in request.output_tensors]


def test_weights_of_an_ir_lie_at_any_offset(tmp_path: Path) -> None:
    ir = IR(tmp_path)
    expected = ir.run(ir.xml)
    for shift in (1, 2, 3):
        moved, places = re.subn(r'offset="(\d+)"', lambda found: f'offset="{int(found[1]) + shift}"', ir.xml)  # noqa: B023 - called at once
        assert places == 2
        found = ir.run(moved, bytes(shift) + ir.weights)
        assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ["dynamic", "undefined", "u1", "bf16", "f64", "i32", "string", "f8e4m3", "nf4"])
@pytest.mark.parametrize("which", ["weights", "matrices"])
def test_weights_of_an_ir_that_are_no_floats(which: str, kind: str, tmp_path: Path) -> None:
    """A constant of a dynamic type was taken, and memory that nobody had written was computed with."""
    ir = IR(tmp_path)
    data = [found.start(1) for found in re.finditer(r'<data element_type="(f32)"[^>]*offset', ir.xml)]
    assert len(data) == 2
    at = data[which == "matrices"]
    with pytest.raises(Refused) as caught:
        ir.run(ir.xml[:at] + kind + ir.xml[at + len("f32") :])
    ours = re.search(
        r"mfedge\.Block '.*': (\w+): expected (float\S*( or float16)?), found (\w+)$", str(caught.value), re.M
    )
    if ours is None:  # OpenVINO's own: the type has no such size
        assert kind not in ("dynamic", "undefined", "i32")
    else:
        assert (ours[1], ours[4]) == (which, kind.replace("undefined", "dynamic"))


ODD = ("", "-1", "-9223372036854775808", "9223372036854775808", "1e9", "1.5", "nan", "0x10", "five", "2,2", "99" * 40)


@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_number_of_an_ir_crashes(count: int, tmp_path: Path) -> None:
    """Attributes, shapes, sizes and offsets, and the numbers of ports: any number of the file, in any place."""
    choose = random.Random(SEED)
    ir = IR(tmp_path, choose.choice(["Stem", "Block", "Down", "Head"]))
    expected = ir.run(ir.xml)
    numbers = list(re.finditer(r'(?<=[">,])-?\d+(?=[",<])', ir.xml))
    assert len(numbers) > 40
    same = 0
    for _ in range(count):
        place = choose.choice(numbers)
        number = choose.choice([*ODD, "0", "1", "2", "3", str(2**31 - 1), str(2**31), str(2**62), str(2**63 - 1)])
        try:
            found = ir.run(ir.xml[: place.start()] + number + ir.xml[place.end() :])
        except Refused:
            continue
        same += len(found) == len(expected) and all(map(np.array_equal, found, expected))
    assert 0 < same < count
