"""Input sizes as typed after --sizes or --size: "224..1024", "224..1024+32", "224,512,750", "320x256"."""

from __future__ import annotations

import re

from msgspec import Struct

from mfedge.errors import UsageError

SMALLEST, LARGEST = 32, 4096  # pixels a side: the networks' total stride; what one image of a small device may be
STEP = 80  # of a range that names none: 224..1024 in eleven sizes
MOST = 128  # sizes in one run


class Size(Struct, frozen=True, order=True):
    """Height and width of the input image, pixels."""

    height: int
    width: int

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


def parse_size(text: str) -> Size:
    """The one size of --size: N, a square, or HEIGHTxWIDTH.

    Raises:
        UsageError: not of this form, or a side below 32 or above 4096.
    """
    if not re.fullmatch(r"\d{1,6}(x\d{1,6})?", text, re.ASCII):
        raise UsageError(f"--size {text}: expected one size, 512 or HEIGHTxWIDTH, found {text!r}")
    (size,) = _item(text, f"--size {text}")
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
    if match := re.fullmatch(r"(\d{1,6})\.\.(\d{1,6})(?:\+(\d{1,6}))?", item, re.ASCII):
        first, last = _side(match[1], typed), _side(match[2], typed)
        step = STEP if match[3] is None else int(match[3])
        if step < 1:
            raise UsageError(f"{typed}: expected a step of at least 1, found +{match[3]}")
        if first > last:
            raise UsageError(f"{typed}: expected the smaller end first, found {first}..{last}")
        return [Size(side, side) for side in [*range(first, last, step), last]]
    if match := re.fullmatch(r"(\d{1,6})x(\d{1,6})", item, re.ASCII):
        return [Size(_side(match[1], typed), _side(match[2], typed))]
    if re.fullmatch(r"\d{1,6}", item, re.ASCII):
        side = _side(item, typed)
        return [Size(side, side)]
    raise UsageError(f"{typed}: expected 224..1024, 224..1024+32, 224,512 or HEIGHTxWIDTH, found {item!r}")


def _side(digits: str, typed: str) -> int:
    side = int(digits)
    if not SMALLEST <= side <= LARGEST:
        raise UsageError(f"{typed}: expected {SMALLEST} to {LARGEST} pixels a side, found {side}")
    return side
