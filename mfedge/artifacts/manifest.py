"""manifest.json: everything an app, or a later `mfedge verify`, has to know about an artifact."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mfedge.data.images import Preprocessing
from mfedge.errors import ArtifactError
from mfedge.kernels.find import ABI

FILE = "manifest.json"
SCHEMA = 1


class TensorInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """A model's input or output. A size of None is dynamic."""

    name: str
    shape: tuple[int | None, ...]
    layout: str  # "NCHW", "NHWC"; "NC" of the logits
    dtype: str = "float32"


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the numbers came from. `random` means: an artifact for measuring, never one to ship."""

    origin: str  # the checkpoint's file name, or "random, seed 0"
    random: bool
    sha256: str | None  # of the checkpoint file


class ParityCase(Struct, frozen=True, forbid_unknown_fields=True):
    """One input through the file and through the reference network."""

    input: str  # "random-0", "photograph"
    height: int
    width: int
    input_sha256: str  # of the float32 NCHW bytes: a replay knows that it regenerated the same input
    largest: float  # largest magnitude of the reference's logits
    max_absolute: float  # largest difference
    max_relative: float  # largest difference / `largest`: what the bound is about
    cosine: float
    top1_agrees: bool


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """How the file was proven equal to the reference network, in its own runtime."""

    runtime: str
    runtime_version: str
    bound: float
    cases: tuple[ParityCase, ...]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole manifest. No clock, no user, no path: the same export writes the same bytes."""

    schema: int
    name: str
    variant: str
    spec: dict[str, Any]
    num_classes: int
    format: Literal["onnx", "openvino", "tflite"]
    precision: Literal["fp32", "fp16"]
    model: str  # file name
    input: TensorInfo
    output: TensorInfo
    preprocessing: Preprocessing
    labels: str | None  # file name; None where the classes are the user's own
    weights: Weights
    operators: dict[str, int]
    parity: Parity
    versions: dict[str, str]
    files: dict[str, str]  # name → SHA-256, of every file but the manifest
    # Absent from manifests written before there were native kernels: those are portable.
    kernels: Literal["portable", "native"] | UnsetType = UNSET
    kernels_abi: int | UnsetType = UNSET  # of native ones: MFEDGE_ABI_VERSION of the library that the file needs
    sha256: str = ""  # of the manifest itself, with this field empty


def read(folder: Path) -> Manifest:
    """The manifest of an artifact folder.

    Raises:
        ArtifactError: there is none, or it is not one that this version reads.
    """
    path = folder / FILE
    try:
        data = path.read_bytes()
    except OSError:
        raise ArtifactError(f"{folder}: not an artifact: expected a folder with {FILE}") from None
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ArtifactError(f"{path}: damaged or not of schema {SCHEMA}: {error}") from None
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: damaged: {error}") from None
    if encode(manifest) != data:
        raise ArtifactError(f"{path}: changed since the export; export it again")
    if manifest.schema != SCHEMA:
        raise ArtifactError(f"{path}: expected schema {SCHEMA}, found {manifest.schema}; use the mfedge that wrote it")
    if manifest.kernels == "native" and manifest.kernels_abi != ABI:
        raise ArtifactError(
            f"{path}: its native operators are of ABI version {manifest.kernels_abi}, this mfedge has {ABI}; "
            "export it again"
        )
    return manifest


def encode(manifest: Manifest) -> bytes:
    """Indented JSON, keys in the order declared, the manifest's own checksum filled in."""
    unsigned = msgspec.json.encode(msgspec.structs.replace(manifest, sha256=""))
    signed = msgspec.structs.replace(manifest, sha256=hashlib.sha256(unsigned).hexdigest())
    return msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"
