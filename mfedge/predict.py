"""From an artifact and an image file to class probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec import Struct

from mfedge.artifacts.session import load
from mfedge.data import labels
from mfedge.data.images import load_image, preprocess
from mfedge.errors import ArtifactError
from mfedge.sizes import DEFAULT
from mfedge.tasks.classify import LOGITS, Guess, guesses
from mfedge.workers import foreign


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
    written, session = load(folder, runtime, threads)
    image = load_image(photo)
    size = written.size or DEFAULT
    with foreign.opening(session.metadata.runtime, folder / written.model):
        outputs = session.run(preprocess(image, size.height, size.width, written.preprocessing))
    logits = outputs.get(LOGITS)
    if logits is None or logits.shape != (1, written.num_classes):
        found = "none" if logits is None else str(logits.shape)
        raise ArtifactError(f"{folder}: expected {written.num_classes} logits, found {found}; export it again")
    if not np.isfinite(logits).all():
        raise ArtifactError(f"{folder}: expected finite logits, found infinity or NaN; export it again")
    named = None if written.labels is None else labels.read(folder / written.labels, written.num_classes)
    return Prediction(
        artifact=written.name,
        runtime=f"{session.metadata.runtime} {session.metadata.version}",
        height=size.height,
        width=size.width,
        random_weights=written.weights.random,
        classes=guesses(logits[0], named, top),
    )
