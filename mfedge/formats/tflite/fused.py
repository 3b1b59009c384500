"""Whole blocks as custom operators: what the native kernels run inside LiteRT.

    mfedge.Stem.0(images, weights)                                  → features, attended
    mfedge.Block.i(features, tokens, attended, weights, matrices)   → features, tokens, attended
    mfedge.Head.0(features, tokens, attended, weights, matrices)    → logits

`attended` is what Mobile→Former of the operator that takes it attended to, computed by the one that wrote the features.
Maps between them are NCHW, as the kernels keep them; the image, which is NHWC in every .tflite of this project, is
transposed once. Tokens keep their batch, (1, M, D). Every node has a number in its name, because LiteRT's compiled
models tell custom operators apart by their name alone. The options are the fields of mfedge_config as bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mfedge.errors import UnsupportedError
from mfedge.formats.lowering import Rules
from mfedge.formats.tflite.writer import Shape, Tensor
from mfedge.kernels.layout import Config  # and torch.ops.mfedge, registered

if TYPE_CHECKING:
    from mfedge.formats.tflite.lower import Parameter, TfliteLowering

PREFIX = "mfedge."
MAGIC = b"mfe1"  # of the options' layout
MAX_NODES = 64  # of one operator: MFEDGE_LITERT_MAX_NODES

mfedge = torch.ops.mfedge
RULES = Rules()


def is_native(node: Any) -> bool:
    """Whether a node of the trace is a native operator, or a parameter of one."""
    return node.target in RULES or any(user.target in RULES for user in node.users)


def options(config: Config, scale: float = 0.0) -> bytes:
    """A custom operator's options: "mfe1", the integers, `scale` as a float; little-endian."""
    return MAGIC + struct.pack(f"<{len(config)}if", *config, scale)


@RULES(mfedge.stem.default)
def stem(g: TfliteLowering, images: Tensor, weights: Parameter, config: list[int]) -> list[Tensor]:
    B, H, W, C = images.shape
    nchw = g.op("TRANSPOSE", images, g.ints(0, 3, 1, 2), shape=(B, C, H, W), options=("TransposeOptions", {}))
    return custom(g, "Stem", [nchw, vector(g, weights)], config)


@RULES(mfedge.block.default)
def block(
    g: TfliteLowering, features: Tensor, tokens: Any, attended: Tensor, weights: Parameter, matrices: Parameter,
    config: list[int],
) -> list[Tensor]:  # fmt: skip
    inputs = [features, state(g, tokens), attended, vector(g, weights), matrix(g, matrices)]
    return custom(g, "Block", inputs, config)


@RULES(mfedge.head.default)
def head(
    g: TfliteLowering, features: Tensor, tokens: Any, attended: Tensor, weights: Parameter, matrices: Parameter,
    config: list[int],
) -> Tensor:  # fmt: skip
    inputs = [features, state(g, tokens), attended, vector(g, weights), matrix(g, matrices)]
    return custom(g, "Head", inputs, config)[0]


def custom(g: TfliteLowering, operator: str, inputs: list[Tensor], config: list[int]) -> list[Tensor]:
    """Append one custom operator; its outputs, in the shapes of the trace."""
    value = g.node.meta["val"]
    shapes = [concrete(result.shape) for result in (value if isinstance(value, (list, tuple)) else [value])]
    number = sum(code.startswith(f"{PREFIX}{operator}.") for _, _, code in g.writer.codes)
    if number >= MAX_NODES:
        raise UnsupportedError(f"tflite: expected at most {MAX_NODES} native {operator} operators; use portable ones")
    name = f"{g.scope}/{operator}"
    return g.writer.custom(f"{PREFIX}{operator}.{number}", inputs, shapes, name, options(Config(*config)))


def concrete(shape: Any) -> Shape:
    """A traced shape, with the traced example's size where it is dynamic."""
    return tuple(size if isinstance(size, int) else int(size.node.hint) for size in shape)


def state(g: TfliteLowering, tokens: Any) -> Tensor:
    """The tokens of the block before, or the network's own, a constant (1, M, D)."""
    return tokens if isinstance(tokens, Tensor) else g.writer.raw(tokens.name, tokens.array)


def vector(g: TfliteLowering, weights: Parameter) -> Tensor:
    """Biases, norms and convolutions: always float32."""
    return g.writer.raw(weights.name, weights.array)


def matrix(g: TfliteLowering, matrices: Parameter) -> Tensor:
    """The Linear layers: as half if the file is to be; the kernel reads them as they are."""
    return g.writer.raw(matrices.name, matrices.array.astype(np.float16) if g.writer.half else matrices.array)
