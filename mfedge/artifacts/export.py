"""The straight line: spec → network → weights → deploy → trace → lower → parity → manifest → publish."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct
from torch import fx, nn
from torch.export import ExportedProgram

from mfedge import __version__, runtimes
from mfedge.artifacts import folder, parity, proof
from mfedge.artifacts.manifest import SCHEMA, Manifest, TensorInfo, Weights, encode
from mfedge.artifacts.request import Request, weights_sha256
from mfedge.checkpoint import load_weights
from mfedge.data.images import Preprocessing
from mfedge.data.labels import labels_for
from mfedge.deploy import deploy, trace
from mfedge.errors import ParityError
from mfedge.families.spec import to_dict
from mfedge.families.table import family_of
from mfedge.formats.table import Format
from mfedge.kernels.find import ABI
from mfedge.reference import TorchSession
from mfedge.sizes import Size
from mfedge.tasks.table import TASKS, Task
from mfedge.zoo import SEED, build, random_weights

DYNAMIC_EXAMPLE = Size(224, 256)  # the size a dynamic export is traced at
LABELS = "labels.txt"

Progress = Callable[[str], None]


class Source(Struct, frozen=True):
    """What every format of one export starts from."""

    network: nn.Module  # the reference
    weights: Weights
    task: Task
    deployed: fx.GraphModule
    program: ExportedProgram


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
    """
    destinations = [output / request.name(row) for row in request.formats]
    for destination in destinations:
        folder.check_destination(destination)
    source = _source(request, progress)
    for row, destination in zip(request.formats, destinations, strict=True):
        with folder.staged(destination) as staging:
            _write(request, row, source, staging, progress)
        progress(f"{row.name}: done")
    return destinations


def _source(request: Request, progress: Progress) -> Source:
    progress("building the network")
    network = build(request.spec, request.num_classes)
    weights = _fill(network, request.weights)
    progress("rewriting for inference")
    deployed = deploy(network, request.kernels)
    progress(", ".join(f"{name} {count}" for name, count in deployed.meta["rewrites"].items() if count))
    progress("tracing")
    size = request.size or DYNAMIC_EXAMPLE
    program = trace(deployed, size.height, size.width, dynamic=request.size is None)
    return Source(network, weights, TASKS[family_of(request.spec).task], deployed, program)


def _fill(network: nn.Module, checkpoint: Path | None) -> Weights:
    """Load the checkpoint, or random weights, and say which."""
    if checkpoint is None:
        random_weights(network)
        return Weights(origin=f"random, seed {SEED}", random=True, sha256=None)
    load_weights(network, checkpoint)
    return Weights(origin=checkpoint.name, random=False, sha256=weights_sha256(checkpoint))


def _write(request: Request, row: Format, source: Source, staging: Path, progress: Progress) -> None:
    """Fill the staging folder: model, proof, labels, manifest."""
    model = staging / row.model_file
    progress(f"{row.name}: writing {model.name}")
    row.write(source.program, model, request.precision, tuple(source.task.outputs))

    session = runtimes.load(model, row.runtime)
    preprocessing = Preprocessing()
    try:
        figures, proven = parity.prove(
            session,
            TorchSession(source.network, threads=2).run,
            parity.proof_sizes(request.size or DYNAMIC_EXAMPLE, request.size is None),
            request.precision,
            preprocessing,
            source.task,
            lambda size: progress(f"{row.name}: proving at {size}"),
        )
    except ParityError as error:
        raise ParityError(f"{request.spec.name} as {row.name}: {error}") from None
    (staging / proof.FILE).write_bytes(proven.encode())

    labels = labels_for(request.num_classes)
    if labels is not None:
        (staging / LABELS).write_text("".join(f"{label}\n" for label in labels), "utf-8")
    height, width = (None, None) if request.size is None else (request.size.height, request.size.width)
    layout = session.metadata.layout
    manifest = Manifest(
        schema=SCHEMA,
        name=request.name(row),
        variant=request.spec.name,
        spec=to_dict(request.spec),
        task=source.task.name,
        num_classes=request.num_classes,
        format=row.name,
        precision=request.precision.name,
        kernels=request.kernels,
        kernels_abi=ABI if request.kernels == "native" else None,
        model=model.name,
        input=TensorInfo("images", (1, 3, height, width) if layout == "NCHW" else (1, height, width, 3), layout),
        outputs=_outputs(source),
        preprocessing=preprocessing,
        labels=None if labels is None else LABELS,
        weights=source.weights,
        operators=row.operators(model),
        parity=figures,
        versions=_versions(row),
        files=folder.file_sums(staging),
    )
    (staging / folder.MANIFEST).write_bytes(encode(manifest))


def _outputs(source: Source) -> tuple[TensorInfo, ...]:
    """Names and layouts are the task's, shapes the trace's."""
    nodes = source.program.graph.output_node().args[0]
    shapes = [tuple(s if isinstance(s, int) else None for s in node.meta["val"].shape) for node in nodes]
    return tuple(
        TensorInfo(name, shape, layout)
        for (name, layout), shape in zip(source.task.outputs.items(), shapes, strict=True)
    )


def _versions(row: Format) -> dict[str, str]:
    """Of everything that had a hand in the bytes or in the proof."""
    names = ("torch", "numpy", "pillow", *row.libraries)
    return {"mfedge": __version__, **{name: importlib.metadata.version(name) for name in names}}
