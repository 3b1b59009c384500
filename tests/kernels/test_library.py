"""The C API through ctypes against PyTorch: whatever sizes hypothesis thinks of, and what has to be refused."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from mfedge.kernels import library
from mfedge.kernels.layout import PADDING_ROWS, Config, Kind, count, matrices, vectors
from mfedge.kernels.library import Operator
from mfedge.ops.block import block_reference
from mfedge.ops.head import head_reference
from mfedge.ops.stem import stem_reference
from tests.kernels.strategies import configs, pixels, weights_of

pytestmark = pytest.mark.skipif(
    not library.enabled(), reason="the native kernels are not built, or switched off: see mfedge doctor"
)
TOLERANCE = 1e-4  # of the largest magnitude: float32 on both sides, sums in another order
quickly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run(kind: Kind, config: Config, constants: Sequence[Tensor], *inputs: Tensor) -> list[Tensor]:
    """Without PyTorch on the way."""
    operator = Operator(kind, config, *(constant.numpy() for constant in constants))
    return [torch.from_numpy(value) for value in operator.run(*(value.numpy() for value in inputs))]


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert found.isfinite().all()
    assert (found - expected).abs().max() <= TOLERANCE * expected.abs().max().clamp(min=1e-6)


@quickly
@given(st.data(), st.integers(0, 2**31))
def test_blocks(data: st.DataObject, seed: int) -> None:
    c = data.draw(configs(Kind.BLOCK))
    B, H, W, half = data.draw(st.integers(1, 3)), data.draw(pixels), data.draw(pixels), data.draw(st.booleans())
    torch.manual_seed(seed)
    vector, matrix = weights_of(Kind.BLOCK, c, half)
    x = torch.randn(B, c.in_channels, H + PADDING_ROWS, W)
    z = torch.randn(data.draw(st.sampled_from((1, B))), c.tokens, c.token_dim)
    attended = torch.randn(B, c.tokens, c.in_channels)
    expected = block_reference(x, z, attended, vector, matrix.float(), c)
    for found, wanted in zip(run(Kind.BLOCK, c, (vector, matrix), x, z, attended), expected, strict=True):
        assert_close(found, wanted)


@quickly
@given(st.data(), st.integers(0, 2**31))
def test_heads(data: st.DataObject, seed: int) -> None:
    c = data.draw(configs(Kind.HEAD))
    B, H, W, half = data.draw(st.integers(1, 3)), data.draw(pixels), data.draw(pixels), data.draw(st.booleans())
    torch.manual_seed(seed)
    vector, matrix = weights_of(Kind.HEAD, c, half)
    x = torch.randn(B, c.in_channels, H + PADDING_ROWS, W)
    z = torch.randn(data.draw(st.sampled_from((1, B))), c.tokens, c.token_dim)
    attended = torch.randn(B, c.tokens, c.in_channels)
    (found,) = run(Kind.HEAD, c, (vector, matrix), x, z, attended)
    assert_close(found, head_reference(x, z, attended, vector, matrix.float(), c))


@quickly
@given(st.data(), st.integers(0, 2**31))
def test_stems(data: st.DataObject, seed: int) -> None:
    c = data.draw(configs(Kind.STEM))
    torch.manual_seed(seed)
    vector, _ = weights_of(Kind.STEM, c, False)
    x = torch.randn(data.draw(st.integers(1, 3)), 3, data.draw(pixels), data.draw(pixels))
    for found, wanted in zip(run(Kind.STEM, c, (vector,), x), stem_reference(x, vector, c), strict=True):
        assert_close(found, wanted)


@quickly
@given(st.data())
def test_counts_are_the_layouts(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from((Kind.STEM, Kind.BLOCK, Kind.HEAD)))
    c = data.draw(configs(kind))
    assert library.count_weights(kind, c) == (count(vectors(kind, c)), count(matrices(kind, c)))


@quickly
@given(st.sampled_from(Kind), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=13, max_size=13))
def test_any_integers_are_an_operator_or_refused(kind: Kind, fields: list[int]) -> None:
    try:
        found = library.count_weights(kind, fields)
    except ValueError as error:
        refused = str(error)
        assert refused and "\n" not in refused
        with pytest.raises(ValueError, match=re.escape(refused)):
            Operator(kind, fields)
    else:
        c = Config(*fields)
        assert found == (count(vectors(kind, c)), count(matrices(kind, c)))
