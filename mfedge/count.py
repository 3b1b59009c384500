"""Parameters and multiply-adds of a network, part by part, beside the paper's figures. Needs no PyTorch."""

from __future__ import annotations

from msgspec import Struct

from mfedge.errors import UsageError
from mfedge.families.costs import PartCount
from mfedge.families.spec import Paper, Spec
from mfedge.families.table import family_of


class Count(Struct, frozen=True):
    """A network's parameters and multiply-adds for one image; the rows of `blocks` add up to the totals."""

    name: str
    height: int
    width: int
    num_classes: int
    params: int
    madds: int
    madds_paper_like: float | None
    paper: Paper
    blocks: tuple[PartCount, ...]


def count(spec: Spec, height: int = 224, width: int = 224, num_classes: int = 1000) -> Count:
    """Count a network's parameters and the multiply-adds of one image (`mfedge.families.costs` says how).

    Args:
        spec: of any family.
        height: of the image, pixels.
        width: as `height`.
        num_classes: outputs of the classifier.

    Raises:
        UsageError: the network takes one size only (Table 7), and this is another.
    """
    check_size(spec, (height, width))
    rows = tuple(family_of(spec).parts(spec, height, width, num_classes))
    fitted = all(row.madds_paper_like is not None for row in rows)
    return Count(
        name=spec.name,
        height=height,
        width=width,
        num_classes=num_classes,
        params=sum(row.params for row in rows),
        madds=sum(row.madds for row in rows),
        madds_paper_like=sum(row.madds_paper_like or 0.0 for row in rows) if fitted else None,
        paper=getattr(spec, "paper", Paper()),
        blocks=rows,
    )


def check_size(spec: Spec, size: tuple[int, int] | None) -> None:
    """Raise UsageError if the network takes one (height, width) only and `size` is another; None is a dynamic one."""
    fixed = spec.fixed_size
    if fixed is not None and size != fixed:
        found = "dynamic" if size is None else "{}x{}".format(*size)
        raise UsageError(
            f"size: this network takes {fixed[0]}x{fixed[1]} only (a position-mixing MLP has a weight per pixel), "
            f"found {found}; pass that size, or --set image_size=N"
        )
