"""Classification: logits to class probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from mfedge.arrays import Array

LOGITS = "logits"
OUTPUTS = {LOGITS: "NC"}


class Guess(Struct, frozen=True):
    """One class and its softmax probability."""

    index: int
    label: str
    probability: float


def agree(found: Mapping[str, Array], expected: Mapping[str, Array]) -> bool:
    """Whether every image's most probable class is the same."""
    return bool((found[LOGITS].argmax(axis=-1) == expected[LOGITS].argmax(axis=-1)).all())


def guesses(logits: Array, labels: Sequence[str] | None, top: int) -> tuple[Guess, ...]:
    """The most probable classes, first the most probable.

    Args:
        logits: (classes,).
        labels: a name per class; None calls them by number.
        top: how many.
    """
    scores = logits.astype(np.float64)
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple(Guess(int(i), labels[i] if labels else f"class {i}", float(probabilities[i])) for i in order)
