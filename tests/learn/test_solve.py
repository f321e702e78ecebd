"""Solving and calibrating: the equations, the ridge, the temperature and the thresholds do what they say."""

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import RefusedError
from edge_agent.learn.head import defect_scores, logits, probabilities
from edge_agent.learn.solve import (
    ABSENT_BIAS,
    RIDGES,
    calibrate,
    choose_ridge_held_out,
    choose_ridge_left_out,
    fit_head,
    fit_temperature,
    head_of,
    left_out_residuals,
    solve_head,
    spectrum,
    thresholds,
)
from edge_agent.learn.statistics import add, empty

CLASSES = ("crack", "ok", "pit")


def samples(rng, count, dimension=8, shares=(0.2, 0.6, 0.2), apart=1.5):
    truth = rng.choice(3, size=count, p=shares)
    # Features of different size and level, as an encoder's are.
    size = np.geomspace(0.1, 10, dimension)
    centres = np.random.default_rng(99).standard_normal((3, dimension)) * apart
    vectors = (rng.standard_normal((count, dimension)) + centres[truth]) * size + 5
    return vectors.astype(np.float32), [CLASSES[number] for number in truth]


def summed(vectors, labels):
    return add(empty(CLASSES, vectors.shape[1]), vectors, labels)


def accuracy(head, vectors, labels):
    return np.mean([head.classes[number] for number in logits(head, vectors).argmax(axis=1)] == np.array(labels))


def test_without_balance_the_head_is_the_ridge_regression_on_the_samples_themselves():
    rng = np.random.default_rng(1)
    vectors, labels = samples(rng, 60)
    source = spectrum(summed(vectors, labels), balance=0.0)
    head = head_of(source, 0.1, ["ok"])
    rows = (vectors - vectors.mean(axis=0)) / source.scale
    hot = np.array([[label == name for name in CLASSES] for label in labels], float)
    lift = 0.1 * np.trace(rows.T @ rows / 60) / 8
    weights = np.linalg.solve(rows.T @ rows / 60 + lift * np.eye(8), rows.T @ (hot - hot.mean(axis=0)) / 60)
    np.testing.assert_allclose(head.weights, weights, atol=1e-4)
    np.testing.assert_allclose(head.bias, hot.mean(axis=0), atol=1e-6)


def test_full_balance_is_the_head_that_repeated_rare_samples_give():
    rng = np.random.default_rng(2)
    vectors, _ = samples(rng, 60)
    labels = ["crack"] * 10 + ["ok"] * 30 + ["pit"] * 20
    balanced = spectrum(summed(vectors, labels), balance=1.0)
    np.testing.assert_allclose(balanced.priors, 1 / 3)
    class_means = np.array([vectors[[label == name for label in labels]].mean(axis=0) for name in CLASSES])
    np.testing.assert_allclose(balanced.mean, class_means.mean(axis=0), rtol=1e-4)


def test_the_closed_form_left_out_residuals_are_those_of_leaving_each_sample_out():
    rng = np.random.default_rng(3)
    vectors, labels = samples(rng, 40)
    ridge = 0.05
    source = spectrum(summed(vectors, labels), balance=0.0)
    found = left_out_residuals(source, ridge, vectors, labels)
    lift = ridge * source.values.mean() * len(vectors)
    rows = (vectors - source.mean) / source.scale
    hot = np.array([[label == name for name in CLASSES] for label in labels], float)
    for out in range(len(vectors)):
        keep = np.arange(len(vectors)) != out
        mean, level = rows[keep].mean(axis=0), hot[keep].mean(axis=0)
        near = rows[keep] - mean
        weights = np.linalg.solve(near.T @ near + lift * np.eye(8), near.T @ (hot[keep] - level))
        np.testing.assert_allclose(found[out], hot[out] - level - (rows[out] - mean) @ weights, atol=1e-4)


def test_little_data_gets_more_ridge_than_plenty():
    rng = np.random.default_rng(4)
    few, many = samples(rng, 40, dimension=30), samples(rng, 4000, dimension=30)
    assert choose_ridge_left_out(summed(*few), *few) > choose_ridge_left_out(summed(*many), *many)
    held = samples(rng, 2000, dimension=30)
    assert choose_ridge_held_out(spectrum(summed(*few)), *held) > choose_ridge_held_out(spectrum(summed(*many)), *held)


def test_a_class_without_a_sample_is_never_named():
    rng = np.random.default_rng(5)
    vectors, labels = samples(rng, 100, shares=(0.5, 0.5, 0.0))
    head = solve_head(summed(vectors, labels), ["ok"])
    assert head.bias[2] == ABSENT_BIAS
    assert set(logits(head, samples(rng, 300)[0]).argmax(axis=1)) <= {0, 1}


def test_sums_that_lost_positive_definiteness_still_give_a_head_that_works():
    rng = np.random.default_rng(6)
    vectors, labels = samples(rng, 60, dimension=40, apart=3)
    sums = summed(vectors, labels)
    spread = vectors.std(axis=0)
    noise = rng.standard_normal(sums.gram.shape) * np.outer(spread, spread) * len(vectors) * 0.03
    lossy = replace(sums, gram=sums.gram + noise + noise.T)
    assert spectrum(lossy).deficit > 0
    held = samples(rng, 300, dimension=40, apart=3)
    assert accuracy(solve_head(lossy, ["ok"], ridge=0.1), *held) > 0.9


def test_features_that_never_change_do_no_harm():
    rng = np.random.default_rng(7)
    vectors, labels = samples(rng, 100)
    flat = np.concatenate([vectors, np.full((100, 2), 7.0, np.float32)], axis=1)
    held, truth = samples(rng, 200)
    wide = np.concatenate([held, np.full((200, 2), 7.0, np.float32)], axis=1)
    assert accuracy(solve_head(summed(flat, labels), ["ok"]), wide, truth) == pytest.approx(
        accuracy(solve_head(summed(vectors, labels), ["ok"]), held, truth), abs=0.01
    )


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_samples_are_refused(count):
    with pytest.raises(RefusedError, match="at least two"):
        solve_head(summed(np.ones((count, 8), np.float32), ["ok"] * count), ["ok"])


def test_sums_that_are_not_finite_are_refused():
    rng = np.random.default_rng(8)
    sums = summed(*samples(rng, 20))
    with pytest.raises(RefusedError, match="finite"):
        solve_head(replace(sums, gram=sums.gram * np.nan), ["ok"])


def test_the_temperature_makes_probabilities_as_right_as_they_claim():
    rng = np.random.default_rng(9)
    vectors, labels = samples(rng, 400, apart=0.7)
    head = solve_head(summed(vectors, labels), ["ok"])
    held, truth = samples(rng, 4000, apart=0.7)
    head = replace(head, temperature=fit_temperature(head, held, truth))
    claimed = probabilities(head, held).max(axis=1).mean()
    assert claimed == pytest.approx(accuracy(head, held, truth), abs=0.04)
    # The best temperature is a fixed point, and beats its neighbours.
    assert fit_temperature(head, held, truth) == pytest.approx(head.temperature, rel=1e-3)


def test_calibrated_thresholds_keep_the_false_alarm_rate_on_new_parts():
    rng = np.random.default_rng(10)
    alarms, caught = [], []
    for _ in range(20):
        train, held, new = (samples(rng, count) for count in (200, 300, 1000))
        head = calibrate(solve_head(summed(*train), ["ok"]), *held, false_alarm_rate=0.05)
        scores, good = defect_scores(head, new[0]), np.array(new[1]) == "ok"
        alarms.append(np.mean(scores[good] >= head.threshold))
        caught.append(np.mean(scores[~good] >= head.hold_below))
    assert 0.01 < np.mean(alarms) < 0.06
    assert np.mean(caught) > 0.9


probability = st.floats(0, 1)


@given(
    good=st.lists(probability, max_size=150).map(np.array),
    bad=st.lists(probability, max_size=30).map(np.array),
    rate=st.sampled_from([0.0, 0.02, 0.1]),
)
@settings(max_examples=60)
def test_thresholds_are_in_order_and_alarm_on_no_more_good_parts_than_allowed(good, bad, rate):
    upper, lower = thresholds(good, bad, rate, 0.02)
    assert 0.0 <= lower <= upper <= 1.0
    if len(good) and upper < 1.0 and upper > np.sort(good)[0]:
        assert np.mean(good > upper) <= rate + 1 / len(good)


def test_with_too_few_good_parts_to_say_the_threshold_lies_above_all_of_them():
    upper, lower = thresholds(np.array([0.1, 0.2, 0.7]), np.array([0.9]), 0.02, 0.02)
    assert upper == pytest.approx(0.8)
    assert lower <= upper
    assert thresholds(np.array([]), np.array([0.9]), 0.02, 0.02) == (0.5, 0.5)


def test_calibration_ignores_classes_that_the_head_does_not_know_but_counts_them_as_defects():
    rng = np.random.default_rng(11)
    head = solve_head(summed(*samples(rng, 200)), ["ok"])
    held, truth = samples(rng, 200)
    odd = ["dent" if label == "pit" else label for label in truth]
    assert calibrate(head, held, odd).threshold > 0
    with pytest.raises(RefusedError, match="hold some back"):
        calibrate(head, held, ["dent"] * 200)


def test_a_thousand_labels_of_784_features_become_a_head_within_a_second_or_so():
    """Target <= 1 s; the bound is generous because the machine may be busy."""
    rng = np.random.default_rng(12)
    vectors, labels = samples(rng, 1000, dimension=784, apart=0.3)
    held, truth = samples(rng, 300, dimension=784, apart=0.3)
    seconds = []
    for _ in range(3):  # the best of three: a neighbour's load is not our cost
        start = time.perf_counter()
        head = fit_head(vectors, labels, held, truth, ["ok", "never seen"])
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 8
    assert head.good_classes == {"ok"}
    assert accuracy(head, held, truth) > 0.9
    assert len(RIDGES) == len(set(RIDGES))
