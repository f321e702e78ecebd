"""Heat and boxes: the box holds the hottest cell and only what hangs together with it."""

import math
import timeit

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_agent.inspect.localise import head_heat, region
from edge_agent.learn.head import LinearHead, logits
from edge_agent.records import Features, Region

START, CHANNELS = 3, 4


def a_head(rng, good=("ok",)):
    return LinearHead(
        classes=("crack", "ok", "pit"),
        good_classes=frozenset(good),
        weights=rng.standard_normal((10, 3)).astype(np.float32),
        bias=np.zeros(3, np.float32),
        mean=rng.standard_normal(10).astype(np.float32),
        scale=rng.uniform(0.5, 2.0, 10).astype(np.float32),
    )


def some_features(rng, height=5, width=6):
    places = rng.standard_normal((height, width, CHANNELS)).astype(np.float32)
    vector = rng.standard_normal(10).astype(np.float32)
    vector[START : START + CHANNELS] = places.mean(axis=(0, 1))
    return Features(vector=vector, map=places)


def speaks_for_a_defect(head, features, sign=1.0):
    """A change of a place that speaks for the likeliest bad class over the likeliest good one, or against it."""
    raw = logits(head, features.vector)
    weights = head.folded_weights[0 if raw[0] >= raw[2] else 2] - head.folded_weights[1]
    return sign * 50 * weights[START : START + CHANNELS]


def test_heat_is_highest_at_the_place_that_speaks_for_the_defect_and_not_at_one_that_speaks_against_it():
    rng = np.random.default_rng(1)
    for _ in range(20):
        head, features = a_head(rng), some_features(rng)
        places = features.map.copy()
        places[3, 4] += speaks_for_a_defect(head, features)
        places[0, 0] += speaks_for_a_defect(head, features, sign=-1.0)
        heat = head_heat(head, Features(vector=features.vector, map=places), START)
        assert divmod(int(heat.argmax()), 6) == (3, 4)
        assert heat[0, 0] == 0.0


def test_what_the_whole_picture_shows_makes_no_place_hot():
    rng = np.random.default_rng(2)
    head, features = a_head(rng), some_features(rng)
    shifted = Features(vector=features.vector, map=features.map + speaks_for_a_defect(head, features))
    np.testing.assert_allclose(head_heat(head, shifted, START), head_heat(head, features, START), rtol=1e-3, atol=1e-3)
    even = Features(vector=features.vector, map=np.ones((5, 6, CHANNELS), np.float32))
    assert not head_heat(head, even, START).any()


@pytest.mark.parametrize("good", [(), ("crack", "ok", "pit")])
def test_heads_without_good_or_without_bad_classes_give_heat_too(good):
    rng = np.random.default_rng(2)
    heat = head_heat(a_head(rng, good), some_features(rng), START)
    assert heat.shape == (5, 6)
    assert (heat >= 0).all()


@pytest.mark.parametrize("start", [-1, 7])
def test_a_map_beyond_the_head_is_refused(start):
    rng = np.random.default_rng(3)
    with pytest.raises(ValueError, match="10 entries"):
        head_heat(a_head(rng), some_features(rng), start)


def test_the_box_is_the_hottest_connected_part_in_fractions_of_the_picture():
    heat = np.zeros((4, 10), np.float32)
    heat[1, 2:5] = 0.6
    heat[2, 5] = 1.0  # touches at a corner
    heat[0, 9] = 0.9  # hot, but elsewhere
    assert region(heat) == Region(x=0.2, y=0.25, width=0.4, height=0.5)


@pytest.mark.parametrize(
    "heat",
    [
        np.zeros((3, 3), np.float32),
        np.full((3, 3), 2.0, np.float32),
        np.array([[1.0, math.nan]], np.float32),
        np.array([[1.0, math.inf]], np.float32),
    ],
)
def test_heat_that_says_nothing_gives_no_box(heat):
    assert region(heat) is None


@given(
    heat=arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 8, width=32)),
    share=st.floats(0.05, 1.0),
)
def test_every_box_lies_within_the_picture_and_holds_the_hottest_cell(heat, share):
    box = region(heat, share)
    if box is None:
        assert heat.min() == heat.max()
        return
    rows, columns = heat.shape
    left, top = round(box.x * columns), round(box.y * rows)
    right, bottom = left + round(box.width * columns), top + round(box.height * rows)
    assert 0 <= left < right <= columns
    assert 0 <= top < bottom <= rows
    assert heat[top:bottom, left:right].max() == heat.max()
    # Each side of the box touches a hot cell.
    hot = heat[top:bottom, left:right] >= share * heat.max()
    assert hot[0].any()
    assert hot[-1].any()
    assert hot[:, 0].any()
    assert hot[:, -1].any()


def test_even_a_picture_that_is_hot_all_over_costs_little():
    heat = np.ones((14, 14), np.float32)
    heat[7, 7] = 1.5
    assert min(timeit.repeat(lambda: region(heat), number=10, repeat=20)) / 10 < 1e-3
