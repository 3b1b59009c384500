"""Parameters and multiply-adds of a Mobile-Former, block by block (paper, Table 11 and section 3)."""

from __future__ import annotations

from collections.abc import Iterator

from mfedge.families.costs import DYNAMIC_RELU, RELU6, SOFTMAX, PartCount, Tally
from mfedge.families.mobile_former.spec import (
    BRIDGE_HEADS,
    FFN_RATIO,
    FORMER_HEADS,
    HYPER_REDUCTION,
    MF,
    MIXING_RATIO,
    Lite,
    MFDown,
    MobileFormerSpec,
)
from mfedge.families.spec import halved


def parts(spec: MobileFormerSpec, height: int, width: int, num_classes: int) -> Iterator[PartCount]:
    """The rows of `mfedge info --variant`, in the order they are computed, for one image of height × width."""
    D, M = spec.token_dim, spec.tokens
    has_tokens = not spec.mobile_only
    if has_tokens:
        yield PartCount("tokens", "learned tokens", (M, D), (M, D), M * D, 0, 0.0)
    H, W = halved(height), halved(width)
    tally = Tally()
    tally.conv(3, spec.stem, H * W, kernel=3)
    tally.elements(spec.stem * H * W, RELU6)
    yield tally.row("stem", "stem", (3, height, width), (spec.stem, H, W))
    channels = spec.stem
    for i, block in enumerate(spec.blocks):
        tally, before = Tally(), (channels, H, W)
        halves = isinstance(block, MFDown) or (isinstance(block, Lite) and block.stride == 2)
        pixels, H, W = H * W, halved(H) if halves else H, halved(W) if halves else W
        if isinstance(block, Lite):
            tally.conv(channels, block.expand, H * W, spec.kernel, groups=channels)
            tally.elements(block.expand * H * W, RELU6)
            tally.conv(block.expand, block.out, H * W, groups=spec.groups)
        else:
            if has_tokens:
                _mobile_to_former(tally, spec, channels, pixels)
                _former(tally, spec)
            _mobile(tally, spec, block, channels, H * W)
            if has_tokens:
                _former_to_mobile(tally, spec, block.out, H * W)
        channels = block.out
        kind = str(block.__struct_config__.tag)
        yield tally.row(f"blocks.{i}", kind, before, (channels, H, W))
    if has_tokens:
        tally = Tally()
        _mobile_to_former(tally, spec, channels, H * W)
        last = tally.row("mobile_to_former", "last bridge", (channels, H, W), (M, D))
        yield PartCount(last.name, last.kind, last.input, last.output, last.params, last.madds, 0.0)
    tally = Tally()
    tally.conv(channels, spec.head.channels, H * W, groups=spec.groups)
    tally.elements(spec.head.channels * H * W + spec.head.channels + spec.head.hidden, RELU6)
    tally.linear(spec.head.channels + (D if has_tokens else 0), spec.head.hidden)
    tally.norm(spec.head.hidden)
    tally.linear(spec.head.hidden, num_classes)
    yield tally.row("classifier", "classifier", (channels, H, W), (num_classes,))


def _mobile_to_former(tally: Tally, spec: MobileFormerSpec, channels: int, pixels: int) -> None:
    D, M = spec.token_dim, spec.tokens
    if spec.mixing == "position-mlp":
        tally.linear(pixels, M, rows=channels)
    else:
        tally.linear(D, channels, rows=M)  # query
        tally.linear(D, channels, rows=M)  # gate, which the paper-like convention leaves out
        tally.elements(-D * channels * M, 1)
        tally.matmul(2 * M * channels * pixels)
        tally.elements(BRIDGE_HEADS * M * pixels, SOFTMAX)
    tally.linear(channels, D, rows=M)
    tally.norm(D)


def _former(tally: Tally, spec: MobileFormerSpec) -> None:
    D, M = spec.token_dim, spec.tokens
    if spec.mixing == "position-mlp":
        tally.linear(M, MIXING_RATIO * M, rows=D)
        tally.linear(MIXING_RATIO * M, M, rows=D)
    else:
        tally.linear(D, D, rows=M)  # query
        tally.matmul(2 * M * M * D)
        tally.elements(FORMER_HEADS * M * M, SOFTMAX)
    tally.linear(D, D, rows=M)
    tally.norm(D)
    if spec.former_ffn:
        tally.linear(D, FFN_RATIO * D, rows=M)
        tally.linear(FFN_RATIO * D, D, rows=M)
        tally.norm(D)


def _former_to_mobile(tally: Tally, spec: MobileFormerSpec, channels: int, pixels: int) -> None:
    D, M = spec.token_dim, spec.tokens
    tally.linear(D, channels, rows=M)  # value
    if spec.mixing == "position-mlp":
        tally.linear(M, pixels, rows=channels)
        return
    tally.linear(D, channels, rows=M)  # key
    tally.matmul(2 * M * channels * pixels)
    tally.elements(BRIDGE_HEADS * M * pixels, SOFTMAX)


def _mobile(tally: Tally, spec: MobileFormerSpec, block: MF | MFDown, channels: int, pixels: int) -> None:
    """The convolutional half of a block; `pixels` of its output."""
    if isinstance(block, MFDown):
        tally.conv(channels, block.expand, pixels, spec.kernel, groups=channels)
        _activation(tally, spec, block.expand, pixels)
        tally.conv(block.expand, block.out, pixels, groups=spec.groups)
        tally.conv(block.out, block.expand2, pixels, spec.kernel, groups=block.out)
        _activation(tally, spec, block.expand2, pixels)
        tally.conv(block.expand2, block.out, pixels, groups=spec.groups)
    else:
        tally.conv(channels, block.expand, pixels, groups=spec.groups)
        _activation(tally, spec, block.expand, pixels)
        tally.conv(block.expand, block.expand, pixels, spec.kernel, groups=block.expand)
        _activation(tally, spec, block.expand, pixels)
        tally.conv(block.expand, block.out, pixels, groups=spec.groups)


def _activation(tally: Tally, spec: MobileFormerSpec, channels: int, pixels: int) -> None:
    if spec.activation == "relu":
        tally.elements(channels * pixels, RELU6)
        return
    spatial = spec.activation == "spatial-dynamic-relu"  # equation 3: slopes of all tokens, mixed per pixel
    rows, hidden = spec.tokens if spatial else 1, spec.token_dim // HYPER_REDUCTION
    tally.linear(spec.token_dim, hidden, rows)
    tally.linear(hidden, 2 * channels, rows)
    if spatial:
        tally.matmul(2 * channels * spec.tokens * pixels)
    tally.elements(channels * pixels, DYNAMIC_RELU)
