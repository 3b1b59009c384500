"""The straight line: spec → network → weights → deploy → trace → lower → parity → manifest → publish."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct
from torch import nn
from torch.export import ExportedProgram

from mfedge import __version__, runtimes
from mfedge.artifacts import folder as artifact
from mfedge.artifacts import parity
from mfedge.artifacts.manifest import FILE, SCHEMA, Manifest, TensorInfo, Weights, encode
from mfedge.checkpoint import load_weights, sha256
from mfedge.data.images import Preprocessing
from mfedge.data.labels import labels_for
from mfedge.deploy import deploy, trace
from mfedge.deploy.fuse_blocks import check_native
from mfedge.errors import ArtifactError, ParityError, UsageError
from mfedge.formats.operators import count_operators
from mfedge.kernels import find as native
from mfedge.reference import TorchSession
from mfedge.spec import MobileFormerSpec, Spec, to_dict
from mfedge.zoo import SEED, build, random_weights

MODEL_FILES = {"onnx": "model.onnx", "openvino": "model.xml", "tflite": "model.tflite"}
LIBRARIES = {
    "onnx": ("onnx", "onnx-ir", "onnxsim", "onnxruntime"),
    "openvino": ("openvino",),
    "tflite": ("ai-edge-litert", "flatbuffers"),
}
DYNAMIC_EXAMPLE = (224, 256)  # the size a dynamic export is traced at
LABELS = "labels.txt"

Progress = Callable[[str], None]


class Request(Struct, frozen=True):
    """What to export, once the command line or a target file has been read."""

    spec: Spec
    formats: tuple[str, ...]
    size: tuple[int, int] | None  # (height, width); None is dynamic
    precision: str = "fp32"
    weights: Path | None = None
    num_classes: int = 1000
    kernels: str = "portable"


def export(request: Request, output: Path, progress: Progress = lambda _: None) -> list[Path]:
    """Export one network in every format asked for.

    Args:
        request: what.
        output: the folder that the artifact folders go into.
        progress: called with what happens next.

    Returns:
        The artifact folders, in the order of `request.formats`.

    Raises:
        CheckpointError, UnsupportedError, ParityError, StorageError: nothing of that format was published.
        MissingRuntimeError: native kernels are asked for and not built.
    """
    check_size(request)
    check_kernels(request)
    destinations = [output / artifact_name(request, name) for name in request.formats]
    for destination in destinations:
        artifact.check_destination(destination)

    progress("building the network")
    network = build(request.spec, request.num_classes)
    weights = _fill(network, request.weights)
    progress("rewriting for inference")
    deployed = deploy(network, request.kernels)
    progress("tracing")
    program = trace(deployed, *(request.size or DYNAMIC_EXAMPLE), dynamic=request.size is None)
    for name, destination in zip(request.formats, destinations, strict=True):
        with artifact.staged(destination) as staging:
            _write(request, name, network, weights, program, staging, progress)
        progress(f"{name}: done")
    return destinations


def artifact_name(request: Request, format_name: str) -> str:
    """`mobile-former-214m-224x320-fp16-native-onnx`: one folder for everything that makes a file another file."""
    size = "dynamic" if request.size is None else "{}x{}".format(*request.size)
    native = "-native" if request.kernels == "native" else ""
    return f"{request.spec.name}-{size}-{request.precision}{native}-{format_name}"


def check_size(request: Request) -> None:
    """Raise UsageError where a network takes one size only, and another is asked for."""
    spec = request.spec
    if isinstance(spec, MobileFormerSpec) and spec.mixing == "position-mlp" and not spec.mobile_only:
        if request.size != (spec.image_size, spec.image_size):
            raise UsageError(
                f"size: a position-mixing MLP takes its image_size only, {spec.image_size}x{spec.image_size}; "
                f"pass that, or --set image_size=N"
            )


def check_kernels(request: Request) -> None:
    """Before anything is computed: raise as `deploy` would, and MissingRuntimeError if a file could not be proven."""
    if request.kernels == "native":
        check_native(request.spec)
        for name in request.formats:
            native.path(native.LIBRARY_OF_FORMAT[name])


def _fill(network: nn.Module, checkpoint: Path | None) -> Weights:
    """Load the checkpoint, or random weights, and say which."""
    if checkpoint is None:
        random_weights(network)
        return Weights(origin=f"random, seed {SEED}", random=True, sha256=None)
    load_weights(network, checkpoint)
    return Weights(origin=checkpoint.name, random=False, sha256=sha256(checkpoint))


def _write(
    request: Request,
    format_name: str,
    network: nn.Module,
    weights: Weights,
    program: ExportedProgram,
    staging: Path,
    progress: Progress,
) -> None:
    """Fill the staging folder: model, proof, labels, manifest."""
    model = staging / MODEL_FILES[format_name]
    progress(f"{format_name}: writing {model.name}")
    importlib.import_module(f"mfedge.formats.{format_name}.lower").write(program, model, request.precision)

    session = runtimes.load(model)
    preprocessing = Preprocessing()
    sizes = parity.proof_sizes(request.size or DYNAMIC_EXAMPLE, request.size is None)
    try:
        figures, logits = parity.prove(
            session,
            TorchSession(network, threads=2).run,
            sizes,
            request.precision,
            preprocessing,
            lambda size: progress(f"{format_name}: proving at {size}"),
        )
    except ParityError as error:
        raise ParityError(f"{request.spec.name} as {format_name}: {error}") from None
    parity.save_reference(staging / parity.REFERENCE, logits)

    labels = labels_for(request.num_classes)
    if labels is not None:
        (staging / LABELS).write_text("".join(f"{label}\n" for label in labels), "utf-8")
    height, width = request.size or (None, None)
    layout, shape = session.metadata.layout, (1, 3, height, width)
    manifest = Manifest(
        schema=SCHEMA,
        name=artifact_name(request, format_name),
        variant=request.spec.name,
        spec=to_dict(request.spec),
        num_classes=request.num_classes,
        format=format_name,  # type: ignore[arg-type]  # one of the three: MODEL_FILES has it
        precision=request.precision,  # type: ignore[arg-type]  # one of the two: parity.BOUNDS has it
        model=model.name,
        input=TensorInfo("images", shape if layout == "NCHW" else (1, height, width, 3), layout),
        output=TensorInfo("logits", (1, request.num_classes), "NC"),
        preprocessing=preprocessing,
        labels=None if labels is None else LABELS,
        weights=weights,
        operators=count_operators(model),
        parity=figures,
        versions=versions(format_name),
        files=artifact.file_sums(staging),
        kernels=request.kernels,  # type: ignore[arg-type]  # one of the two: deploy has refused others
        kernels_abi=native.ABI if request.kernels == "native" else UNSET,
    )
    (staging / FILE).write_bytes(encode(manifest))


def versions(format_name: str) -> dict[str, str]:
    """Of everything that had a hand in the bytes or in the proof."""
    names = ("torch", "numpy", "pillow", "matplotlib", *LIBRARIES[format_name])
    return {"mfedge": __version__, **{name: importlib.metadata.version(name) for name in names}}


def parse_formats(formats: Sequence[str]) -> tuple[str, ...]:
    """Formats as given, each once.

    Raises:
        UsageError: an unknown one, or none.
    """
    for name in formats:
        if name not in MODEL_FILES:
            raise UsageError(f"--format {name}: expected one of {', '.join(MODEL_FILES)}")
    if not formats:
        raise UsageError(f"--format: expected at least one of {', '.join(MODEL_FILES)}, or --target NAME")
    return tuple(dict.fromkeys(formats))


def verify(folder: Path, progress: Progress = lambda _: None) -> dict[str, Any]:
    """Check an artifact: sums, structure, and parity replayed from regenerated inputs.

    Returns:
        What was checked: files, operators, the largest relative error now and at the export.

    Raises:
        ArtifactError: damaged; the file is named.
        ParityError: it no longer computes what it did.
    """
    from mfedge.artifacts import manifest as manifests

    progress("reading the manifest")
    manifest = manifests.read(folder)
    progress("checking sums")
    artifact.check_sums(folder, manifest)
    progress("checking the structure")
    model = folder / manifest.model
    operators = count_operators(model)
    if operators != manifest.operators:
        raise ArtifactError(f"{model}: its operators are not those of the manifest; export it again")
    progress("replaying parity")
    again = parity.replay(folder, runtimes.load(model), manifest.parity, manifest.preprocessing)
    return {
        "artifact": manifest.name,
        "files": len(manifest.files) + 1,
        "operators": sum(operators.values()),
        "cases": len(again.cases),
        "bound": again.bound,
        "max_relative": max(case.max_relative for case in again.cases),
        "max_relative_at_export": max(case.max_relative for case in manifest.parity.cases),
        "runtime": f"{again.runtime} {again.runtime_version}",
        "random_weights": manifest.weights.random,
    }
