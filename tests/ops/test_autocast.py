"""Training under autocast: a fused operator computes in float32 in both passes, wherever backward() is called."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from mfedge import ops
from mfedge.kernels import layout
from mfedge.kernels.layout import PADDING_ROWS, Config, Kind
from tests.conftest import network
from tests.ops.test_ops import PAIRS, arguments

TYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
BACKWARD = pytest.mark.parametrize("within", [False, True], ids=["after", "within"])
HEAD = Config(in_channels=6, expand=5, tokens=3, token_dim=8, hidden=7, classes=4)


def whole() -> tuple[Any, ...]:
    """Arguments of a head."""
    sizes = (layout.count(layout.vectors(Kind.HEAD, HEAD)), layout.count(layout.matrices(Kind.HEAD, HEAD)))
    shapes = ((2, 6, 4 + PADDING_ROWS, 5), (1, 3, 8), (2, 3, 6), *((size,) for size in sizes))
    generator = torch.Generator().manual_seed(1)
    return *(torch.randn(shape, generator=generator) for shape in shapes), list(HEAD)


CASES = {name: (*pair, arguments(name, (2, 2, 3, 5, 4, 3, False))) for name, pair in PAIRS.items()}
CASES["head"] = (ops.head, ops.head_reference, whole())


def gradients(call: Any, given: tuple[Any, ...], autocast: torch.dtype | None, within: bool) -> list[Tensor]:
    """The output, and the gradients of the tensors among `given` for a weighted sum of it."""
    tensors = [value.detach().requires_grad_() for value in given if isinstance(value, Tensor)]
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        found = call(*tensors, *given[len(tensors) :])
        loss = (found * torch.linspace(-1, 2, found.numel()).view(found.shape)).sum()
        if within:
            loss.backward()
    if not within:
        loss.backward()
    return [found.detach(), *(tensor.grad for tensor in tensors if tensor.grad is not None)]


@pytest.mark.parametrize("name", CASES)
@TYPES
@BACKWARD
def test_an_operator_and_its_gradient_are_of_float32(name: str, dtype: torch.dtype, within: bool) -> None:
    operator, reference, given = CASES[name]
    found = gradients(operator, given, dtype, within)
    expected = gradients(reference, given, None, within)
    assert len(found) == len(expected) > 2
    assert {value.dtype for value in found} == {torch.float32}
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
@TYPES
@BACKWARD
def test_inputs_of_autocast_are_cast(name: str, dtype: torch.dtype, within: bool) -> None:
    """What a convolution or Linear hands on under autocast is of its type, and what else comes is of float32."""
    operator, reference, given = CASES[name]
    mixed = tuple(value.to(dtype) if isinstance(value, Tensor) and i != 1 else value for i, value in enumerate(given))
    found = gradients(operator, mixed, dtype, within)
    wide = tuple(value.float() if isinstance(value, Tensor) else value for value in mixed)
    expected = gradients(reference, wide, None, within)
    assert found[0].dtype is torch.float32
    torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-4)
    for gradient, wanted, value in zip(found[1:], expected[1:], mixed, strict=False):
        assert gradient.dtype is value.dtype
        torch.testing.assert_close(gradient, wanted.to(value.dtype), rtol=2e-2, atol=2e-2)


def gradient_of(net: nn.Module, autocast: torch.dtype | None, within: bool = False) -> Tensor:
    """Of every parameter, one after the other, for 16 random images."""
    images = torch.randn((16, 3, 64, 64), generator=torch.Generator().manual_seed(2))
    torch.manual_seed(3)  # of what is dropped out
    net.zero_grad()
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        loss = cross_entropy(net(images).float(), torch.arange(16))
        if within:
            loss.backward()
    if not within:
        loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters() if parameter.grad is not None])


def test_a_network_trains_under_autocast() -> None:
    """Its gradient differs from that of float32 by what the types round away, eight times as much for bfloat16."""
    net = network("26m").train()
    assert all(parameter.dtype is torch.float32 for parameter in net.parameters())
    exact = gradient_of(net, None)
    for dtype, least in ((torch.bfloat16, 0.75), (torch.float16, 0.95)):  # found: 0.93, 0.99
        for within in (False, True):
            found = gradient_of(net, dtype, within)
            assert found.shape == exact.shape
            assert found.isfinite().all()
            assert cosine_similarity(found.double(), exact.double(), dim=0) > least


def test_the_reference_is_differentiated_on_meta_tensors_too() -> None:
    """Which know no autocast."""
    operator, _, given = CASES["mobile_to_former"]
    tensors = [value.to("meta").requires_grad_() for value in given[:2]]
    operator(*tensors, *given[2:]).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.shape == tensor.shape for tensor in tensors)
