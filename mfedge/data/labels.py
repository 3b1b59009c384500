"""The names of the classes, for a classifier that has ImageNet's thousand."""

from __future__ import annotations

from importlib import resources

IMAGENET_CLASSES = 1000


def labels_for(num_classes: int) -> list[str] | None:
    """ILSVRC 2012's names in the order every published checkpoint uses; None for another number of classes."""
    if num_classes != IMAGENET_CLASSES:
        return None
    return (resources.files("mfedge") / "data" / "imagenet_labels.txt").read_text("utf-8").splitlines()
