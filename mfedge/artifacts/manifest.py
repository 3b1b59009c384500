"""manifest.json: everything an app, or a later `mfedge verify`, has to know about an artifact.

Schema 2. Manifests of schema 1, which have one output, the logits, are read as if they had been written so
(`manifest_1`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from mfedge import reading
from mfedge.artifacts import manifest_1
from mfedge.artifacts.folder import MANIFEST, check_sums
from mfedge.data.images import Preprocessing
from mfedge.errors import ArtifactError
from mfedge.families.spec import Name
from mfedge.formats.table import FORMATS
from mfedge.kernels.find import ABI, KERNELS
from mfedge.precisions import PRECISIONS
from mfedge.runtimes.table import RUNTIMES
from mfedge.sizes import LARGEST, Size
from mfedge.tasks.table import TASKS

SCHEMA = 2
STORED = reading.Stored("a manifest", "", SCHEMA, 16 << 20, ArtifactError)

Side = Annotated[int, Meta(ge=1, le=LARGEST)]  # of an input, pixels
Dimension = Annotated[int, Meta(ge=1, le=1 << 31)]
Magnitude = Annotated[float, Meta(ge=0, le=1e38)]  # of float32 numbers
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class TensorInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """A model's input or output. A size of None is dynamic."""

    name: str
    shape: Annotated[tuple[Dimension | None, ...], Meta(max_length=8)]
    layout: str  # a letter per dimension: "NCHW", "NHWC", "NC"
    dtype: str = "float32"


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the numbers came from. `random` means: an artifact for measuring, never one to ship."""

    origin: str  # the checkpoint's file name, or "random, seed 0"
    random: bool
    sha256: str | None  # of the checkpoint file


class OutputParity(Struct, frozen=True, forbid_unknown_fields=True):
    """How far one output of the file is from the reference's."""

    largest: Magnitude  # largest magnitude of the reference
    max_absolute: Magnitude  # largest difference
    max_relative: Magnitude  # largest difference / `largest`: what the bound is about
    cosine: float


class ParityCase(Struct, frozen=True, forbid_unknown_fields=True):
    """One input through the file and through the reference network."""

    input: str  # "random-0", "photograph"
    height: Side
    width: Side
    input_sha256: str  # of the float32 NCHW bytes: a replay knows that it has the same input
    outputs: Annotated[dict[str, OutputParity], Meta(min_length=1)]
    agrees: bool  # in the task's sense: for a classifier, the most probable class is the same

    @property
    def max_relative(self) -> float:
        """Of the output that is furthest off."""
        return max(output.max_relative for output in self.outputs.values())

    @property
    def key(self) -> str:
        """The case's name among the proof's tensors."""
        return f"{self.input}_{self.height}x{self.width}"


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """How the file was proven equal to the reference network, in its own runtime."""

    runtime: str
    runtime_version: str
    bound: Annotated[float, Meta(gt=0, lt=1)]
    cases: Annotated[tuple[ParityCase, ...], Meta(min_length=1, max_length=256)]

    @property
    def max_relative(self) -> float:
        """Of the case that is furthest off."""
        return max(case.max_relative for case in self.cases)


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole manifest. No clock, no user, no path: the same export writes the same bytes."""

    schema: int
    name: str
    variant: str
    spec: dict[str, Any]
    task: str  # of mfedge.tasks.table: what the outputs mean
    num_classes: Annotated[int, Meta(ge=1, le=1_000_000)]
    format: str  # of mfedge.formats.table
    precision: str  # of mfedge.precisions
    kernels: str  # "portable" or "native"
    kernels_abi: int | None  # of native ones: MFEDGE_ABI_VERSION of the library that the file needs
    model: Name  # of its file
    input: TensorInfo
    outputs: Annotated[tuple[TensorInfo, ...], Meta(min_length=1, max_length=16)]
    preprocessing: Preprocessing
    labels: Name | None  # file name; None where the classes are the user's own
    weights: Weights
    operators: dict[str, int]
    parity: Parity
    versions: dict[str, str]
    files: Annotated[dict[Name, Digest], Meta(max_length=64)]  # name → SHA-256, of every file but the manifest
    sha256: str = ""  # of the manifest itself, with this field empty

    @property
    def size(self) -> Size | None:
        """What the model takes; None if height or width is dynamic."""
        sides = dict(zip(self.input.layout, self.input.shape, strict=True))
        height, width = sides["H"], sides["W"]
        return None if height is None or width is None else Size(height, width)


def opened(folder: Path) -> Manifest:
    """The manifest of an artifact folder whose files are the ones that were exported, and whose model is what it says.

    Raises:
        ArtifactError: as `read`; a file is missing, added or changed; or the model has other kernels.
    """
    manifest = read(folder)
    check_sums(folder, manifest.files)
    model, row = folder / manifest.model, RUNTIMES[FORMATS[manifest.format].runtime]
    found = "native" if row.kernels and row.open().is_native(model) else "portable"
    if found != manifest.kernels:
        raise ArtifactError(f"{model}: kernels: the manifest says {manifest.kernels}, found {found}; export it again")
    return manifest


def read(folder: Path) -> Manifest:
    """The manifest of an artifact folder.

    Raises:
        ArtifactError: there is none, it is damaged, or a newer mfedge has written it.
    """
    path = folder / MANIFEST
    if not os.path.isfile(path):
        raise ArtifactError(f"{folder}: not an artifact: expected a folder with {MANIFEST}")
    manifest = reading.load(path, STORED, {1: lambda data: _of_1(path, data), 2: lambda data: _of_2(path, data)})
    _known(path, "task", manifest.task, TASKS)
    _known(path, "format", manifest.format, FORMATS)
    _known(path, "precision", manifest.precision, PRECISIONS)
    _known(path, "kernels", manifest.kernels, KERNELS)
    _known(path, "model", Path(manifest.model).suffix, (FORMATS[manifest.format].suffix,))
    _known(path, "model", manifest.model, manifest.files)
    _known(path, "labels", manifest.labels, (*manifest.files, None))
    _known(path, "input.layout", manifest.input.layout, ("NCHW", "NHWC"))
    _known(path, "input.shape: dimensions", len(manifest.input.shape), (4,))
    for tensor in (manifest.input, *manifest.outputs):
        _known(path, f"{tensor.name}: dtype", tensor.dtype, ("float32",))
    if manifest.parity.bound > PRECISIONS[manifest.precision].bound:
        raise ArtifactError(f"{path}: parity.bound: more than {manifest.precision} allows; export it again")
    size = manifest.size
    for case in manifest.parity.cases:
        if size not in (None, Size(case.height, case.width)):
            raise ArtifactError(f"{path}: the model takes {size}, and a parity case is of {case.height}x{case.width}")
    if manifest.kernels == "native" and manifest.kernels_abi != ABI:
        raise ArtifactError(
            f"{path}: its native operators are of ABI version {manifest.kernels_abi}, this mfedge has {ABI}; "
            "export it again"
        )
    return manifest


def _known(path: Path, field: str, found: object, known: Collection[object]) -> None:
    if found not in known:
        raise ArtifactError(f"{path}: {field}: expected one of {', '.join(map(str, known))}, found {found!r}")


def encode(manifest: Manifest) -> bytes:
    """Indented JSON, keys in the order declared, the manifest's own checksum filled in."""
    unsigned = msgspec.json.encode(msgspec.structs.replace(manifest, sha256=""))
    signed = msgspec.structs.replace(manifest, sha256=hashlib.sha256(unsigned).hexdigest())
    return msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"


def _of_2(path: Path, data: bytes) -> Manifest:
    manifest = msgspec.json.decode(data, type=Manifest)
    if encode(manifest) != data:
        raise ArtifactError(f"{path}: changed since the export; export it again")
    return manifest


def _of_1(path: Path, data: bytes) -> Manifest:
    old = manifest_1.decode(data)
    if old is None:
        raise ArtifactError(f"{path}: changed since the export; export it again")
    cases = tuple(
        ParityCase(
            case.input,
            case.height,
            case.width,
            case.input_sha256,
            {old.output.name: OutputParity(case.largest, case.max_absolute, case.max_relative, case.cosine)},
            case.top1_agrees,
        )
        for case in old.parity.cases
    )
    common = {name: getattr(old, name) for name in old.__struct_fields__ if name in Manifest.__struct_fields__}
    made = {
        **common,
        "task": "classify",
        "kernels": old.kernels or "portable",
        "kernels_abi": old.kernels_abi or None,
        "input": TensorInfo(*msgspec.structs.astuple(old.input)),
        "outputs": (TensorInfo(*msgspec.structs.astuple(old.output)),),
        "preprocessing": msgspec.convert(msgspec.to_builtins(old.preprocessing), Preprocessing),
        "weights": Weights(*msgspec.structs.astuple(old.weights)),
        "parity": Parity(old.parity.runtime, old.parity.runtime_version, old.parity.bound, cases),
    }
    return msgspec.convert(msgspec.to_builtins(Manifest(**made)), Manifest)  # which checks every field
