"""Intervals cover what they claim to, ratios cancel drift, Holm is Holm."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfedge.bench.results import intervals as statistics


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99, 0.9999])
def test_student_s_quantiles_are_scipy_s(level: float) -> None:
    from scipy import stats

    for freedom in (1, 2, 3, 4, 5, 8, 13, 40, 99):
        expected = stats.t.ppf((1 + level) / 2, freedom)
        assert statistics.student_t(level, freedom) == pytest.approx(expected, rel=1e-9), freedom


p_values = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_median_and_interval_of_known_values() -> None:
    found = statistics.interval([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
    assert found is not None
    assert found.estimate == 4.0
    assert 1.0 <= found.low < 4.0 < found.high <= 7.0
    assert found == statistics.interval([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]), "the same samples give the same report"


def test_five_rounds_carry_no_interval() -> None:
    assert statistics.interval([[1.0, 2.0, 3.0, 4.0, 5.0]]) is None
    assert statistics.interval([]) is None


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        found = statistics.interval([list(generator.normal(0.3, 0.1, 15))])
        assert found is not None
        covered += found.low <= 0.3 <= found.high
    assert 180 <= covered <= 200


def test_processes_that_disagree_widen_the_interval() -> None:
    """Rounds of one process are not independent: what differs between processes must show."""
    generator = np.random.default_rng(2)
    groups = [list(generator.normal(offset, 0.001, 10)) for offset in (0.0, 0.1, 0.2, 0.3)]
    nested, flat = statistics.bootstrap(groups), statistics.bootstrap([[value for group in groups for value in group]])
    assert nested is not None and flat is not None
    assert nested.high - nested.low > 1.2 * (flat.high - flat.low)


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_few_processes_cover_the_truth_as_often_as_they_say(processes: int) -> None:
    """What differs between processes is most of the spread; a bootstrap of three covers 70 %."""
    generator = np.random.default_rng(processes)
    covered = 0
    for _ in range(200):
        groups = [list(generator.normal(offset, 0.005, 6)) for offset in generator.normal(0.3, 0.02, processes)]
        found = statistics.interval(groups)
        assert found is not None
        covered += found.low <= 0.3 <= found.high
    assert covered >= 184


def test_several_processes_are_students_t_of_their_medians() -> None:
    groups = [[0.0, 0.1, 0.2], [0.1, 0.2, 9.0], [0.2, 0.3, 0.4]]
    found = statistics.interval(groups)
    assert found is not None
    assert found.estimate == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.2 - 0.2484, 0.2 + 0.2484), abs=1e-4)  # 4.303 · 0.1 / √3
    low, high = np.quantile(statistics.distribution(groups), [0.025, 0.975])
    assert (low, high) == pytest.approx((found.low, found.high), abs=0.05)


def test_p90_needs_64_samples() -> None:
    assert statistics.p90([1.0] * 63) is None
    assert statistics.p90(list(map(float, range(1, 102)))) == 91.0


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 2.0), st.lists(st.floats(0.01, 100.0), min_size=1, max_size=20))
def test_ratios_within_rounds_cancel_drift(ratio: float, drift: list[float]) -> None:
    model = {(0, i): 0.007 * ratio * speed for i, speed in enumerate(drift)}
    reference = {(0, i): 0.007 * speed for i, speed in enumerate(drift)}
    reference[0, len(drift)] = 1e9  # a round only one of them reached counts for nothing
    (values,) = statistics.log_ratios(model, reference)
    assert values == pytest.approx([math.log(ratio)] * len(drift), abs=1e-9)


def test_ratios_are_grouped_by_process() -> None:
    seconds = {(0, 0): 1.0, (0, 1): 1.0, (2, 0): 1.0}
    assert [len(group) for group in statistics.log_ratios(seconds, seconds)] == [2, 1]


def test_unequal_processes_weigh_the_same() -> None:
    medians = statistics.resampled_medians([[0.0] * 50, [1.0]], resamples=2000)
    assert 0.2 < np.mean(medians == 0) < 0.3
    assert 0.2 < np.mean(medians == 1) < 0.3


@given(p_values)
def test_holm_lies_between_the_plain_and_bonferroni(values: list[float]) -> None:
    adjusted = statistics.holm(values)
    for plain, corrected in zip(values, adjusted, strict=True):
        assert plain <= corrected <= min(1.0, plain * len(values)) + 1e-12
    order = sorted(range(len(values)), key=values.__getitem__)
    assert all(adjusted[a] <= adjusted[b] for a, b in pairwise(order))


def test_holm_of_a_textbook_example() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_p_value_is_small_only_when_clearly_above() -> None:
    generator = np.random.default_rng(3)
    values = [list(generator.normal(0.05, 0.01, 20))]
    assert statistics.p_value_above(values, 0.03) < 0.01
    assert statistics.p_value_above(values, 0.05) > 0.05
    assert statistics.p_value_above(values, 0.10) > 0.99
