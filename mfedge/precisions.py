"""One row per precision: how a file stores its weights, in what it is computed, and how close to PyTorch it must be."""

from __future__ import annotations

from msgspec import Struct

from mfedge.errors import UsageError


class Precision(Struct, frozen=True):
    """What `--precision` names. A format's writer reads `stored`; parity reads `bound`."""

    name: str
    stored: str  # numpy's name of the type that large weights have in the file
    compute: str  # numpy's name of the type that everything is computed in
    bound: float  # largest difference to the reference, relative to its largest magnitude
    label: str  # in a sentence
    min_elements: int = 0  # weights with fewer elements stay float32: there is nothing to save


PRECISIONS: dict[str, Precision] = {}


def add(precision: Precision) -> None:
    """Add a row.

    Raises:
        ValueError: there is one of that name.
    """
    if precision.name in PRECISIONS:
        raise ValueError(f"precision {precision.name}: there is one already")
    PRECISIONS[precision.name] = precision


def precision_named(name: str) -> Precision:
    """The row of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: expected one of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]


add(Precision("fp32", "float32", "float32", 1e-4, "float32"))
add(Precision("fp16", "float16", "float32", 2e-2, "weights stored as float16, computed in float32", 256))
