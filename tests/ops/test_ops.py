"""Each fused operator equals its reference, has its gradient and shape function, and refuses shapes that do not fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mfedge.ops import (
    dynamic_relu,
    dynamic_relu_reference,
    former_attention,
    former_attention_reference,
    former_to_mobile,
    former_to_mobile_reference,
    mobile_to_former,
    mobile_to_former_reference,
)

PAIRS: dict[str, tuple[Any, Callable[..., Tensor]]] = {
    "mobile_to_former": (mobile_to_former, mobile_to_former_reference),
    "former_to_mobile": (former_to_mobile, former_to_mobile_reference),
    "former_attention": (former_attention, former_attention_reference),
    "dynamic_relu": (dynamic_relu, dynamic_relu_reference),
    "dynamic_relu, per pixel": (dynamic_relu, dynamic_relu_reference),
}
OPERATORS = pytest.mark.parametrize("name", PAIRS)
Shape = tuple[int, int, int, int, int, int, bool]  # B, heads, C per head, H, W, M, tokens of batch 1

shapes = st.tuples(
    st.integers(1, 3), st.sampled_from([1, 2, 4]), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9),
    st.integers(1, 8), st.booleans(),
)  # fmt: skip


def arguments(name: str, shape: Shape, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
    """Random arguments of an operator."""
    B, heads, per_head, H, W, M, broadcast = shape
    C, T = heads * per_head, 1 if broadcast else B
    generator = torch.Generator().manual_seed(B + 10 * C + 100 * H + 1000 * W + M)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, dtype=dtype, generator=generator)

    scale = per_head**-0.5
    if name == "mobile_to_former":
        return draw(B, C, H, W), draw(T, M, C), heads, scale
    if name == "former_to_mobile":
        return draw(B, C, H, W), draw(T, M, C), draw(T, M, C), heads, scale
    if name == "former_attention":
        return draw(B, M, C), draw(B, M, C), heads, scale
    if name == "dynamic_relu":
        return draw(B, C, H, W), draw(T, C), draw(T, C)
    return draw(B, C, H, W), draw(B, C, H, W), draw(B, C, H, W)


def differentiable(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(arg.requires_grad_() if isinstance(arg, Tensor) else arg for arg in args)


@OPERATORS
@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_the_operator_is_its_reference(name: str, shape: Shape) -> None:
    operator, reference = PAIRS[name]
    args = arguments(name, shape)
    expected = reference(*args)
    torch.testing.assert_close(operator(*args), expected)
    fake = operator(*(arg.to("meta") if isinstance(arg, Tensor) else arg for arg in args))
    assert (fake.shape, fake.dtype) == (expected.shape, expected.dtype)


@settings(max_examples=40, deadline=None)
@given(shape=shapes)
def test_the_reference_is_the_papers_equation(shape: Shape) -> None:
    """Written out pixel by pixel and head by head, in float64."""
    B, heads, n, H, W, M, _ = shape
    features, query, *_ = arguments("mobile_to_former", shape, torch.float64)
    _, key, value, *_ = arguments("former_to_mobile", shape, torch.float64)
    gathered, spread = torch.empty(B, M, heads * n).double(), features.clone()
    for b in range(B):
        t = min(b, len(query) - 1)
        for head in range(heads):
            part = slice(head * n, (head + 1) * n)
            pixels = features[b, part].flatten(1).T  # (HW, n)
            weights = torch.softmax(query[t, :, part] @ pixels.T / n**0.5, dim=1)  # of each token over pixels
            gathered[b, :, part] = weights @ pixels
            weights = torch.softmax(pixels @ key[t, :, part].T / n**0.5, dim=1)  # of each pixel over tokens
            spread[b, part] += (weights @ value[t, :, part]).T.reshape(n, H, W)
    torch.testing.assert_close(mobile_to_former(features, query, heads, n**-0.5), gathered)
    torch.testing.assert_close(former_to_mobile(features, key, value, heads, n**-0.5), spread)


@OPERATORS
@pytest.mark.parametrize("broadcast", [False, True])
def test_the_operator_is_registered_as_torch_wants_it(name: str, broadcast: bool) -> None:
    operator = getattr(torch.ops.mfedge, name.partition(",")[0]).default
    torch.library.opcheck(operator, differentiable(arguments(name, (2, 2, 3, 4, 5, 3, broadcast))))


@OPERATORS
@pytest.mark.parametrize("broadcast", [False, True])
def test_the_gradient_is_the_numerical_one(name: str, broadcast: bool) -> None:
    operator, _ = PAIRS[name]
    args = differentiable(arguments(name, (2, 2, 2, 2, 3, 2, broadcast), torch.float64))
    assert torch.autograd.gradcheck(operator, args)


@OPERATORS
def test_inputs_of_any_memory_layout_are_read_right(name: str) -> None:
    operator, reference = PAIRS[name]
    args = arguments(name, (2, 2, 3, 4, 5, 3, False))
    strided = tuple(
        (arg.to(memory_format=torch.channels_last) if arg.dim() == 4 else arg.mT.contiguous().mT)
        if isinstance(arg, Tensor)
        else arg
        for arg in args
    )
    found = operator(*strided)
    torch.testing.assert_close(found, reference(*args))
    fake = operator(*(arg.to("meta") if isinstance(arg, Tensor) else arg for arg in strided))
    assert fake.stride() == found.stride()


@OPERATORS
def test_large_scores_do_not_overflow(name: str) -> None:
    operator, _ = PAIRS[name]
    args = (1000 * a if isinstance(a, Tensor) else a for a in arguments(name, (1, 2, 3, 4, 5, 3, False)))
    assert torch.isfinite(operator(*args)).all()


@pytest.mark.parametrize("native", ["0", "1"], ids=["reference", "native"])
@pytest.mark.parametrize("query", [1.0, -3.0, 1e3, -1e6, 1e6, 1e8, -1e8, 1e10, 1e30])
def test_what_mobile_to_former_attends_to_for_scores_of_any_size(
    query: float, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFEDGE_NATIVE", native)
    features = torch.stack((torch.linspace(0.1, 1, 128), torch.arange(128.0))).reshape(1, 2, 1, 128)
    found = mobile_to_former(features, torch.tensor([[[query, 0.0]]]), 1, 1.0)
    weights = torch.softmax(query * features[0, 0, 0].double(), 0)
    torch.testing.assert_close(found[0, 0], (features[0, :, 0].double() @ weights).float(), rtol=1e-5, atol=1e-5)
    if query >= 1e6:
        assert found.tolist() == [[[1.0, 127.0]]]


@pytest.mark.parametrize("native", ["0", "1"], ids=["reference", "native"])
@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ((0.0, math.log(3), -1e7), 1.75),
        ((-1e7, 0.0, math.log(3)), 1.25),
        ((0.0, math.log(3), -1e30), 1.75),
        ((0.0, math.log(3), -math.inf), 1.75),
        ((0.0, 1e10, 1e8), 2.0),
        ((-math.inf, -math.inf, 0.0), 1.0),
    ],
)
def test_keys_of_all_sizes_beside_one_another(
    keys: tuple[float, ...], found: float, native: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MFEDGE_NATIVE", native)
    key, value = torch.tensor(keys).reshape(1, 3, 1), torch.tensor((0.0, 1.0, 0.0)).reshape(1, 3, 1)
    for pixels in (1, 7, 64, 70):
        result = former_to_mobile(torch.ones(1, 1, 1, pixels), key, value, 1, 1.0)
        torch.testing.assert_close(result, torch.full((1, 1, 1, pixels), found), rtol=1e-6, atol=1e-6)


def test_slopes_of_one_and_zero_are_a_relu() -> None:
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(dynamic_relu(x, torch.ones(1, 4), torch.zeros(1, 4)), x.relu())


def test_slopes_of_a_pixel_are_that_pixels_own() -> None:
    x, slope1, slope2 = arguments("dynamic_relu, per pixel", (2, 2, 3, 4, 5, 1, False))
    y = dynamic_relu(x, slope1, slope2)
    changed = slope1.clone()
    changed[1, 2, 3, 4] += 100
    different = dynamic_relu(x.abs(), changed, slope2) != dynamic_relu(x.abs(), slope1, slope2)
    assert different.nonzero().tolist() == [[1, 2, 3, 4]]
    uniform = torch.ones_like(x)
    torch.testing.assert_close(
        dynamic_relu(x, slope1[:, :, :1, :1] * uniform, slope2[:, :, :1, :1] * uniform),
        dynamic_relu(x, slope1[:, :, 0, 0].contiguous(), slope2[:, :, 0, 0].contiguous()),
    )
    torch.testing.assert_close(y[0, 0, 0, 0], torch.maximum(slope1 * x, slope2 * x)[0, 0, 0, 0])


x, tokens = torch.zeros(2, 8, 4, 4), torch.zeros(2, 3, 8)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: mobile_to_former(x, tokens, 3, 1.0), "heads"),
        (lambda: mobile_to_former(x, tokens, 0, 1.0), "heads"),
        (lambda: mobile_to_former(x[0], tokens, 2, 1.0), "features"),
        (lambda: mobile_to_former(x, tokens[:, :, :6], 2, 1.0), "query"),
        (lambda: mobile_to_former(x, tokens[0], 2, 1.0), "query"),
        (lambda: mobile_to_former(x, torch.zeros(3, 3, 8), 2, 1.0), "query"),
        (lambda: former_to_mobile(x, tokens[:, :2], tokens, 2, 1.0), "keys"),
        (lambda: former_to_mobile(x, tokens, tokens[:, :, :6], 2, 1.0), "value"),
        (lambda: former_attention(tokens, tokens, 3, 1.0), "heads"),
        (lambda: former_attention(tokens[:, :, :4], tokens, 2, 1.0), "query"),
        (lambda: former_attention(tokens[:, :2], tokens, 2, 1.0), "query"),
        (lambda: former_attention(torch.zeros(3, 3, 8), tokens, 2, 1.0), "query"),
        (lambda: dynamic_relu(x, torch.ones(2, 7), torch.ones(2, 7)), "slope1"),
        (lambda: dynamic_relu(x, torch.ones(2, 8), torch.ones(2, 8, 4, 4)), "slope2"),
        (lambda: dynamic_relu(x, torch.ones(3, 8), torch.ones(3, 8)), "slope1"),
        (lambda: dynamic_relu(x, torch.ones(2, 8, 4, 5), torch.ones(2, 8, 4, 5)), "slope1"),
        (lambda: dynamic_relu(x, torch.ones(8), torch.ones(8)), "slope1"),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_shapes_that_do_not_fit_are_named(call: Callable[[], Tensor], named: str, device: str) -> None:
    with pytest.raises(ValueError, match=f"mfedge::.*{named}"), torch.device(device):
        call()
