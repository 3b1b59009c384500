"""manifest.json of schema 1, as mfedge wrote it until detectors came: one output, the logits of a classifier.

Frozen: artifacts of this schema are verified for as long as there is mfedge.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType


class Preprocessing(Struct, frozen=True, forbid_unknown_fields=True):
    """How a photograph becomes the network's input."""

    crop: float = 0.875
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


class TensorInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """A model's input or output. A size of None is dynamic."""

    name: str
    shape: tuple[int | None, ...]
    layout: str
    dtype: str = "float32"


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the numbers came from."""

    origin: str
    random: bool
    sha256: str | None


class ParityCase(Struct, frozen=True, forbid_unknown_fields=True):
    """One input through the file and through the reference network."""

    input: str
    height: int
    width: int
    input_sha256: str
    largest: float
    max_absolute: float
    max_relative: float
    cosine: float
    top1_agrees: bool


class Parity(Struct, frozen=True, forbid_unknown_fields=True):
    """How the file was proven."""

    runtime: str
    runtime_version: str
    bound: float
    cases: tuple[ParityCase, ...]


class Manifest1(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole manifest."""

    schema: int
    name: str
    variant: str
    spec: dict[str, Any]
    num_classes: int
    format: str
    precision: str
    model: str
    input: TensorInfo
    output: TensorInfo
    preprocessing: Preprocessing
    labels: str | None
    weights: Weights
    operators: dict[str, int]
    parity: Parity
    versions: dict[str, str]
    files: dict[str, str]
    kernels: str | UnsetType = UNSET  # absent before there were native kernels
    kernels_abi: int | UnsetType = UNSET
    sha256: str = ""


def decode(data: bytes) -> Manifest1 | None:
    """The manifest; None if it is not, byte for byte, what was written under its own checksum.

    Raises:
        msgspec.MsgspecError: a field is not as the schema says.
    """
    manifest = msgspec.json.decode(data, type=Manifest1)
    unsigned = msgspec.json.encode(msgspec.structs.replace(manifest, sha256=""))
    signed = msgspec.structs.replace(manifest, sha256=hashlib.sha256(unsigned).hexdigest())
    written = msgspec.json.format(msgspec.json.encode(signed), indent=2) + b"\n"
    return manifest if written == data else None
