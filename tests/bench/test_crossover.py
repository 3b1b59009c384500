"""Where the ratio changes sign for good, and the two other answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfedge.bench.results.crossover import bisect, crossover


def ratios(values: dict[float, float], noise: float = 0.005, rounds: int = 12) -> dict[float, list[list[float]]]:
    generator = np.random.default_rng(0)
    return {side: [list(generator.normal(math.log(value), noise, rounds))] for side, value in values.items()}


def test_interpolated_between_its_neighbours() -> None:
    found = crossover(ratios({224: 1.5, 512: 1.1, 768: 1 / 1.1, 1024: 0.8}, noise=1e-6))
    assert found is not None and found.kind == "at"
    assert found.side == pytest.approx(640, abs=0.1)
    assert found.low is not None and found.high is not None
    assert found.low <= 640.1 and found.high >= 639.9


def test_noise_widens_it() -> None:
    values = {224: 1.5, 512: 1.1, 768: 1 / 1.1, 1024: 0.8}
    calm, noisy = crossover(ratios(values, 0.002)), crossover(ratios(values, 0.05))
    assert calm is not None and noisy is not None
    assert calm.low and calm.high and noisy.low and noisy.high
    assert noisy.high - noisy.low > 3 * (calm.high - calm.low)


def test_none_and_everywhere_are_answers() -> None:
    none, everywhere = crossover(ratios({224: 2, 512: 1.5})), crossover(ratios({224: 0.9, 512: 0.8}))
    assert none is not None and none.kind == "none" and str(none) == "none in 224..512 px"
    assert everywhere is not None and everywhere.kind == "everywhere" and str(everywhere) == "everywhere in 224..512 px"
    assert crossover({}) is None


def test_it_is_the_last_change_of_sign() -> None:
    """Faster at 224, slower at 512, faster from about 700 on: not "everywhere", and not 300."""
    found = crossover(ratios({224: 0.9, 512: 1.2, 768: 0.95, 1024: 0.9}))
    assert found is not None and found.side is not None
    assert 512 < found.side < 768
    dipped = crossover(ratios({224: 1.2, 512: 0.9, 768: 1.2}))
    assert dipped is not None and dipped.kind == "none"


def test_an_end_beyond_the_range_is_said() -> None:
    found = crossover(ratios({224: 1.2, 512: 1.1, 768: 0.999}, noise=0.02))
    assert found is not None and found.kind == "at"
    assert found.high is None
    assert "beyond 768" in str(found)


def test_bisecting_halves_until_the_gap_is_small() -> None:
    values = {224.0: 1.5, 304.0: 1.1, 384.0: 0.8}
    assert bisect(ratios(values)) == 344
    assert bisect(ratios({336.0: 1.1, 344.0: 0.9})) is None
    assert bisect(ratios({224.0: 1.5, 1024.0: 1.1})) is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.3, 3.0), min_size=2, max_size=6), st.floats(0.5, 2.0))
def test_a_slower_candidate_never_crosses_earlier(values: list[float], factor: float) -> None:
    def place(scale: float) -> float:
        found = crossover(ratios({200.0 + 100 * i: value * scale for i, value in enumerate(values)}, noise=0))
        assert found is not None
        return {"none": math.inf, "everywhere": -math.inf}.get(found.kind, found.side or 0.0)

    low, high = sorted((1.0, factor))
    assert place(low) <= place(high) + 1e-9
