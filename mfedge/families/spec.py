"""What the specs of all families share: the kinds of their fields, the paper's figures, and the base they extend."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Channels = Annotated[int, Meta(ge=1, le=8192)]
Stride = Annotated[int, Meta(ge=1, le=2)]
Kernel = Literal[1, 3, 5, 7]
# An artifact's folder is named after it: no path, nothing hidden, nothing unprintable.
Name = Annotated[str, Meta(pattern=r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,99}\Z")]


class Paper(Struct, frozen=True, forbid_unknown_fields=True):
    """The paper's figures for this variant at 224×224, printed beside ours and used for nothing else."""

    params_millions: float | None = None
    madds_millions: float | None = None
    top1: float | None = None


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    """A network as data, frozen and validated. A family extends it, with `family` as the tag that its TOML states."""

    name: Name

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """The only (height, width) that the network takes, pixels; None where it takes any."""
        return None

    def check(self) -> None:
        """Raise ValueError, "field: expected …, found …", for what one field alone cannot tell."""


def to_dict(spec: Spec) -> dict[str, object]:
    """Plain data, as in the TOML file; msgspec.convert() makes the spec again."""
    data = msgspec.to_builtins(spec)
    assert isinstance(data, dict)
    return data


def halved(size: int) -> int:
    """Output size of a convolution of stride 2 with its padding: ⌈size / 2⌉."""
    return (size + 1) // 2
