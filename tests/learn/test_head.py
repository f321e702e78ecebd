"""A head: what it computes, what it refuses, and that it survives its bytes."""

import dataclasses
import math
import timeit

import numpy as np
import pytest

from edge_agent.errors import BadBundleError
from edge_agent.learn.head import LinearHead, assess, defect_scores, from_arrays, logits, probabilities, to_arrays
from edge_agent.records import Features

CLASSES = ("crack", "ok", "pit")


def features(vector):
    return Features(vector=np.asarray(vector, np.float32), map=np.zeros((1, 1, 1), np.float32))


@pytest.fixture
def parts(rng):
    return {
        "classes": CLASSES,
        "good_classes": frozenset({"ok"}),
        "weights": rng.standard_normal((20, 3)).astype(np.float32),
        "bias": rng.standard_normal(3).astype(np.float32),
        "mean": rng.standard_normal(20).astype(np.float32),
        "scale": rng.uniform(0.5, 2.0, 20).astype(np.float32),
        "temperature": 0.7,
        "threshold": 0.6,
        "hold_below": 0.4,
    }


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_logits_are_the_standardised_vector_times_the_weights_over_the_temperature(parts, rng):
    head = LinearHead(**parts)
    vector = rng.standard_normal(20).astype(np.float32)
    by_hand = ((vector - parts["mean"]) / parts["scale"] @ parts["weights"] + parts["bias"]) / 0.7
    np.testing.assert_allclose(logits(head, vector), by_hand, rtol=1e-4, atol=1e-5)


def test_probabilities_sum_to_one_and_rows_agree_with_single_vectors(parts, rng):
    head = LinearHead(**parts)
    vectors = (100 * rng.standard_normal((50, 20))).astype(np.float32)
    chances = probabilities(head, vectors)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(chances[7], probabilities(head, vectors[7]), rtol=1e-3, atol=1e-6)


def test_the_score_is_the_probability_of_all_classes_that_are_not_good(parts, rng):
    head = LinearHead(**parts)
    vector = rng.standard_normal(20).astype(np.float32)
    chances = probabilities(head, vector)
    assessment = assess(head, features(vector))
    assert assessment.score == pytest.approx(float(chances[0] + chances[2]), rel=1e-5)
    assert assessment.score == pytest.approx(float(defect_scores(head, vector[None])[0]), rel=1e-5)
    assert assessment.label == CLASSES[int(chances.argmax())]
    assert assessment.hold is None


def test_without_good_classes_every_part_is_a_defect_and_the_label_says_which(parts, rng):
    head = LinearHead(**{**parts, "good_classes": frozenset()})
    for vector in rng.standard_normal((20, 20)).astype(np.float32):
        assessment = assess(head, features(vector))
        assert assessment.score == 1.0
        assert assessment.label in CLASSES
        assert defect_scores(head, vector[None])[0] == 1.0


def test_with_good_classes_only_no_part_is_a_defect(parts, rng):
    head = LinearHead(**{**parts, "good_classes": frozenset(CLASSES)})
    assert assess(head, features(rng.standard_normal(20))).score == 0.0


@pytest.mark.parametrize("good", [frozenset(), frozenset({"ok"})])
@pytest.mark.parametrize("spoil", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_gets_no_score(parts, good, spoil):
    head = LinearHead(**{**parts, "good_classes": good})
    vector = np.zeros(20, np.float32)
    vector[3] = spoil
    assert math.isnan(assess(head, features(vector)).score)


def test_a_head_survives_its_bytes(parts, rng):
    head = LinearHead(**parts)
    again = from_arrays(*to_arrays(head))
    vector = rng.standard_normal(20).astype(np.float32)
    assert np.array_equal(logits(again, vector), logits(head, vector))
    for name in ("classes", "good_classes", "temperature", "threshold", "hold_below"):
        assert getattr(again, name) == getattr(head, name)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"classes": ("ok", "pit")}, "weights"),
        ({"classes": ("ok", "ok", "pit")}, "different names"),
        ({"classes": ()}, "different names"),
        ({"good_classes": frozenset({"fine"})}, "fine"),
        ({"weights": np.zeros((20, 3))}, "float64"),
        ({"weights": np.zeros(20, np.float32)}, "shape"),
        ({"bias": np.full(3, np.nan, np.float32)}, "bias holds NaN"),
        ({"mean": np.zeros(19, np.float32)}, "mean"),
        ({"scale": np.zeros(20, np.float32)}, "scale"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": math.nan}, "temperature"),
        ({"threshold": 1.5}, "threshold"),
        ({"hold_below": 0.7}, "hold_below"),
        ({"hold_below": math.nan}, "hold_below"),
    ],
)
def test_parts_that_do_not_fit_are_refused_with_what_was_found(parts, change, found):
    with pytest.raises(BadBundleError, match=found):
        LinearHead(**{**parts, **change})


def test_damaged_descriptions_are_refused(parts):
    tensors, metadata = to_arrays(LinearHead(**parts))
    for broken in (
        (tensors, {**metadata, "format": "edge-agent/linear-head/9"}),
        (tensors, {}),
        (tensors, {"format": metadata["format"]}),
        (tensors, {**metadata, "head": "{"}),
        (tensors, {**metadata, "head": "[]"}),
        (tensors, {**metadata, "head": metadata["head"].replace("0.7", '"warm"')}),
        ({name: array for name, array in tensors.items() if name != "bias"}, metadata),
    ):
        with pytest.raises(BadBundleError):
            from_arrays(*broken)


def test_a_head_is_a_value(parts):
    head = LinearHead(**parts)
    warmer = dataclasses.replace(head, temperature=1.4)
    vector = np.ones(20, np.float32)
    np.testing.assert_allclose(logits(warmer, vector) * 2, logits(head, vector), rtol=1e-4)
    with pytest.raises(ValueError, match="read-only"):
        head.folded_weights[0, 0] = 1.0


def test_judging_costs_little(rng):
    """Target < 50 us at D = 784, C = 10; the bound leaves room for a busy machine, and catches a second matrix."""
    head = LinearHead(
        classes=tuple(f"class {number}" for number in range(10)),
        good_classes=frozenset({"class 0"}),
        weights=rng.standard_normal((784, 10)).astype(np.float32),
        bias=np.zeros(10, np.float32),
        mean=np.zeros(784, np.float32),
        scale=np.ones(784, np.float32),
    )
    part = features(rng.standard_normal(784))
    assert min(timeit.repeat(lambda: assess(head, part), number=100, repeat=20)) / 100 < 200e-6
