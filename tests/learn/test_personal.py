"""A plant's own head: its samples weigh more where its parts differ from the fleet's, and nothing is gained by force."""

import numpy as np
import pytest

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import FeatureCode, encode
from edge_agent.learn.head import logits
from edge_agent.learn.personal import ALPHAS, choose_alpha
from edge_agent.learn.solve import head_of, spectrum
from edge_agent.learn.statistics import empty, merge, sums, times

DIMENSION = 6
CODE = FeatureCode(offset=np.zeros(DIMENSION, np.float32), step=np.full(DIMENSION, 0.1, np.float32))
CENTRES = np.random.default_rng(3).standard_normal((2, DIMENSION)) * 1.5


def samples(seed, count, turned=False):
    """Codes and labels; in a turned plant the same classes look different: what is pit elsewhere is ok there."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, count)
    vectors = rng.standard_normal((count, DIMENSION)) + CENTRES[1 - truth if turned else truth]
    return encode(CODE, vectors.astype(np.float32)), [("ok", "pit")[number] for number in truth]


def test_a_plant_that_differs_gets_weight_and_a_better_head():
    fleet, plant, held = sums(*samples(1, 2000)), sums(*samples(2, 100, turned=True)), samples(3, 200, turned=True)
    personal = choose_alpha(fleet, plant, *held)
    assert personal.alpha >= 10
    assert personal.wrong[personal.alpha] < personal.wrong[0]
    head = head_of(personal.source, personal.ridge, ["ok"], CODE)
    named = np.array(head.classes)[logits(head, held[0].astype(np.float32) * np.float32(0.1)).argmax(axis=1)]
    assert np.mean(named == np.array(held[1])) > 0.9


def test_a_plant_like_the_fleet_with_few_samples_keeps_the_fleet_s_head():
    fleet, held = sums(*samples(1, 2000)), samples(3, 300)
    odd = samples(2, 8)
    personal = choose_alpha(fleet, sums(odd[0], ["pit"] * 8), *held)
    assert personal.alpha == 0
    np.testing.assert_allclose(personal.source.cross, spectrum(fleet).cross, atol=1e-3)


def test_what_the_hold_out_cannot_tell_apart_keeps_the_smaller_alpha():
    fleet, held = sums(*samples(1, 200)), samples(3, 100)
    assert choose_alpha(fleet, empty(DIMENSION), *held).alpha == 0
    personal = choose_alpha(fleet, sums(*samples(2, 50)), *held)
    assert personal.wrong.keys() == set(ALPHAS)
    assert personal.alpha == 0


def test_a_class_that_the_plant_has_not_had_yet_is_still_named_whatever_alpha():
    rng = np.random.default_rng(11)
    dents = encode(CODE, (rng.standard_normal((300, DIMENSION)) + 4).astype(np.float32))
    fleet = merge([sums(*samples(1, 2000)), sums(dents[:200], ["dent"] * 200)])
    personal = choose_alpha(fleet, sums(*samples(2, 100, turned=True)), *samples(3, 200, turned=True), alphas=(100,))
    head = head_of(personal.source, personal.ridge, ["ok"], CODE)
    named = np.array(head.classes)[logits(head, dents[200:].astype(np.float32) * np.float32(0.1)).argmax(axis=1)]
    assert np.mean(named == "dent") > 0.9


def test_a_class_that_only_the_plant_has_is_named_too():
    plant, held = sums(*samples(2, 100)), samples(3, 100)
    codes, labels = samples(1, 500)
    elsewhere = encode(CODE, np.full((20, DIMENSION), 5, np.float32))
    good = codes[[label == "ok" for label in labels]]
    fleet = merge([sums(good, ["ok"] * len(good)), sums(elsewhere, ["dent"] * 20)])
    personal = choose_alpha(fleet, plant, *held)
    assert personal.alpha >= 1
    assert personal.source.classes == ("dent", "ok", "pit")
    assert personal.wrong[personal.alpha] < 0.1


def test_alpha_counts_the_plant_s_samples_exactly_that_often():
    fleet, plant, held = sums(*samples(1, 200)), sums(*samples(2, 50)), samples(3, 100)
    personal = choose_alpha(fleet, plant, *held, alphas=(3,))
    by_hand = spectrum(merge([fleet, times(plant, 3)]), expected=merge([fleet, plant]).counts)
    np.testing.assert_array_equal(personal.source.axes, by_hand.axes)


def test_without_a_held_out_sample_of_a_known_class_it_is_refused():
    fleet, plant = sums(*samples(1, 200)), sums(*samples(2, 50))
    with pytest.raises(RefusedError, match="hold some back"):
        choose_alpha(fleet, plant, samples(3, 2)[0], ["dent", "dent"])
    with pytest.raises(RefusedError, match="hold some back"):
        choose_alpha(fleet, plant, samples(3, 0)[0], [])
