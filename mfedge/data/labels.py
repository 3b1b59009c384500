"""The names of the classes, for a classifier that has ImageNet's thousand."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from mfedge import reading
from mfedge.errors import ArtifactError

IMAGENET_CLASSES = 1000
MOST_BYTES = 64 << 20


def labels_for(num_classes: int) -> list[str] | None:
    """ILSVRC 2012's names in the order every published checkpoint uses; None for another number of classes."""
    if num_classes != IMAGENET_CLASSES:
        return None
    return (resources.files("mfedge") / "data" / "imagenet_labels.txt").read_text("utf-8").splitlines()


def read(path: Path, num_classes: int) -> list[str]:
    """The labels of an artifact, one per line.

    Raises:
        ArtifactError: not a text of so many lines.
    """
    data = reading.read(path, MOST_BYTES, ArtifactError)
    try:
        found = data.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ArtifactError(f"{path}: not UTF-8: {error}") from None
    if len(found) != num_classes:
        raise ArtifactError(f"{path}: expected {num_classes} labels, one per line, found {len(found)}")
    return found
