"""What every fused operator needs beside its reference: a gradient and shape checks that speak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef

from mfedge.kernels import layout
from mfedge.kernels.layout import Config, Kind


def register_gradient(op: CustomOpDef, reference: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
    """Give `op` the gradient of its reference, recomputed in the backward pass.

    Only the inputs are kept between the passes: the attention maps (B, N, M, H·W), by far the
    largest intermediate, are computed again instead of being stored for every block.
    """

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        ctx.rest = inputs[len(tensors) :]  # every operator takes its tensors first, then plain numbers
        ctx.save_for_backward(*tensors)

    def backward(ctx: Any, *grads_of_outputs: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad():
            tensors = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            outputs = reference(*tensors, *ctx.rest)
            outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
            grads = torch.autograd.grad(outputs, tensors, grads_of_outputs)
        return (*grads, *(None for _ in ctx.rest))

    op.register_autograd(backward, setup_context=setup_context)


def check_heads(operator: str, channels: int, heads: int) -> None:
    """Raise ValueError unless `heads` divides `channels`."""
    torch._check_value(
        heads >= 1 and channels % heads == 0,
        lambda: f"mfedge::{operator}: heads must divide the {channels} channels, found heads={heads}",
    )


def check_tokens(operator: str, name: str, tokens: Tensor, batch: int | torch.SymInt, channels: int) -> None:
    """Raise ValueError unless `tokens` is (B or 1, M, `channels`)."""
    torch._check_value(
        tokens.dim() == 3 and tokens.shape[2] == channels,
        lambda: f"mfedge::{operator}: {name} must be (B, M, {channels}), found {describe(tokens.shape)}",
    )
    # A batch of 1 is broadcast: the learned tokens of the first block are the same for all images.
    torch._check_value(
        tokens.shape[0] == 1 or tokens.shape[0] == batch,
        lambda: f"mfedge::{operator}: {name} has batch {tokens.shape[0]}, expected 1 or {batch}",
    )


def check_features(operator: str, features: Tensor) -> None:
    """Raise ValueError unless `features` is a map (B, C, H, W)."""
    torch._check_value(
        features.dim() == 4,
        lambda: f"mfedge::{operator}: features must be (B, C, H, W), found {describe(features.shape)}",
    )


def check_vectors(operator: str, kind: Kind, config: Config, weights: Tensor, matrices: Tensor | None = None) -> None:
    """Raise ValueError unless the flat weights of a whole block have as many elements as its sizes say."""
    wanted = [("weights", weights, layout.vectors(kind, config))]
    if matrices is not None:
        wanted.append(("matrices", matrices, layout.matrices(kind, config)))
    for name, vector, parts in wanted:
        expected = layout.count(parts)
        torch._check_value(
            vector.dim() == 1 and vector.shape[0] == expected,
            lambda: f"mfedge::{operator}: {name} must be ({expected},), found {describe(vector.shape)}",  # noqa: B023
        )


def check_block_inputs(operator: str, features: Tensor, tokens: Tensor, attended: Tensor, config: Config) -> None:
    """Raise ValueError unless a block's map, tokens and what was attended to are of its sizes."""
    check_features(operator, features)
    torch._check_value(
        features.shape[1] == config.in_channels,
        lambda: f"mfedge::{operator}: features must have {config.in_channels} channels, found {features.shape[1]}",
    )
    torch._check_value(
        features.shape[2] > layout.PADDING_ROWS,
        lambda: f"mfedge::{operator}: features must have a row below their pixels, found {describe(features.shape)}",
    )
    check_tokens(operator, "tokens", tokens, features.shape[0], config.token_dim)
    torch._check_value(
        tokens.shape[1] == config.tokens,
        lambda: f"mfedge::{operator}: tokens must be {config.tokens} a batch, found {tokens.shape[1]}",
    )
    expected = (features.shape[0], config.tokens, config.in_channels)  # of each image: never a batch of 1 for all
    torch._check_value(
        tuple(attended.shape) == expected,
        lambda: f"mfedge::{operator}: attended must be {describe(expected)}, found {describe(attended.shape)}",
    )


def describe(shape: Sequence[int | torch.SymInt]) -> str:
    """`(1, 24, 56, 56)`."""
    return "(" + ", ".join(str(size) for size in shape) + ")"
