"""What every fused operator needs beside its reference: registration, a gradient, and shape checks that speak."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar, cast

import torch
from torch import Tensor
from torch._library.custom_ops import CustomOpDef
from torch.utils.flop_counter import register_flop_formula

from mfedge.kernels import layout
from mfedge.kernels.layout import Config, Kind
from mfedge.ops import packed

P = ParamSpec("P")
R = TypeVar("R")

AUTOCAST = ("cpu", "cuda")  # devices that networks are trained on
WHOLE: dict[object, Kind] = {}  # operators that are whole parts of a network, by what a trace has: see register_whole


def register_whole(kind: Kind, reference: Callable[P, R]) -> Callable[P, R]:
    """Register `torch.ops.mfedge.<kind>`, a whole part of a network as one operator.

    It takes the inputs of the kind's row in kinds.inc, the flat vectors of its weights as `layout.vectors` and
    `layout.matrices` list them, and the integers of `layout.Config`; it returns the outputs of the row. The native
    kernel computes it, or the reference where there is none. Its gradient is the reference's, and flop counters know
    its cost.

    Args:
        kind: its row says everything about its shapes.
        reference: the same in plain PyTorch, with the same arguments.

    Returns:
        The operator. It raises ValueError, naming the argument, if shapes or sizes do not fit.
    """
    name, row = kind.name.lower(), kind.row
    inputs, single = len(row.inputs), len(row.outputs) == 1

    def run(*arguments: Any) -> Any:
        config = _check(kind, arguments)
        tensors, constants = arguments[:inputs], arguments[inputs:-1]
        if packed.serves(*tensors) and packed.serves_weights(*constants):
            outputs = packed.of_weights(kind, config, *constants)(*tensors)
        else:
            results: Any = reference(*arguments)  # type: ignore[call-arg]  # its signature is the operator's
            outputs = [result.contiguous() for result in ([results] if single else results)]  # as the fake promises
        return outputs[0] if single else tuple(outputs)

    def fake(*arguments: Any) -> Any:
        config = _check(kind, arguments)
        shapes = layout.output_shapes(kind, config, *(tensor.shape for tensor in arguments[:inputs]))
        outputs = tuple(arguments[0].new_empty(shape) for shape in shapes)
        return outputs[0] if single else outputs

    def flops(*arguments: Any, **_: Any) -> int:
        return 2 * layout.madds(kind, Config(*arguments[-1]), arguments[0])  # a flop counter counts one as 2

    schema = torch.library.infer_schema(reference, mutates_args=())
    operator = torch.library.custom_op(f"mfedge::{name}", run, mutates_args=(), schema=schema)
    operator.register_fake(fake)
    register_gradient(operator, cast("Callable[..., Tensor]", reference))
    packet = getattr(torch.ops.mfedge, name)
    register_flop_formula(packet)(flops)
    operator.__doc__ = reference.__doc__
    WHOLE[packet.default] = kind
    return cast("Callable[P, R]", operator)


def register_gradient(op: CustomOpDef, reference: Callable[..., Tensor | tuple[Tensor, ...]]) -> None:
    """Give `op` the gradient of its reference, recomputed in the backward pass.

    Only the inputs are kept between the passes: the attention maps (B, N, M, H·W), by far the
    largest intermediate, are computed again instead of being stored for every block.

    Under autocast an operator computes in float32, as PyTorch's own softmax does: its inputs are cast, and its parts
    run without autocast in both passes, wherever `backward` is called. Otherwise the reference would be computed again
    in other types than those of the gradients that come in.
    """
    for device in AUTOCAST:
        op.register_autocast(device, torch.float32)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        ctx.rest = inputs[len(tensors) :]  # every operator takes its tensors first, then plain numbers
        ctx.save_for_backward(*tensors)

    def backward(ctx: Any, *grads_of_outputs: Tensor) -> tuple[Tensor | None, ...]:
        with torch.enable_grad(), _without_autocast(ctx.saved_tensors[0].device.type):
            tensors = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
            outputs = reference(*tensors, *ctx.rest)
            outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
            grads = torch.autograd.grad(outputs, tensors, grads_of_outputs)
        return (*grads, *(None for _ in ctx.rest))

    op.register_autograd(backward, setup_context=setup_context)


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


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


def _check(kind: Kind, arguments: Sequence[Any]) -> Config:
    """Raise ValueError, naming the argument, unless the shapes and sizes of a whole operator fit together."""
    config = layout.check_config(kind, tuple(arguments[-1]))
    letters = layout.letters(kind, config)
    *tensors, _ = arguments
    inputs = kind.row.inputs
    for port, tensor in zip(inputs, tensors, strict=False):
        for fits in letters.fit(port, tensor.shape):
            if fits is not True:  # false, or symbolic
                _refuse_unless(fits, kind, port.name, letters.describe(port), tensor)
        letters.learn(port, tensor.shape)
    parts = (layout.vectors(kind, config), layout.matrices(kind, config))
    for name, constant, layout_of in zip(kind.row.constants, tensors[len(inputs) :], parts, strict=False):
        expected = layout.count(layout_of)
        if constant.shape != (expected,):
            _refuse_unless(False, kind, name, describe((expected,)), constant)
    return config


def _refuse_unless(fits: Any, kind: Kind, name: str, expected: str, found: Tensor) -> None:
    torch._check_value(
        fits, lambda: f"mfedge::{kind.name.lower()}: {name}: expected {expected}, found {describe(found.shape)}"
    )


def describe(shape: Sequence[int | torch.SymInt]) -> str:
    """`(1, 24, 56, 56)`."""
    return "(" + ", ".join(str(size) for size in shape) + ")"
