"""How a whole block is one operator: its sizes, and where each of its weights lies in two flat vectors.

`mfedge_kernels.h` states the same layout for C. The names are those of the parameters in the deployed network, so
that this file is also the list of what has to be gathered; a Linear's or convolution's weight is row-major, outputs
first. Vectors (convolutions, biases, LayerNorms) and matrices (of Linear layers) are kept apart because a
matrix may be stored as half and a vector never is.

Two names are not an operator's own. `next.` is the Mobile→Former behind a block, of the next block or the head: the
block attends for it to the map that it writes. The stem does so for the first one, whose query depends on the learned
tokens alone and is a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from math import prod
from typing import NamedTuple

from torch import Tensor

MAX_TOKENS = 16  # of a native kernel: the attention over tokens is kept in registers
MAX_HEADS = 64
# MFEDGE_PADDING_ROWS: rows of zeros below the pixels of every map that an operator hands on. Without them its channels
# often lie a power of two apart, where the lines that are worked on together share few of the cache's sets.
PADDING_ROWS = 1

Part = tuple[str, tuple[int, ...]]  # name → shape
Layout = tuple[Part, ...]  # in order
# The Linear layers D → C' between a block's new tokens and the map that it writes.
TO_MAP = ("former_to_mobile.key", "former_to_mobile.value", "next.mobile_to_former.query")


class Kind(IntEnum):
    """mfedge_kind."""

    STEM = 1
    BLOCK = 2
    HEAD = 3
    TOKENS = 4
    MOBILE_TO_FORMER = 5
    FORMER_TO_MOBILE = 6
    DYNAMIC_RELU = 7


class Config(NamedTuple):
    """The integers of mfedge_config, in its order. What a kind does not use is 0."""

    in_channels: int = 0  # C
    expand: int = 0  # E; E1 of a downsampling block; the head's pointwise convolution
    out_channels: int = 0  # C', of the map that is written
    expand2: int = 0  # E2 of a downsampling block
    stride: int = 0
    tokens: int = 0  # M
    token_dim: int = 0  # D
    heads: int = 0  # N of the bridge, on the map that is written
    former_heads: int = 0
    ffn: int = 0  # 0: no feed-forward layer
    hyper: int = 0  # 0: ReLU6 in place of dynamic ReLU
    hidden: int = 0
    classes: int = 0

    @property
    def second(self) -> int:
        """Channels of the second activation."""
        return self.expand2 if self.stride == 2 else self.expand


def vectors(kind: Kind, config: Config) -> Layout:
    """The parts of `weights`, float32, in order."""
    c = config
    if kind is Kind.STEM:
        return (
            *_conv("stem.0.conv", c.in_channels, 3, 3),
            *_conv("blocks.0.mobile.depthwise.conv", c.expand, 1, 3),
            *_conv("blocks.0.mobile.project.conv", c.out_channels, c.expand, 1),
            ("blocks.1.mobile_to_former.query", (c.tokens, c.out_channels)),
        )
    if kind is Kind.HEAD:
        return (
            *_bridge_vectors(c),
            *_conv("classifier.conv.conv", c.expand, c.in_channels, 1),
            ("classifier.hidden.bias", (c.hidden,)),
            ("classifier.classify.bias", (c.classes,)),
        )
    if kind is Kind.TOKENS:
        return _token_vectors(c)[:-1]  # no map, so no query of it
    if kind is Kind.BLOCK and c.stride == 1:
        return (
            *_conv("mobile.expand.conv", c.expand, c.in_channels, 1),
            *_conv("mobile.depthwise.conv", c.expand, 1, 3),
            *_conv("mobile.project.conv", c.out_channels, c.expand, 1),
            *_token_vectors(c),
        )
    if kind is Kind.BLOCK:
        return (
            *_conv("mobile.depthwise1.conv", c.expand, 1, 3),
            *_conv("mobile.project1.conv", c.out_channels, c.expand, 1),
            *_conv("mobile.depthwise2.conv", c.expand2, 1, 3),
            *_conv("mobile.project2.conv", c.out_channels, c.expand2, 1),
            *_token_vectors(c),
        )
    return ()


def matrices(kind: Kind, config: Config) -> Layout:
    """The parts of `matrices`, float32 or float16, in order."""
    C, D = config.in_channels, config.token_dim
    bridge: Layout = (("mobile_to_former.gate.0.weight", (C, D)), ("mobile_to_former.project.weight", (D, C)))
    if kind is Kind.HEAD:
        return (
            *bridge,
            ("classifier.hidden.weight", (config.hidden, config.expand + D)),
            ("classifier.classify.weight", (config.classes, config.hidden)),
        )
    if kind not in (Kind.BLOCK, Kind.TOKENS):
        return ()
    parts = [*bridge, ("former.query.weight", (D, D)), ("former.project.weight", (D, D))]
    if config.ffn:
        parts += [("former.ffn.expand.weight", (config.ffn, D)), ("former.ffn.project.weight", (D, config.ffn))]
    if config.hyper:
        for act, channels in (("mobile.act1", config.expand), ("mobile.act2", config.second)):
            parts += [
                (f"{act}.hyper.0.weight", (config.hyper, D)),
                (f"{act}.hyper.2.weight", (2 * channels, config.hyper)),
            ]
    parts += [(f"{name}.weight", (config.out_channels, D)) for name in TO_MAP]
    return tuple(parts[:-1] if kind is Kind.TOKENS else parts)


def count(layout: Layout) -> int:
    """Elements of a vector laid out so."""
    return sum(prod(shape) for _, shape in layout)


def split(vector: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Views of a flat vector, by name, in the shapes that torch's layers have."""
    parts = vector.split([prod(shape) for _, shape in layout])
    return {name: part.view(shape) for (name, shape), part in zip(layout, parts, strict=True)}


def check_config(kind: Kind, config: Sequence[int]) -> Config:
    """The sizes by name.

    Raises:
        ValueError: not thirteen sizes, or some that do not fit together; the field is named.
    """
    operator = f"mfedge::{kind.name.lower()}"
    if len(config) != len(Config._fields):
        raise ValueError(f"{operator}: config must have {len(Config._fields)} integers, found {len(config)}")
    c = Config(*config)
    needed = {
        Kind.STEM: ("in_channels", "expand", "out_channels", "tokens", "heads"),
        Kind.BLOCK: ("in_channels", "expand", "out_channels", "tokens", "token_dim", "heads", "former_heads"),
        Kind.HEAD: ("in_channels", "expand", "tokens", "token_dim", "hidden", "classes"),
    }[kind]
    for field in needed:
        if getattr(c, field) < 1:
            raise ValueError(f"{operator}: {field} must be at least 1, found {getattr(c, field)}")
    for field in ("ffn", "hyper"):
        if getattr(c, field) < 0:
            raise ValueError(f"{operator}: {field} must not be negative, found {getattr(c, field)}")
    if kind is not Kind.HEAD and c.stride not in (1, 2):
        raise ValueError(f"{operator}: stride must be 1 or 2, found {c.stride}")
    if c.tokens > MAX_TOKENS:
        raise ValueError(f"{operator}: tokens must be at most {MAX_TOKENS}, found {c.tokens}")
    multiples = []
    if kind is Kind.STEM or (kind is Kind.BLOCK and c.stride == 2):
        multiples.append(("expand", "in_channels"))
    if kind is Kind.BLOCK and c.stride == 2:
        multiples.append(("expand2", "out_channels"))
    if kind is not Kind.HEAD:
        multiples.append(("out_channels", "heads"))
    if kind is Kind.BLOCK:
        multiples.append(("token_dim", "former_heads"))
    for field, of in multiples:
        value, divisor = getattr(c, field), getattr(c, of)
        if value < 1 or value % divisor:
            raise ValueError(f"{operator}: {field} must be a multiple of {of} ({divisor}), found {value}")
    return c


def halved(size: int) -> int:
    """Output size of a 3×3 convolution of stride 2; also of a symbolic size."""
    return (size - 1) // 2 + 1


def height_width(kind: Kind, shape: Sequence[int]) -> tuple[int, int]:
    """H, W of the images (B, 3, H, W) or the map (B, C, H + 1, W) that comes in."""
    return shape[2] - (0 if kind is Kind.STEM else PADDING_ROWS), shape[3]


def madds(kind: Kind, config: Config, height: int, width: int) -> int:
    """Multiply-adds of one image: convolutions, Linear layers and attention products, `height` × `width` coming in."""
    c = config
    C, D, M = c.in_channels, c.token_dim, c.tokens
    pixels = height * width
    attention = 2 * M * c.out_channels  # between the tokens and a pixel that is written, one way
    linears = count(matrices(kind, c))
    if kind is Kind.STEM:
        first = halved(height) * halved(width)
        after = first if c.stride == 1 else halved(halved(height)) * halved(halved(width))
        return 27 * C * first + ((9 + c.out_channels) * c.expand + attention) * after
    if kind is Kind.HEAD:
        classifier = c.hidden * (c.expand + D) + c.classes * c.hidden
        return c.expand * C * pixels + M * (linears - classifier) + classifier
    if kind is not Kind.BLOCK:
        raise ValueError(f"madds: expected a stem, block or head, found {kind.name}")
    after = pixels if c.stride == 1 else halved(height) * halved(width)
    mobile = (9 + c.out_channels) * (c.expand + (c.expand2 if c.stride == 2 else 0)) * after
    if c.stride == 1:
        mobile += C * c.expand * pixels
    hyper = 2 * c.hyper * (D + c.expand + c.second)  # of the first token alone
    return mobile + 2 * attention * after + M * (linears - hyper) + hyper + 2 * M * M * D


def _conv(name: str, outputs: int, inputs: int, kernel: int) -> Layout:
    """A convolution's weight and bias; `inputs` are those of one group."""
    return (f"{name}.weight", (outputs, inputs, kernel, kernel)), (f"{name}.bias", (outputs,))


def _norm(name: str, size: int) -> Layout:
    return (f"{name}.weight", (size,)), (f"{name}.bias", (size,))


def _bridge_vectors(c: Config) -> Layout:
    """Of Mobile→Former behind its attention."""
    return (
        ("mobile_to_former.gate.0.bias", (c.in_channels,)),
        ("mobile_to_former.project.bias", (c.token_dim,)),
        *_norm("mobile_to_former.norm", c.token_dim),
    )


def _token_vectors(c: Config) -> Layout:
    D = c.token_dim
    parts: list[Part] = [
        *_bridge_vectors(c),
        ("former.query.bias", (D,)),
        ("former.project.bias", (D,)),
        *_norm("former.norm", D),
    ]
    if c.ffn:
        parts += [("former.ffn.expand.bias", (c.ffn,)), ("former.ffn.project.bias", (D,)), *_norm("former.ffn.norm", D)]
    if c.hyper:
        for act, channels in (("mobile.act1", c.expand), ("mobile.act2", c.second)):
            parts += [(f"{act}.hyper.0.bias", (c.hyper,)), (f"{act}.hyper.2.bias", (2 * channels,))]
    return (*parts, *((f"{name}.bias", (c.out_channels,)) for name in TO_MAP))
