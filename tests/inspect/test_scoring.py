"""Figures that can be checked by hand, and splits that do not leak."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.inspect.scoring import (
    auroc,
    balanced_accuracy,
    bootstrap,
    confusion,
    macro_f1,
    recall_at,
    split_labelled,
)

CLASSES = ("a", "b", "c")
scores = st.lists(st.integers(0, 9).map(float), min_size=1, max_size=12).map(np.array)


@dataclass(frozen=True)
class Item:
    label: str
    group: str
    name: int = 0


def test_a_confusion_table_counts_truth_in_rows_and_what_was_said_in_columns():
    table = confusion("aabbbc", "abbbcc", CLASSES)
    assert table.tolist() == [[1, 1, 0], [0, 2, 1], [0, 0, 1]]


def test_figures_of_a_small_table_are_those_worked_out_by_hand():
    table = confusion("aabbbc", "abbbcc", CLASSES)
    assert macro_f1(table) == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)
    assert balanced_accuracy(table) == pytest.approx((1 / 2 + 2 / 3 + 1) / 3)


def test_a_class_that_neither_occurs_nor_is_named_does_not_count():
    assert macro_f1(confusion("ab", "ab", CLASSES)) == 1.0
    assert balanced_accuracy(confusion("ab", "ac", CLASSES)) == 0.5
    assert macro_f1(confusion("ab", "ac", CLASSES)) == pytest.approx(1 / 3)


def test_empty_sets_have_no_figure():
    empty = confusion("", "", CLASSES)
    nobody, somebody = np.array([]), np.array([0.5])
    for figure in (
        macro_f1(empty),
        balanced_accuracy(empty),
        auroc(nobody, somebody),
        auroc(somebody, nobody),
        recall_at(nobody, somebody, 0.1),
        recall_at(somebody, nobody, 0.1),
    ):
        assert math.isnan(figure)


@pytest.mark.parametrize(("truth", "said"), [("ax", "aa"), ("aa", "ax"), ("a", "aa")])
def test_unknown_names_and_unequal_lengths_are_refused(truth, said):
    with pytest.raises(ValueError):
        confusion(truth, said, CLASSES)


@given(good=scores, bad=scores)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_counting_half(good, bad):
    pairs = [(b > g) + 0.5 * (b == g) for g, b in itertools.product(good, bad)]
    assert auroc(good, bad) == pytest.approx(sum(pairs) / len(pairs))
    assert auroc(good, bad) + auroc(bad, good) == pytest.approx(1.0)


@given(good=scores, bad=scores, rate=st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]))
def test_recall_at_a_rate_is_the_best_that_any_threshold_reaches(good, bad, rate):
    edges = [-math.inf, *good, *bad]
    best = max(np.mean(bad > edge) for edge in edges if np.mean(good > edge) <= rate + 1e-9)
    assert recall_at(good, bad, rate) == pytest.approx(best)


def test_a_bootstrap_interval_holds_the_figure_and_shrinks_with_more_samples():
    rng = np.random.default_rng(1)
    hits = (rng.random(2000) < 0.7).astype(float)
    few = bootstrap(lambda rows: float(hits[:50][rows].mean()), 50, rng)
    many = bootstrap(lambda rows: float(hits[rows].mean()), 2000, rng)
    for interval in (few, many):
        assert interval.low <= interval.value <= interval.high
    assert (many.high - many.low) < (few.high - few.low) / 3


def test_draws_without_a_figure_are_left_out_of_the_interval():
    rng = np.random.default_rng(1)
    interval = bootstrap(lambda rows: 1.0 if 0 in rows else float("nan"), 3, rng, draws=50)
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)
    nothing = bootstrap(lambda _: float("nan"), 3, rng, draws=5)
    assert math.isnan(nothing.low)


items = st.lists(st.builds(Item, label=st.sampled_from("abc"), group=st.integers(0, 12).map(str)), max_size=60).map(
    lambda found: [Item(item.label, item.group, number) for number, item in enumerate(found)]
)


@given(items=items, seed=st.integers(0, 5), order=st.randoms())
def test_a_split_keeps_groups_whole_loses_nothing_and_does_not_depend_on_the_order(items, seed, order):
    learn, held = split_labelled(items, seed)
    assert sorted(item.name for item in learn + held) == [item.name for item in items]
    assert not {item.group for item in learn} & {item.group for item in held}
    shuffled = list(items)
    order.shuffle(shuffled)
    again, _ = split_labelled(shuffled, seed)
    assert {item.name for item in again} == {item.name for item in learn}


@given(counts=st.tuples(*[st.integers(2, 30)] * 3), seed=st.integers(0, 3))
def test_each_label_is_on_both_sides_in_about_the_asked_share(counts, seed):
    items = [
        Item(label, f"{label}{number}") for label, count in zip("abc", counts, strict=True) for number in range(count)
    ]
    learn, held = split_labelled(items, seed, held_share=0.3)
    for label, count in zip("abc", counts, strict=True):
        taken = sum(item.label == label for item in held)
        assert 1 <= taken < count
        assert abs(taken - 0.3 * count) <= 1
        assert sum(item.label == label for item in learn) == count - taken


def test_another_seed_gives_another_split():
    items = [Item("a", str(number), number) for number in range(40)]
    assert {i.name for i in split_labelled(items, 0)[1]} != {i.name for i in split_labelled(items, 1)[1]}


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_leaves_one_side_empty_is_refused(share):
    with pytest.raises(ValueError, match="held_share"):
        split_labelled([], 0, held_share=share)
