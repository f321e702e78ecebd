"""The laws of the sums, to the bit: order, split and place do not matter; what was added can be taken out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.solve import solve_head
from edge_agent.learn.statistics import (
    CHUNK_ROWS,
    SAMPLES_MAX,
    Statistics,
    empty,
    merge,
    present,
    subtract,
    sums,
    times,
)

CLASSES = ("crack", "ok", "pit")
DIMENSION = 6
CODE = FeatureCode(offset=np.zeros(DIMENSION, np.float32), step=np.ones(DIMENSION, np.float32))

seeds, counts = st.integers(0, 99), st.integers(2, 40)


def samples(seed, count, classes=CLASSES):
    rng = np.random.default_rng(seed)
    labels = [classes[number] for number in rng.integers(0, len(classes), count)]
    return rng.integers(-127, 128, (count, DIMENSION), dtype=np.int8), labels


def assert_same(one, other):
    assert one.classes == other.classes
    for name in ("counts", "gram", "cross"):
        found, expected = getattr(one, name), getattr(other, name)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, expected, err_msg=name)


def test_the_sums_are_those_of_the_definition():
    codes, labels = samples(1, 30)
    found = sums(codes, labels)
    rows = codes.astype(int)
    np.testing.assert_array_equal(found.gram, sum(np.outer(row, row) for row in rows))
    np.testing.assert_array_equal(found.total, rows.sum(axis=0))
    assert found.classes == CLASSES
    assert found.count == 30
    for number, name in enumerate(CLASSES):
        chosen = rows[[label == name for label in labels]]
        assert found.counts[number] == len(chosen)
        np.testing.assert_array_equal(found.cross[:, number], chosen.sum(axis=0))


@given(seed=seeds, count=counts, cuts=st.lists(st.integers(0, 40), max_size=4), order=st.randoms())
@settings(max_examples=40)
def test_any_order_and_any_split_into_batches_or_plants_give_the_same_bits(seed, count, cuts, order):
    codes, labels = samples(seed, count)
    whole = sums(codes, labels)
    shuffled = order.sample(range(count), count)
    codes, labels = codes[shuffled], [labels[number] for number in shuffled]
    borders = [0, *sorted(min(cut, count) for cut in cuts), count]
    plants = [sums(codes[a:b], labels[a:b]) for a, b in itertools.pairwise(borders)]
    assert_same(sums(codes, labels), whole)
    assert_same(merge(plants), whole)
    assert_same(merge(reversed(plants)), whole)


def test_more_rows_than_are_multiplied_at_a_time_are_as_exact():
    rng = np.random.default_rng(5)
    codes = rng.choice([-127, 126, 127], (2 * CHUNK_ROWS + 7, 3)).astype(np.int8)
    rows = codes.astype(np.int64)
    found = sums(codes, ["ok"] * len(codes))
    np.testing.assert_array_equal(found.gram, rows.T @ rows)
    np.testing.assert_array_equal(found.cross[:, 0], rows.sum(axis=0))


@given(seed=seeds, count=counts, gone=st.integers(1, 40))
@settings(max_examples=40)
def test_what_was_added_is_taken_out_without_a_trace(seed, count, gone):
    codes, labels = samples(seed, count)
    gone = min(gone, count - 1)
    left = subtract(sums(codes, labels), sums(codes[:gone], labels[:gone]))
    assert_same(present(left), sums(codes[gone:], labels[gone:]))
    assert_same(merge([left, sums(codes[:gone], labels[:gone])]), sums(codes, labels))


@given(seed=seeds, count=counts, weight=st.integers(0, 5))
@settings(max_examples=20)
def test_a_weight_counts_each_sample_that_often(seed, count, weight):
    one = sums(*samples(seed, count))
    assert_same(times(one, weight), merge([empty(DIMENSION, one.classes), *[one] * weight]))


def test_a_class_that_one_plant_lacks_or_that_is_new_joins_by_its_name():
    plants = [samples(1, 30, ("crack", "ok")), samples(2, 20, ("ok", "pit")), samples(3, 10, ("dent",))]
    merged = merge(sums(*plant) for plant in plants)
    assert merged.classes == ("crack", "dent", "ok", "pit")
    codes = np.concatenate([plant[0] for plant in plants])
    labels = [label for plant in plants for label in plant[1]]
    assert_same(merged, sums(codes, labels))
    one, other = solve_head(merged, ["ok"], CODE), solve_head(sums(codes, labels), ["ok"], CODE)
    np.testing.assert_array_equal(one.weights, other.weights)


def test_the_largest_sums_convert_to_float64_exactly():
    assert SAMPLES_MAX * 127 * 127 < 2**53 <= 2 * SAMPLES_MAX * 127 * 127


def test_more_samples_than_can_be_summed_exactly_are_refused():
    full = Statistics(
        classes=("ok",),
        counts=np.array([SAMPLES_MAX]),
        gram=np.zeros((1, 1), np.int64),
        cross=np.zeros((1, 1), np.int64),
    )
    one = sums(np.ones((1, 1), np.int8), ["ok"])
    with pytest.raises(RefusedError, match="summed exactly"):
        merge([full, one])
    with pytest.raises(RefusedError, match="times 2"):
        times(full, 2)
    with pytest.raises(RefusedError, match="times -1"):
        times(one, -1)
    assert times(full, 1).count == SAMPLES_MAX


@pytest.mark.parametrize(
    ("codes", "labels", "found"),
    [
        (np.zeros((2, DIMENSION), np.int8), ["ok"], "1 labels"),
        (np.zeros((1, DIMENSION), np.float32), ["ok"], "float32"),
        (np.zeros(DIMENSION, np.int8), ["ok"] * DIMENSION, "expected int8"),
        (np.full((1, DIMENSION), -128, np.int8), ["ok"], "-128"),
        (np.zeros((1, DIMENSION), np.int8), [""], "without a name"),
    ],
)
def test_samples_that_do_not_fit_are_refused_with_what_was_found(codes, labels, found):
    with pytest.raises(RefusedError, match=found):
        sums(codes, labels)


def test_sums_of_other_encoders_do_not_mix():
    for other in (empty(DIMENSION + 1), empty(DIMENSION - 1)):
        with pytest.raises(RefusedError, match="another encoder"):
            merge([empty(DIMENSION), other])
        with pytest.raises(RefusedError, match="another encoder"):
            subtract(empty(DIMENSION), other)
    with pytest.raises(RefusedError, match="nothing to merge"):
        merge([])


def test_more_cannot_be_taken_out_than_was_added():
    part = sums(*samples(1, 3, ("pit",)))
    with pytest.raises(RefusedError, match="3 more samples of class 'pit'"):
        subtract(empty(DIMENSION, CLASSES), part)
    with pytest.raises(RefusedError, match="never added"):
        subtract(empty(DIMENSION, ("ok",)), part)


def test_nothing_is_a_sum_too():
    none = sums(np.empty((0, DIMENSION), np.int8), [])
    assert_same(none, empty(DIMENSION))
    assert_same(merge([none, sums(*samples(1, 9))]), sums(*samples(1, 9)))
