"""The bank of good places: exact distances, whitened, and without a map's own entries where it judges itself."""

import numpy as np
import pytest

from edge_agent.learn.patches import fit_bank, patch_distances


def maps(seed, count, height=4, width=5, channels=6):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(78).standard_normal((channels, channels))
    return (rng.standard_normal((count, height, width, channels)) @ mix + 1).astype(np.float32)


def test_distances_are_to_the_nearest_entry_of_the_bank():
    model, _ = fit_bank(maps(1, 10), size=30)
    new = maps(2, 1)[0]
    white = (new.reshape(-1, 6) - model.mean) @ model.whiten
    gaps = np.linalg.norm(white[:, None] - model.bank[None], axis=2)
    np.testing.assert_allclose(patch_distances(model, new).ravel(), gaps.min(axis=1), rtol=1e-2, atol=2e-3)


def test_a_bank_that_holds_every_place_knows_every_learned_map():
    good = maps(1, 6)
    model, left_out = fit_bank(good, size=10_000)
    assert len(model.bank) == 6 * 4 * 5
    assert max(patch_distances(model, one).max() for one in good) < 5e-3
    assert left_out.min() > 5e-3


def test_left_out_distances_are_those_to_the_entries_of_other_maps():
    good = maps(1, 6)
    model, left_out = fit_bank(good, size=10_000)
    white = (good.reshape(-1, 6) - model.mean) @ model.whiten
    part = np.repeat(np.arange(6), 20)
    for one in range(6):
        gaps = np.linalg.norm(white[part == one][:, None] - white[part != one][None], axis=2)
        np.testing.assert_allclose(left_out[one].ravel(), gaps.min(axis=1), rtol=1e-2, atol=5e-3)


def test_the_bank_covers_the_good_places_better_than_chance():
    good = maps(1, 40)
    model, _ = fit_bank(good, size=60)
    white = (good.reshape(-1, 6) - model.mean) @ model.whiten
    drawn = white[np.random.default_rng(3).choice(len(white), 60, replace=False)]
    farthest = [np.linalg.norm(white[:, None] - bank[None], axis=2).min(axis=1).max() for bank in (model.bank, drawn)]
    assert farthest[0] < 0.8 * farthest[1]


def test_whitening_makes_the_channels_of_good_places_uncorrelated_and_alike():
    good = maps(1, 200)
    model, _ = fit_bank(good, size=50)
    white = (good.reshape(-1, 6) - model.mean) @ model.whiten
    np.testing.assert_allclose(np.cov(white.T), np.eye(6), atol=0.35)


def test_the_same_maps_give_the_same_bank():
    one, other = fit_bank(maps(1, 12), size=40), fit_bank(maps(1, 12), size=40)
    assert np.array_equal(one[0].bank, other[0].bank)
    assert np.array_equal(one[1], other[1])


@pytest.mark.parametrize("level", [0.0, 1.0, 1000.0])
def test_even_maps_without_any_spread_give_a_finite_bank(level):
    even = np.full((10, 4, 5, 6), level, np.float32)
    model, left_out = fit_bank(even)
    assert np.isfinite(left_out).all()
    assert np.isfinite(patch_distances(model, even[0])).all()
    assert patch_distances(model, even[0] + max(level, 1)).min() > patch_distances(model, even[0]).max()
