"""The chart of one number: when it alarms, when it must not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.learn.drift_chart import ALLOWANCE, DECISION, MOST, REACH, Chart, follow, learned, run_length

STILL = Chart(centre=0.0, spread=1.0, now=0.0)


def batches_to_alarm(levels, chart=STILL):
    for count, level in enumerate(levels, start=1):
        chart = follow(chart, level)
        if chart.strength >= 1.0:
            return count
    return None


def test_without_a_shift_a_chart_runs_for_millions_of_batches_by_theory_and_for_all_that_were_tried():
    assert run_length() > 10_000_000

    assert batches_to_alarm(np.random.default_rng(1).standard_normal(100_000)) is None


@pytest.mark.parametrize("shift", [1.5, 2.0, 3.0])
def test_a_shift_is_noticed_about_as_soon_as_theory_says(shift):
    rng = np.random.default_rng(2)

    took = [batches_to_alarm(rng.standard_normal(1000) + shift) for _ in range(300)]

    assert np.mean(took) == pytest.approx(run_length(shift), rel=0.25, abs=1.0)


def test_however_far_they_stray_three_batches_are_no_alarm_and_four_are():
    assert batches_to_alarm([1e9] * 10) == math.ceil(DECISION / REACH) == 4


def test_a_shift_within_the_allowance_never_alarms():
    assert batches_to_alarm([0.99 * ALLOWANCE] * 10_000) is None


def test_it_ends_when_the_level_comes_back():
    chart = STILL
    for _ in range(1000):
        chart = follow(chart, 5.0)
    assert chart.above == MOST
    assert chart.batches == 1000

    for _ in range(math.ceil(MOST / ALLOWANCE)):
        chart = follow(chart, 0.0)

    assert chart.strength == 0.0
    assert chart.batches == 0


@given(st.lists(st.floats(), max_size=60))
@settings(max_examples=200)
def test_whatever_comes_the_sums_stay_finite_and_what_is_no_number_changes_nothing(levels):
    chart = STILL
    for level in levels:
        after = follow(chart, level)
        assert after == chart or math.isfinite(level)
        assert 0.0 <= after.above <= MOST
        assert 0.0 <= after.below <= MOST
        chart = after


def test_a_number_that_is_none_has_no_chart():
    assert learned([math.nan] * 20, 1.0) is None
    assert learned([], 1.0) is None


def test_the_spread_is_at_least_what_matters_and_more_than_few_batches_showed():
    assert learned([1.0] * 20, 0.5) == Chart(centre=1.0, spread=0.5, now=1.0)
    levels = np.random.default_rng(3).standard_normal(10).tolist()
    assert learned(levels, 0.0).spread > np.std(levels, ddof=1)
