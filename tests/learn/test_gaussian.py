"""The shrunk Gaussian: the same distances as with the whole matrix, and honest ones for parts left out."""

import numpy as np
import pytest

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import FeatureCode, decode, encode
from edge_agent.learn.gaussian import (
    AXES_MAX,
    SCALE_FLOOR,
    SHRINKAGE,
    distances,
    fit_gaussian,
    gaussian_of_sums,
    held_out_distances,
)
from edge_agent.learn.statistics import sums


def vectors(seed, count, dimension=30):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(77).standard_normal((dimension, dimension))
    return (rng.standard_normal((count, dimension)) @ mix + 3).astype(np.float32)


@pytest.mark.parametrize("count", [12, 200])
def test_distances_are_those_of_the_whole_shrunk_covariance_matrix(count):
    rows, new = vectors(1, count), vectors(2, 20)
    spread = rows.std(axis=0)
    gain = 1 / (spread + SCALE_FLOOR * np.median(spread))
    scaled = (rows - rows.mean(axis=0)) * gain
    covariance = np.cov(scaled.T, bias=False)
    whole = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.trace(covariance) / 30 * np.eye(30)
    off = (new - rows.mean(axis=0)) * gain
    expected = np.sqrt(np.einsum("nd,de,ne->n", off, np.linalg.inv(whole), off))
    np.testing.assert_allclose(distances(fit_gaussian(rows), new), expected, rtol=1e-3)


def test_the_mean_itself_is_at_distance_zero_and_no_distance_is_negative():
    rows = vectors(1, 50)
    model = fit_gaussian(rows)
    assert distances(model, model.mean[None])[0] == 0.0
    assert (distances(model, rows) >= 0).all()


def test_held_out_distances_are_like_those_of_new_vectors_where_the_fitted_ones_are_too_small():
    rows, new = vectors(1, 40), vectors(2, 400)
    model = fit_gaussian(rows)
    fresh = np.median(distances(model, new))
    assert np.median(distances(model, rows)) < 0.8 * fresh
    assert np.median(held_out_distances(rows)) == pytest.approx(fresh, rel=0.2)


def test_features_that_never_moved_do_not_drown_the_others():
    rows = vectors(1, 40)
    rows[:, 5] = 2.0
    moved = rows.copy()
    moved[:, 5] += 0.001
    model = fit_gaussian(rows)
    np.testing.assert_allclose(distances(model, moved), distances(model, rows), rtol=0.05)


def test_equal_vectors_give_finite_distances():
    same = np.tile(vectors(1, 1), (20, 1))
    model = fit_gaussian(same)
    assert np.isfinite(distances(model, vectors(2, 5))).all()
    assert held_out_distances(same).max() < distances(model, vectors(2, 5)).min()


def test_the_gaussian_of_the_sums_is_that_of_the_vectors_themselves():
    rng = np.random.default_rng(8)
    code = FeatureCode(offset=np.full(12, 5, np.float32), step=np.geomspace(0.01, 1, 12).astype(np.float32))
    vectors = (rng.standard_normal((200, 12)) @ rng.standard_normal((12, 12)) * 8 * code.step + 5).astype(np.float32)
    codes = encode(code, vectors)
    vectors, new = decode(code, codes), decode(code, rng.integers(-127, 128, (50, 12), dtype=np.int8))
    labels = ["ok" if number % 3 else "pit" for number in range(200)]
    summed = distances(gaussian_of_sums(sums(codes, labels), code), new)
    np.testing.assert_allclose(summed, distances(fit_gaussian(vectors), new), rtol=2e-3)


def test_with_more_axes_than_are_kept_what_is_far_is_still_far():
    rng = np.random.default_rng(9)
    size = AXES_MAX + 60
    code = FeatureCode(offset=np.zeros(size, np.float32), step=np.ones(size, np.float32))
    spread = np.geomspace(30, 5, size)
    codes = np.rint(rng.standard_normal((2000, size)) * spread).astype(np.int8)
    model = gaussian_of_sums(sums(codes, ["ok"] * 2000), code)
    near, far = rng.standard_normal((100, size)) * spread, rng.standard_normal((100, size)) * spread * 1.5
    assert len(model.axes) == AXES_MAX
    assert distances(model, far.astype(np.float32)).min() > distances(model, near.astype(np.float32)).max()


def test_one_sample_has_no_gaussian():
    code = FeatureCode(offset=np.zeros(3, np.float32), step=np.ones(3, np.float32))
    with pytest.raises(RefusedError, match="at least two"):
        gaussian_of_sums(sums(np.ones((1, 3), np.int8), ["ok"]), code)
