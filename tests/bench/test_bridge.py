"""What the bridge costs: the operators alone agree, the trace without them has none, a row has what it says."""

from __future__ import annotations

import pytest
import torch

from mfedge import native, zoo
from mfedge.bench import bridge
from mfedge.deploy import deploy
from mfedge.deploy.trace import trace

pytestmark = pytest.mark.skipif(native.find("onnxruntime") is None, reason="native kernels are not built")


def test_every_cross_attention_is_found_and_taken_out() -> None:
    program = trace(deploy(zoo.build(zoo.load_spec("26m")).eval()), 64, 64)
    directions = [direction for direction, _ in bridge.attentions(program)]
    assert directions.count("former_to_mobile") >= 8
    assert directions.count("mobile_to_former") == directions.count("former_to_mobile") + 1, "the head's"
    image = torch.randn(1, 3, 64, 64)
    before = program.module()(image)
    rest = bridge.without_bridge(program)
    assert not bridge.attentions(rest)
    after = rest.module()(image)
    assert after.shape == before.shape and not torch.allclose(after, before)


def test_a_row_of_the_operators_alone_and_in_their_place() -> None:
    """The two kinds of an operator are held against each other in `measure`."""
    row = bridge.measure(48, 6)
    assert row.operators == 23 and row.size == 48
    assert row.alone_speedup is not None and row.alone_speedup.rounds == 6
    assert 0 < row.portable_bridge_seconds < row.portable_seconds
    assert 0 < row.portable_operators < 1
    assert row.to_former is row.to_mobile is row.copying is None, "the library that is installed does not count"
    assert "does not count" in bridge.describe(row)
