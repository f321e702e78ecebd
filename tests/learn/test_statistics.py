"""The laws of the sums: order, split and place do not matter; what was added can be taken out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import RefusedError
from edge_agent.learn.solve import solve_head
from edge_agent.learn.statistics import add, empty, merge, remove, subtract

CLASSES = ("crack", "ok", "pit")
DIMENSION = 6


def samples(seed, count, classes=CLASSES):
    rng = np.random.default_rng(seed)
    labels = [classes[number] for number in rng.integers(0, len(classes), count)]
    shift = np.array([CLASSES.index(label) for label in labels])[:, None]
    return (rng.standard_normal((count, DIMENSION)) * 3 + shift).astype(np.float32), labels


def summed(vectors, labels):
    return add(empty(CLASSES, DIMENSION), vectors, labels)


def assert_equal(one, other):
    assert one.classes == other.classes
    for name in ("counts", "gram", "cross"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-7, err_msg=name)


def test_the_sums_are_those_of_the_definition():
    vectors, labels = samples(1, 30)
    sums = summed(vectors, labels)
    rows = vectors.astype(float)
    np.testing.assert_allclose(sums.gram, sum(np.outer(row, row) for row in rows))
    np.testing.assert_allclose(sums.total, rows.sum(axis=0))
    for number, name in enumerate(CLASSES):
        chosen = rows[[label == name for label in labels]]
        assert sums.counts[number] == len(chosen)
        np.testing.assert_allclose(sums.cross[:, number], chosen.sum(axis=0), atol=1e-9)


@given(seed=st.integers(0, 99), count=st.integers(1, 40), cuts=st.lists(st.integers(0, 40), max_size=4))
@settings(max_examples=40)
def test_any_split_into_batches_or_plants_gives_the_same_sums(seed, count, cuts):
    vectors, labels = samples(seed, count)
    borders = [0, *sorted(min(cut, count) for cut in cuts), count]
    pieces = [slice(a, b) for a, b in itertools.pairwise(borders)]
    plants = [summed(vectors[piece], labels[piece]) for piece in pieces]
    batches = empty(CLASSES, DIMENSION)
    for piece in pieces:
        batches = add(batches, vectors[piece], labels[piece])
    assert_equal(merge(plants), summed(vectors, labels))
    assert_equal(merge(reversed(plants)), summed(vectors, labels))
    assert_equal(batches, summed(vectors, labels))


@given(seed=st.integers(0, 99), count=st.integers(2, 40), gone=st.integers(1, 40))
@settings(max_examples=40)
def test_what_was_added_can_be_taken_out(seed, count, gone):
    vectors, labels = samples(seed, count)
    gone = min(gone, count)
    left = summed(vectors[gone:], labels[gone:])
    assert_equal(remove(summed(vectors, labels), vectors[:gone], labels[:gone]), left)
    assert_equal(subtract(summed(vectors, labels), summed(vectors[:gone], labels[:gone])), left)


def test_merged_plants_give_the_head_of_all_samples_in_one_place_even_if_each_lacks_classes():
    plants = [samples(1, 30, ("crack", "ok")), samples(2, 20, ("ok", "pit")), samples(3, 10, ("pit",))]
    merged = solve_head(merge(summed(*plant) for plant in plants), ["ok"])
    vectors = np.concatenate([plant[0] for plant in plants])
    pooled = solve_head(summed(vectors, [label for plant in plants for label in plant[1]]), ["ok"])
    np.testing.assert_allclose(merged.weights, pooled.weights, atol=1e-5)
    np.testing.assert_allclose(merged.bias, pooled.bias, atol=1e-6)


@pytest.mark.parametrize(
    ("vectors", "labels", "found"),
    [
        (np.zeros((1, DIMENSION), np.float32), ["dent"], "dent"),
        (np.zeros((2, DIMENSION), np.float32), ["ok"], "1 labels"),
        (np.zeros((1, DIMENSION + 1), np.float32), ["ok"], "shape"),
        (np.full((1, DIMENSION), np.nan, np.float32), ["ok"], "NaN"),
        (np.full((1, DIMENSION), np.inf, np.float32), ["ok"], "infinity"),
    ],
)
def test_samples_that_do_not_fit_are_refused_with_what_was_found(vectors, labels, found):
    with pytest.raises(RefusedError, match=found):
        add(empty(CLASSES, DIMENSION), vectors, labels)


def test_sums_of_other_classes_or_encoders_do_not_mix():
    one = empty(CLASSES, DIMENSION)
    for other in (empty(CLASSES[::-1], DIMENSION), empty(CLASSES, DIMENSION + 1)):
        with pytest.raises(RefusedError, match="statistics"):
            merge([one, other])
        with pytest.raises(RefusedError, match="statistics"):
            subtract(one, other)


def test_more_cannot_be_taken_out_than_was_added():
    vectors, labels = samples(1, 3, ("pit",))
    with pytest.raises(RefusedError, match="3 more samples of class 'pit'"):
        remove(empty(CLASSES, DIMENSION), vectors, labels)


@pytest.mark.parametrize("classes", [("ok", "ok"), ("ok", "")])
def test_class_names_are_different_and_not_empty(classes):
    with pytest.raises(ValueError, match="different names"):
        empty(classes, DIMENSION)
