"""How a whole block is one operator: its sizes, and where each of its weights lies in two flat vectors.

`mfedge_kernels.h` states the same layout for C. The names are those of the parameters in the deployed network, so
that this file is also the list of parameters to gather; a Linear's or convolution's weight is row-major, outputs
first. Vectors (convolutions, biases, LayerNorms) and matrices (of Linear layers) are kept apart because a
matrix may be stored in a smaller type and a vector never is.

Two names belong to the following operator. Names that begin with `next.` are of its Mobile→Former (the next block's, or
the head's): each operator computes that attention itself, over the map it has just written. The stem does the same for
the first block; there the query depends only on the learned tokens, so it is stored as a constant, under the name
`blocks.1.mobile_to_former.query`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from math import prod
from typing import NamedTuple

from mfedge.kernels import kinds
from mfedge.kernels.kinds import PADDING_ROWS, Letters, Row, Shape, halved

__all__ = ["PADDING_ROWS", "Config", "Kind", "count", "halved", "madds", "matrices", "vectors"]

MAX_TOKENS = kinds.FIELDS["tokens"].highest
MAX_HEADS = kinds.FIELDS["heads"].highest

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

    @property
    def row(self) -> Row:
        """What kinds.inc says of it."""
        return kinds.KINDS[self.name]


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


@lru_cache(maxsize=256)
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


@lru_cache(maxsize=256)
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


@lru_cache(maxsize=256)
def check_config(kind: Kind, config: tuple[int, ...]) -> Config:
    """The sizes by name.

    Raises:
        ValueError: not as many integers as Config has, or some that do not fit together; the field is named.
    """
    operator = f"mfedge::{kind.name.lower()}"
    if len(config) != len(Config._fields):
        raise ValueError(f"{operator}: config must have {len(Config._fields)} integers, found {len(config)}")
    checked = Config(*config)
    broken = kinds.broken_rule(kind.row, checked._asdict())
    if broken:
        raise ValueError(f"{operator}: {broken}")
    return checked


def letters(kind: Kind, config: Config, *inputs: Shape) -> Letters:
    """The sizes of an operator, from its configuration and the shapes of its inputs, the first ones at least."""
    found = Letters(kind.row, config._asdict())
    for port, shape in zip(kind.row.inputs, inputs, strict=False):
        found.learn(port, shape)
    return found


def output_shapes(kind: Kind, config: Config, *inputs: Shape) -> list[tuple[int, ...]]:
    """The shapes of an operator's outputs; of symbolic sizes, if those of the inputs are symbolic."""
    found = letters(kind, config, *inputs)
    return [found.shape(port) for port in kind.row.outputs]


def madds(kind: Kind, config: Config, features: Shape) -> int:
    """Multiply-adds of an operator with weights: its convolutions, Linear layers and attention products.

    Args:
        kind: STEM, BLOCK, HEAD or TOKENS.
        config: its sizes.
        features: the shape of its first input, the batch included and, of a map, the rows of padding.
    """
    return int(features[0]) * _madds_of_image(kind, config, features)


def _madds_of_image(kind: Kind, config: Config, features: Shape) -> int:
    c = config
    C, D, M = c.in_channels, c.token_dim, c.tokens
    linears = count(matrices(kind, c))
    hyper = 2 * c.hyper * (D + c.expand + c.second)  # of the first token alone
    token_side = M * (linears - hyper) + hyper + 2 * M * M * D
    if kind is Kind.TOKENS:
        return token_side
    height, width = map(int, letters(kind, c, features).pixels)
    pixels = height * width
    if kind is Kind.HEAD:
        classifier = c.hidden * (c.expand + D) + c.classes * c.hidden
        return c.expand * C * pixels + M * (linears - classifier) + classifier
    if kind not in (Kind.STEM, Kind.BLOCK):
        raise ValueError(f"madds: expected an operator with weights, found {kind.name}")
    rows, columns = output_shapes(kind, c, features)[0][2:]
    written = (rows - PADDING_ROWS) * columns  # pixels of the map that comes out
    attention = 2 * M * c.out_channels * written  # between them and the tokens, one way
    if kind is Kind.STEM:
        first: int = 27 * C * halved(height) * halved(width)
        return first + (9 + c.out_channels) * c.expand * written + attention
    mobile = (9 + c.out_channels) * (c.expand + (c.expand2 if c.stride == 2 else 0)) * written
    if c.stride == 1:
        mobile += C * c.expand * pixels
    return mobile + 2 * attention + token_side


def _conv(name: str, outputs: int, inputs: int, kernel: int) -> Layout:
    """A convolution's weight and bias; `inputs` are those of one group."""
    return (f"{name}.weight", (outputs, inputs, kernel, kernel)), (f"{name}.bias", (outputs,))


def _norm(name: str, size: int) -> Layout:
    return (f"{name}.weight", (size,)), (f"{name}.bias", (size,))


def _bridge_vectors(c: Config) -> Layout:
    """The vectors of Mobile→Former after its attention."""
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
