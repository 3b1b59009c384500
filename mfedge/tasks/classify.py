"""From an artifact and an image file to class probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import Struct

from mfedge import runtimes
from mfedge.artifacts import folder as artifact
from mfedge.artifacts import manifest
from mfedge.data.images import load_image, preprocess
from mfedge.errors import ArtifactError

DEFAULT_SIZE = 224  # of a dynamic model


class Guess(Struct, frozen=True):
    """One class and its softmax probability."""

    index: int
    label: str
    probability: float


class Prediction(Struct, frozen=True):
    """The most probable classes, first the most probable."""

    artifact: str
    runtime: str
    height: int
    width: int
    random_weights: bool
    classes: tuple[Guess, ...]


def classify(folder: Path, photo: Path, top: int = 5, runtime: str | None = None, threads: int = 1) -> Prediction:
    """Run one photograph through an artifact.

    Raises:
        ArtifactError: damaged; InputError: the image cannot be read; MissingRuntimeError.
    """
    written = manifest.read(folder)
    artifact.check_sums(folder, written)
    image = load_image(photo)
    session = runtimes.load(folder, runtime, threads)
    sides = written.input.shape[2:] if written.input.layout == "NCHW" else written.input.shape[1:3]
    height, width = (side or DEFAULT_SIZE for side in sides)
    logits = session.run(preprocess(image, height, width, written.preprocessing))[0].astype(np.float64)
    if logits.shape != (written.num_classes,):
        raise ArtifactError(f"{folder}: expected {written.num_classes} logits, found {logits.shape}; export it again")
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    labels = None if written.labels is None else (folder / written.labels).read_text("utf-8").splitlines()
    order = np.argsort(-probabilities, kind="stable")[:top]
    return Prediction(
        artifact=written.name,
        runtime=f"{session.metadata.runtime} {session.metadata.version}",
        height=height,
        width=width,
        random_weights=written.weights.random,
        classes=tuple(Guess(int(i), labels[i] if labels else f"class {i}", float(probabilities[i])) for i in order),
    )
