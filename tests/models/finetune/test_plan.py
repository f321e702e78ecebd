"""A run is a function of its plan: each picture once an epoch, another order each time, nothing drawn from outside."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.errors import RefusedError
from edge_agent.models.finetune.plan import FinetunePlan, batch_of, learning_rate, steps_per_epoch, varied

SQUARE = np.random.default_rng(3).integers(0, 256, (6, 6, 3), dtype=np.uint8)
WIDE = np.random.default_rng(4).integers(0, 256, (4, 6, 3), dtype=np.uint8)


@given(st.integers(2, 200), st.integers(1, 64), st.integers(0, 3), st.integers(0, 2**32))
def test_each_picture_is_seen_once_an_epoch(pictures, batch, epoch, seed):
    plan = FinetunePlan(batch=batch, slice=1, seed=seed)
    per_epoch = steps_per_epoch(plan, pictures)

    seen = np.concatenate([batch_of(plan, pictures, epoch * per_epoch + step) for step in range(per_epoch)])

    assert sorted(seen) == list(range(pictures))


def test_two_epochs_and_two_seeds_have_different_orders():
    plan = FinetunePlan(batch=100)
    orders = [batch_of(plan, 100, 0), batch_of(plan, 100, 1), batch_of(dataclasses.replace(plan, seed=1), 100, 0)]

    assert len({tuple(order) for order in orders}) == 3


@given(st.integers(3, 5000), st.floats(0.01, 0.99))
def test_the_rate_rises_to_its_peak_and_falls_to_almost_nothing(steps, warm_share):
    plan = FinetunePlan(peak_rate=1e-3, warm_share=warm_share)
    rates = [learning_rate(plan, step, steps) for step in range(steps)]
    top = int(np.argmax(rates))

    assert all(0 < rate <= 1e-3 * (1 + 1e-9) for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] == pytest.approx(1e-3 / 25)


@given(st.integers(0, 1000), st.integers(0, 63))
def test_a_turned_picture_has_the_same_pixels_and_shape(step, place):
    for picture in (SQUARE, WIDE):
        found = varied(FinetunePlan(), picture, step, place)

        assert found.shape == picture.shape
        assert sorted(map(tuple, found.reshape(-1, 3))) == sorted(map(tuple, picture.reshape(-1, 3)))


@pytest.mark.parametrize("turns", [1, 2, 4, 8])
def test_a_picture_appears_in_exactly_the_symmetries_that_the_plan_allows(turns):
    plan = FinetunePlan(turns=turns)

    found = {varied(plan, SQUARE, step, 0).tobytes() for step in range(400)}

    assert len(found) == turns
    assert SQUARE.tobytes() in found


def test_left_right_is_what_two_turns_mean():
    found = {varied(FinetunePlan(turns=2), WIDE, step, 0).tobytes() for step in range(100)}

    assert found == {WIDE.tobytes(), WIDE[:, ::-1].tobytes()}


def test_light_changes_brightness_within_its_share():
    grey = np.full((4, 4, 3), 100, np.uint8)

    levels = {int(varied(FinetunePlan(light=0.2), grey, step, 0)[0, 0, 0]) for step in range(300)}

    assert min(levels) < 85
    assert max(levels) > 115
    assert all(79 <= level <= 120 for level in levels)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"slice": 65}, {"peak_rate": 0.0}, {"turns": 3}, {"stages": 8}, {"light": 0.6}, {"threads": 0}],
)
def test_a_plan_out_of_bounds_is_refused_and_says_which(wrong):
    with pytest.raises(RefusedError, match=next(iter(wrong))):
        FinetunePlan(**wrong)
