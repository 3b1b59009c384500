"""Files of native operators in OpenVINO: whole networks, other ways to read them, what does not fit, the apps."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from openvino.passes import ConvertFP32ToFP16, Manager
from PIL import Image

from mfedge import runtimes
from mfedge.artifacts.export import export
from mfedge.artifacts.request import Request
from mfedge.deploy import deploy, trace
from mfedge.errors import ArtifactError, MissingRuntimeError
from mfedge.families.spec import Spec
from mfedge.kernels import find as native
from mfedge.kernels.layout import Config
from mfedge.runtimes.openvino import BUILT_FOR, extension
from mfedge.sizes import Size
from tests.conftest import network
from tests.formats.openvino_common import FLOAT32, Array, assert_close, core, random
from tests.support.models import count_operators, logits, reference, write
from tests.support.models import write as write_model

pytestmark = pytest.mark.skipif(native.find("openvino") is None, reason="native kernels are not built")

VARIANTS = pytest.mark.parametrize("variant", ["26m", "52m", "214m"])
PRECISIONS = pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("fp16", 2e-2)])
SAMPLES = Path(__file__).parents[2] / "export" / "samples" / "openvino"


def write_native(variant: str, path: Path, size: tuple[int, int] | None, precision: str = "fp32") -> torch.nn.Module:
    net = network(variant)
    write(trace(deploy(net, kernels="native"), *(size or (224, 256)), dynamic=size is None), path, precision)
    return net


# Files of whole networks.


@VARIANTS
@PRECISIONS
def test_a_fixed_size_is_exact(variant: str, precision: str, bound: float, tmp_path: Path) -> None:
    net = write_native(variant, tmp_path / "model.xml", (225, 191), precision)
    images = random(1, 3, 225, 191)
    assert_close(logits(runtimes.load(tmp_path / "model.xml"), images), reference(net, images), bound)


@VARIANTS
@PRECISIONS
def test_one_session_takes_sizes_that_were_not_traced(
    variant: str, precision: str, bound: float, tmp_path: Path
) -> None:
    net = write_native(variant, tmp_path / "model.xml", None, precision)
    session = runtimes.load(tmp_path / "model.xml")
    for size in ((224, 224), (33, 47), (191, 321), (32, 352), (33, 47)):
        images = random(1, 3, *size)
        assert_close(logits(session, images), reference(net, images), bound)


def test_what_is_in_a_file(tmp_path: Path) -> None:
    write_native("26m", tmp_path / "model.xml", None, "fp16")
    program = trace(deploy(network("26m"), kernels="native"), 64, 64)
    model = core().read_model(tmp_path / "model.xml")
    found = [node for node in model.get_ordered_ops() if node.get_type_info().version_id == "mfedge"]
    calls = [node for node in program.graph.nodes if str(node.target).startswith("mfedge.")]
    assert [node.get_type_name() for node in found] == ["Stem", *["Block"] * 8, "Head"]
    for node, call in zip(found, calls, strict=True):
        assert node.get_attributes() == Config(*call.args[-1])._asdict()
        assert node.input(1 if node.get_type_name() == "Stem" else 3).get_element_type() == ov.Type.f32
    assert {str(node.input_value(4).get_element_type()) for node in found[1:]} == {str(ov.Type.f16)}
    assert list(found[1].input_value(1).shape) == [1, 3, 128]
    stem, *others = found
    assert list(stem.outputs()) == [others[0].input_value(i) for i in (0, 2)]
    for before, after in pairwise(others):
        assert list(before.outputs()) == [after.input_value(i) for i in range(3)]
    assert count_operators(tmp_path / "model.xml") == {"Block": 8, "Head": 1, "Stem": 1}
    assert runtimes.load(tmp_path / "model.xml").metadata.kernels == "native"


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
    logits(sessions[0], images)
    del sessions[:2]
    sessions.append(runtimes.load(tmp_path / "model.xml"))
    for session in sessions:
        assert_close(logits(session, images), reference(net, images))


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
        assert all(np.array_equal(result, logits(session, images)) for result in results)


# Other ways to the same file, and other precisions than the runtime's.


@PRECISIONS
def test_openvino_reads_native_onnx(precision: str, bound: float, tmp_path: Path) -> None:
    net = network("26m")
    write_model(trace(deploy(net, kernels="native"), 64, 96, dynamic=True), tmp_path / "model.onnx", precision)
    images = random(1, 3, 65, 43)
    found = core().compile_model(tmp_path / "model.onnx", "CPU", FLOAT32)(images)[0]
    assert_close(found, reference(net, images), bound)


def test_a_file_that_openvino_compressed_runs(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", None)
    ov.save_model(core().read_model(tmp_path / "model.xml"), tmp_path / "half.xml", compress_to_fp16=True)
    assert (tmp_path / "half.bin").stat().st_size < 0.6 * (tmp_path / "model.bin").stat().st_size
    images = random(1, 3, 65, 43)
    assert_close(logits(runtimes.load(tmp_path / "half.xml"), images), reference(net, images), 2e-2)


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
    assert_close(found, reference(net, images), 2e-3)


@pytest.mark.parametrize("hint", ["bf16", "f16"])
def test_another_precision_hint_changes_nothing(hint: str, tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", (65, 43))
    images = random(1, 3, 65, 43)
    found = core().compile_model(tmp_path / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": hint})(images)[0]
    assert_close(found, reference(net, images), 1e-4)


def test_a_cached_model_is_the_model(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", (65, 43), "fp16")
    images, cached = random(1, 3, 65, 43), core()
    cached.set_property({"CACHE_DIR": str(tmp_path / "cache")})
    for again in (False, True):
        compiled = cached.compile_model(tmp_path / "model.xml", "CPU", FLOAT32)
        assert compiled.get_property("LOADED_FROM_CACHE") is again
        assert_close(compiled(images)[0], reference(net, images), 2e-2)


# Files and libraries that do not fit, through the runtime.


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    net = write_native("26m", tmp_path / "model.xml", None)
    session = runtimes.load(tmp_path / "model.xml")
    with pytest.raises(ArtifactError, match=r"cannot run \(1, 3, 0, 64\)"):
        logits(session, random(1, 3, 0, 64))
    images = random(1, 3, 33, 64)
    assert_close(logits(session, images), reference(net, images))


@pytest.mark.parametrize(
    ("text", "other", "message"),
    [
        ('token_dim="128"', 'token_dim="64"', r"mfedge\.Block '.*, blocks\.1\.weights': weights: expected \d+ values"),
        (' stride="1"', "", r"mfedge\.Block '.*, blocks\.1\.weights': stride: expected 1 to 2, found 0"),
        (' tokens="3"', "", r"mfedge\.Stem '.*, stem\.weights': tokens: expected 1 to 16, found 0"),  # as ABI 1 had it
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
    )
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
    assert_close(logits(runtimes.load(tmp_path / "portable.xml"), images), reference(net, images))
    for use in (runtimes.load, count_operators):
        with pytest.raises(MissingRuntimeError, match=r"^native kernels: not built for openvino"):
            use(tmp_path / "native.xml")


# The apps.


def test_the_python_sample_classifies(small_spec: Spec, tmp_path: Path) -> None:
    request = Request.of(small_spec, ("openvino",), Size(96, 64), kernels="native")
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
    logits = reference(net, images)[0]
    found = [(int(number), float(score)) for number, score in map(str.split, done.stdout.splitlines())]
    assert [number for number, _ in found] == list(np.argsort(logits)[:-6:-1])
    assert np.allclose([score for _, score in found], np.sort(logits)[:-6:-1], rtol=1e-3)
