"""MobileNetV3 (Howard et al., ICCV 2019, arXiv 1905.02244), which Mobile-Former is measured against: spec and costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from mfedge.families.costs import PartCount, Tally
from mfedge.families.spec import Channels, Kernel, Paper, Spec, Stride

HEAD_RATIO = 6  # output channels of the last convolution, in input channels


class Bneck(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of MobileNetV3's Tables 1 and 2, at width 1.0."""

    kernel: Kernel
    expand: Channels
    out: Channels
    squeeze_excite: bool
    activation: Literal["relu", "hard-swish"]
    stride: Stride


class MobileNetV3Spec(Spec, frozen=True, forbid_unknown_fields=True, tag_field="family", tag="mobilenet-v3"):
    """MobileNetV3 (Howard et al., 2019): Table 1 (large) or 2 (small), times a width."""

    stem: Channels
    blocks: Annotated[tuple[Bneck, ...], Meta(min_length=1, max_length=64)]
    hidden: Channels
    width: Annotated[float, Meta(gt=0, le=4)] = 1.0
    paper: Paper = Paper()


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of 8 that is not more than 10 % below `channels` (every width of the family)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def parts(spec: MobileNetV3Spec, height: int, width: int, num_classes: int) -> Iterator[PartCount]:
    """The rows of `mfedge info --variant`, in the order they are computed, for one image of height × width.

    No paper-like count: the convention was fitted to Mobile-Former.
    """
    channels, H, W = make_divisible(spec.stem * spec.width), _strided(height, 2), _strided(width, 2)
    tally = Tally()
    tally.conv(3, channels, H * W, kernel=3)
    yield tally.row("features.0", "stem", (3, height, width), (channels, H, W), fitted=False)
    for i, row in enumerate(spec.blocks, start=1):
        tally, before = Tally(), (channels, H, W)
        expanded, out = make_divisible(row.expand * spec.width), make_divisible(row.out * spec.width)
        if expanded != channels:
            tally.conv(channels, expanded, H * W)
        H, W = _strided(H, row.stride), _strided(W, row.stride)
        tally.conv(expanded, expanded, H * W, row.kernel, groups=expanded)
        if row.squeeze_excite:
            squeezed = make_divisible(expanded / 4)
            tally.conv(expanded, squeezed, 1, bias=True)
            tally.conv(squeezed, expanded, 1, bias=True)
        tally.conv(expanded, out, H * W)
        channels = out
        yield tally.row(f"features.{i}", "inverted-residual", before, (channels, H, W), fitted=False)
    tally, last = Tally(), HEAD_RATIO * channels
    tally.conv(channels, last, H * W)
    name = f"features.{len(spec.blocks) + 1}"
    yield tally.row(name, "convolution", (channels, H, W), (last, H, W), fitted=False)
    tally = Tally()
    tally.linear(last, spec.hidden)
    tally.linear(spec.hidden, num_classes)
    yield tally.row("classifier", "classifier", (last,), (num_classes,), fitted=False)


def _strided(size: int, stride: int) -> int:
    return -(-size // stride)
