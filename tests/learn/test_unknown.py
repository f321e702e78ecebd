"""What was never labelled: the relative distance is that of its definition, and unknown classes score higher."""

import numpy as np
import pytest

from edge_agent.errors import BadBundleError, RefusedError
from edge_agent.inspect.scoring import auroc
from edge_agent.learn.feature_code import FeatureCode, decode, encode
from edge_agent.learn.statistics import empty, merge, sums
from edge_agent.learn.unknown import (
    SHRINKAGE,
    VARIANCE_FLOOR,
    calibrated,
    fit_familiar,
    from_arrays,
    relative_distances,
    strangeness,
    to_arrays,
    unlikeness,
)

DIMENSION = 10
CODE = FeatureCode(offset=np.full(DIMENSION, 5, np.float32), step=np.geomspace(0.05, 5, DIMENSION).astype(np.float32))
CLASSES = ("crack", "ok", "pit")
CENTRES = np.random.default_rng(5).standard_normal((4, DIMENSION)) * 2.5  # the fourth is never labelled


def samples(seed, count, numbers=(0, 1, 2)):
    rng = np.random.default_rng(seed)
    truth = rng.choice(numbers, count)
    plain = rng.standard_normal((count, DIMENSION)) + CENTRES[truth]
    vectors = (plain * 8 * CODE.step + CODE.offset).astype(np.float32)
    return decode(CODE, encode(CODE, vectors)), [(*CLASSES, "unknown")[number] for number in truth]


def summed(vectors, labels):
    return sums(encode(CODE, vectors), labels)


@pytest.fixture(scope="module")
def known():
    statistics = summed(*samples(1, 400))
    return fit_familiar(statistics, CODE)


def test_the_relative_distance_is_that_of_its_definition(known):
    vectors, labels = samples(1, 400)
    names = np.array(labels)
    rows = vectors.astype(float)
    means = np.array([rows[names == name].mean(axis=0) for name in CLASSES])
    shares = np.array([np.mean(names == name) for name in CLASSES])
    apart = rows - means[[CLASSES.index(name) for name in labels]]
    within = apart.T @ apart / len(rows)
    # Floor and shrinkage act on codes: the features there have other sizes.
    step = CODE.step.astype(float)
    scale = np.sqrt(np.diag(within) / step**2 + VARIANCE_FLOOR * np.median(np.diag(within) / step**2)) * step
    shrunk = within / np.outer(scale, scale)
    shrunk = (1 - SHRINKAGE) * shrunk + SHRINKAGE * np.trace(shrunk) / DIMENSION * np.eye(DIMENSION)
    mean = shares @ means
    whole = shrunk + ((means - mean) / scale).T @ np.diag(shares) @ ((means - mean) / scale)

    def distance(x, centre, covariance):
        z = (x - centre) / scale
        return z @ np.linalg.solve(covariance, z)

    new = np.concatenate([samples(2, 20)[0], samples(3, 20, (3,))[0]])
    expected = [min(distance(x, m, shrunk) for m in means) - distance(x, mean, whole) for x in new.astype(float)]
    np.testing.assert_allclose(relative_distances(known, new), expected, rtol=1e-3, atol=1e-2)


def test_the_answers_are_those_of_the_regression_on_class_indicators(known):
    vectors, labels = samples(1, 400)
    plain = fit_familiar(summed(vectors, labels), CODE, shrinkage=1e-9)
    rows = np.concatenate([vectors.astype(float), np.ones((400, 1))], axis=1)
    hot = np.array([[label == name for name in CLASSES] for label in labels], float)
    expected = rows @ np.linalg.lstsq(rows, hot, rcond=None)[0]
    g = (vectors - plain.mean) @ plain.directions
    np.testing.assert_allclose(plain.shares + g @ plain.response.T, expected, atol=0.01)


def test_a_class_that_was_never_labelled_is_stranger_than_those_that_were(known):
    familiar = calibrated(known, *samples(4, 300))
    seen, new = strangeness(familiar, samples(5, 300)[0]), strangeness(familiar, samples(6, 300, (3,))[0])
    assert auroc(seen, new) > 0.95
    assert np.mean(new >= familiar.limit) > 0.5
    # Known parts lie about zero: medians and spreads are those of the held-out.
    assert abs(np.median(seen)) < 0.5


def test_the_limit_keeps_the_false_alarm_rate_on_new_parts_of_known_classes(known):
    familiar = known
    rates = []
    for seed in range(20):
        fitted = calibrated(familiar, *samples(100 + seed, 200), false_alarm_rate=0.05)
        rates.append(np.mean(strangeness(fitted, samples(200 + seed, 500)[0]) >= fitted.limit))
    assert 0.01 < np.mean(rates) < 0.06


def test_held_out_parts_of_unknown_classes_have_no_say_in_the_limit(known):
    familiar = known
    vectors, labels = samples(4, 100)
    strangers, unknown = samples(6, 50, (3,))
    mixed = calibrated(familiar, np.concatenate([vectors, strangers]), labels + unknown)
    assert mixed.limit == calibrated(familiar, vectors, labels).limit


def test_too_few_held_out_parts_are_refused_and_before_calibration_nothing_is_unknown(known):
    familiar = known
    assert familiar.limit == np.inf
    with pytest.raises(RefusedError, match="9 held-out parts"):
        calibrated(familiar, *samples(4, 9))


def test_classes_without_a_sample_are_left_out_and_one_class_alone_is_refused():
    statistics = summed(*samples(1, 100))
    wider = fit_familiar(merge([statistics, empty(DIMENSION, ("dent",))]), CODE)
    assert wider.classes == CLASSES
    np.testing.assert_array_equal(wider.directions, fit_familiar(statistics, CODE).directions)
    with pytest.raises(RefusedError, match="all of class 'ok'"):
        fit_familiar(summed(*samples(1, 50, (1,))), CODE)


def test_features_that_never_change_do_no_harm():
    vectors, labels = samples(1, 200)
    vectors[:, 3] = 5.0
    familiar = fit_familiar(summed(vectors, labels), CODE)
    assert np.isfinite(relative_distances(familiar, samples(2, 50)[0])).all()


def test_unlikeness_is_one_at_the_limit_and_says_nothing_before_there_is_one(known):
    fitted = calibrated(known, *samples(2, 300))
    vectors, _ = samples(3, 300, (0, 1, 2, 3))

    found = np.array([unlikeness(fitted, vector) for vector in vectors])

    assert ((found >= 1) == (strangeness(fitted, vectors) >= fitted.limit)).all()
    assert found.min() >= 0
    assert unlikeness(known, vectors[0]) == 0


def test_what_is_familiar_comes_back_from_its_arrays_the_same(known):
    fitted = calibrated(known, *samples(2, 300))

    again = from_arrays(*to_arrays(fitted))

    vectors, _ = samples(3, 50)
    assert (strangeness(again, vectors) == strangeness(fitted, vectors)).all()
    assert (again.classes, again.limit) == (fitted.classes, fitted.limit)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors, about: about.pop("format"), "format"),
        (lambda tensors, about: about.update(limit="far"), "damaged"),
        (lambda tensors, about: about.update(limit=float("inf")), "finite"),
        (lambda tensors, about: tensors.pop("levels"), "damaged"),
        (lambda tensors, about: tensors.update(mean=tensors["mean"][1:]), "expected"),
        (lambda tensors, about: tensors.update(shares=tensors["shares"] * np.nan), "finite"),
        (lambda tensors, about: tensors.update(spread=np.zeros(2)), "positive"),
    ],
)
def test_arrays_that_were_altered_are_refused(known, change, words):
    tensors, about = to_arrays(calibrated(known, *samples(2, 300)))
    change(tensors, about)

    with pytest.raises(BadBundleError, match=words):
        from_arrays(tensors, about)
