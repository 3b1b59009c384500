"""A cache of native operators for PyTorch calls: one per set of weights, recreated when a weight changes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import lru_cache

import torch
from msgspec import Struct
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from mfedge.kernels import library
from mfedge.kernels.layout import MAX_HEADS, MAX_TOKENS, Config, Kind


class Operator(library.Operator):
    """A native operator on tensors: nothing is copied if they are dense."""

    def __init__(
        self,
        kind: Kind,
        config: Sequence[int] = (),
        weights: Tensor | None = None,
        matrices: Tensor | None = None,
        scale: float = 0.0,
    ) -> None:
        """As of arrays; weights and matrices on the CPU."""
        weights_array, matrices_array = (
            None if constant is None else constant.detach().numpy() for constant in (weights, matrices)
        )
        super().__init__(kind, config, weights_array, matrices_array, scale)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """As `run`, on float32 tensors of the CPU.

        Raises:
            ValueError: the inputs do not fit; the message says which.
            MemoryError: there is no memory left.
        """
        for value in inputs:
            if value.dtype is not torch.float32 or value.device.type != "cpu":
                raise ValueError(f"native operator: expected float32 on the CPU, found {value.dtype} on {value.device}")
        dense = [value.contiguous() for value in inputs]
        return self.run_on([(value.data_ptr(), value.shape) for value in dense], _empty)


def _empty(shape: tuple[int, ...]) -> tuple[int, Tensor]:
    made = torch.empty(shape)
    return made.data_ptr(), made


class State(Struct, frozen=True):
    """What a tensor held when an operator was made from it: another state, another operator."""

    tensor: weakref.ref[Tensor]
    version: int  # counts the writes to it
    address: int  # changes where the version does not: `tensor.data = other`

    def holds(self, tensor: Tensor) -> bool:
        """Whether it is still that tensor, not written to since."""
        return self.tensor() is tensor and self.version == tensor._version and self.address == tensor.data_ptr()


class Made(Struct, frozen=True):
    """An operator, and from what."""

    kind: Kind
    config: Config
    states: tuple[State, ...]
    operator: Operator


_made = WeakTensorKeyDictionary()  # weights → Made: an operator goes when its weights go


def serves(*tensors: Tensor) -> bool:
    """Whether the native kernels compute this: built, not switched off, float32 on the CPU, not empty."""
    return library.enabled() and all(
        tensor.dtype is torch.float32 and tensor.device.type == "cpu" and tensor.numel() for tensor in tensors
    )


def serves_attention(heads: int, features: Tensor, *tokens: Tensor) -> bool:
    """As `serves`, for an attention between a map and these tokens, (B | 1, M, C)."""
    return serves(features, *tokens) and heads <= MAX_HEADS and tokens[0].shape[1] <= MAX_TOKENS


def serves_weights(*tensors: Tensor) -> bool:
    """As `serves`, for tensors that an operator is made from.

    Not of weights in training, which change at every step: packing them each time would cost more than it saves. Nor
    of tensors made in inference mode, which do not count the writes to them.
    """
    return serves(*tensors) and not any(tensor.requires_grad or tensor.is_inference() for tensor in tensors)


def of_weights(kind: Kind, config: Config, weights: Tensor, matrices: Tensor | None = None) -> Operator:
    """The operator of these weights (and matrices).

    It is kept as long as `weights` lives. Writes in place are noticed; those that PyTorch does not see, through
    `tensor.data` or a numpy view, are not.
    """
    tensors = (weights,) if matrices is None else (weights, matrices)
    made = _made.get(weights)
    if (
        made is None
        or (made.kind, made.config) != (kind, config)
        or len(made.states) != len(tensors)
        or not all(state.holds(tensor) for state, tensor in zip(made.states, tensors, strict=True))
    ):
        states = tuple(State(weakref.ref(tensor), tensor._version, tensor.data_ptr()) for tensor in tensors)
        made = _made[weights] = Made(kind, config, states, Operator(kind, config, weights, matrices))
    return made.operator


@lru_cache(maxsize=64)
def without_weights(kind: Kind, heads: int = 0, scale: float = 0.0) -> Operator:
    """Mobile→Former, Mobile←Former or dynamic ReLU."""
    return Operator(kind, Config(heads=heads), scale=scale)
