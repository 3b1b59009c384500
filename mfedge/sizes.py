"""Input sizes as typed after --sizes or --size: "224..1024", "224..1024+32", "224,512,750", "320x256"."""

from __future__ import annotations

import re
from typing import Annotated, Literal, overload

from msgspec import Meta, Struct

from mfedge.errors import UsageError

SMALLEST, LARGEST = 32, 4096  # pixels per side: the networks' total stride; what one image of a small device may be
STEP = 80  # of a range that names none: 224..1024 in eleven sizes
MOST = 128  # sizes in one run


class Size(Struct, frozen=True, order=True):
    """Height and width of the input image, pixels."""

    height: Annotated[int, Meta(ge=1, le=LARGEST)]
    width: Annotated[int, Meta(ge=1, le=LARGEST)]

    @property
    def pixels(self) -> int:
        """Height × width."""
        return self.height * self.width

    @property
    def side(self) -> float:
        """The side of the square of as many pixels: what a chart's axis and the crossover are measured in."""
        return float(self.height) if self.height == self.width else float(self.pixels**0.5)

    def __str__(self) -> str:
        return str(self.height) if self.height == self.width else f"{self.height}x{self.width}"


DEFAULT = Size(224, 224)  # of ImageNet, where nothing else is asked for


@overload
def parse_size(text: str, dynamic: Literal[False] = False) -> Size: ...
@overload
def parse_size(text: str, dynamic: bool) -> Size | None: ...
def parse_size(text: str, dynamic: bool = False) -> Size | None:
    """The one size of --size: N, a square, or HEIGHTxWIDTH.

    Args:
        text: as typed.
        dynamic: whether "dynamic", which leaves height and width open, is allowed too; it gives None.

    Raises:
        UsageError: not of this form, or a side below 32 or above 4096.
    """
    if dynamic and text == "dynamic":
        return None
    typed = f"--size {text}"
    if not re.fullmatch(r"\d+(x\d+)?", text, re.ASCII):
        forms = '512, HEIGHTxWIDTH or "dynamic"' if dynamic else "512 or HEIGHTxWIDTH"
        raise UsageError(f"{typed}: expected one size, {forms}, found {text!r}")
    (size,) = _item(text, typed)
    return size


def parse_sizes(text: str) -> list[Size]:
    """The sizes, smallest first, no repeats.

    A comma separates items. An item is N (a square), HEIGHTxWIDTH, or FIRST..LAST[+STEP]: both ends are
    included, even if the last step is a shorter one; the step is 80 unless given.

    Raises:
        UsageError: not of this form, a side below 32 or above 4096, a range backwards, or over 128 sizes.
    """
    sizes: set[Size] = set()
    for item in text.split(","):
        sizes.update(_item(item.strip(), f"--sizes {text}"))
        if len(sizes) > MOST:
            raise UsageError(f"--sizes {text}: expected at most {MOST} sizes, found more; take a larger step")
    return sorted(sizes, key=lambda size: (size.pixels, size))


def _item(item: str, typed: str) -> list[Size]:
    if match := re.fullmatch(r"(\d+)\.\.(\d+)(?:\+(\d{1,6}))?", item, re.ASCII):
        first, last = _side(match[1], typed), _side(match[2], typed)
        step = STEP if match[3] is None else int(match[3])
        if step < 1:
            raise UsageError(f"{typed}: expected a step of at least 1, found +{match[3]}")
        if first > last:
            raise UsageError(f"{typed}: expected the smaller end first, found {first}..{last}")
        return [Size(side, side) for side in [*range(first, last, step), last]]
    if match := re.fullmatch(r"(\d+)x(\d+)", item, re.ASCII):
        return [Size(_side(match[1], typed), _side(match[2], typed))]
    if re.fullmatch(r"\d+", item, re.ASCII):
        side = _side(item, typed)
        return [Size(side, side)]
    raise UsageError(f"{typed}: expected 224..1024, 224..1024+32, 224,512 or HEIGHTxWIDTH, found {item!r}")


def _side(digits: str, typed: str) -> int:
    if len(digits) > 6 or not SMALLEST <= int(digits) <= LARGEST:
        raise UsageError(f"{typed}: expected {SMALLEST} to {LARGEST} pixels per side, found {digits[:12]}")
    return int(digits)
