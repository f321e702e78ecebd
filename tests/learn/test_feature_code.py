"""int8 features: the steps belong to the encoder, what is within reach comes back to half a step, the rest is bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import (
    LEVEL_MAX,
    REACH,
    FeatureCode,
    clipped_share,
    decode,
    encode,
    fit_code,
)

DIMENSION = 12


def pictures(seed=0, count=200):
    """Vectors of features that differ in level and spread by orders of magnitude, as an encoder's do."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, DIMENSION)) * np.geomspace(0.1, 10, DIMENSION) + 5).astype(np.float32)


CODE = fit_code(pictures())


@given(seed=st.integers(1, 99), wider=st.floats(0.05, 2.0))
@settings(max_examples=30)
def test_what_is_within_reach_comes_back_to_half_a_step(seed, wider):
    vectors = (pictures(seed) - 5) * np.float32(wider) + 5
    missed = np.abs(decode(CODE, encode(CODE, vectors)) - vectors)
    assert (missed <= CODE.step * 0.501).all()


def test_a_step_is_a_small_part_of_the_spread_and_the_reach_is_wide():
    spread = pictures().std(axis=0)
    np.testing.assert_allclose(CODE.step, spread * REACH / LEVEL_MAX, rtol=1e-4)
    assert (CODE.step < spread / 10).all()


def test_what_is_out_of_reach_becomes_the_outermost_level_and_is_counted():
    far = np.stack([CODE.offset + 1000 * CODE.step, CODE.offset - 1000 * CODE.step])
    codes = encode(CODE, far)
    assert (codes[0] == LEVEL_MAX).all()
    assert (codes[1] == -LEVEL_MAX).all()
    assert clipped_share(codes) == 1.0
    assert clipped_share(encode(CODE, pictures())) == 0.0
    assert clipped_share(codes[:0]) == 0.0


def test_the_same_vectors_have_the_same_codes_alone_or_together_and_in_any_memory_order():
    vectors = pictures(3)
    together = encode(CODE, vectors)
    np.testing.assert_array_equal(np.concatenate([encode(CODE, vector[None]) for vector in vectors]), together)
    np.testing.assert_array_equal(encode(CODE, np.asfortranarray(vectors)), together)


def test_features_that_never_moved_still_get_a_step_they_can_move_in():
    still = pictures()
    still[:, 0] = 7.0
    code = fit_code(still)
    assert code.step[0] > 0
    assert fit_code(np.full((5, 3), 2.0, np.float32)).step.min() > 0
    assert fit_code(np.zeros((5, 3), np.float32)).step.min() > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_refused(bad):
    vectors = pictures()
    vectors[5, 3] = bad
    with pytest.raises(RefusedError, match="NaN or infinity"):
        encode(CODE, vectors)
    with pytest.raises(RefusedError, match="finite"):
        fit_code(vectors)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(RefusedError, match=rf"\[n, {DIMENSION}\]"):
        encode(CODE, np.zeros((1, DIMENSION + 1), np.float32))


@pytest.mark.parametrize(
    ("offset", "step"),
    [
        (np.zeros(3, np.float32), np.ones(4, np.float32)),
        (np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32)),
        (np.zeros(3), np.ones(3)),
        (np.zeros(3, np.float32), np.array([1, 0, 1], np.float32)),
        (np.zeros(3, np.float32), np.array([1, -1, 1], np.float32)),
        (np.array([np.nan, 0, 0], np.float32), np.ones(3, np.float32)),
    ],
)
def test_a_code_that_cannot_be_is_refused(offset, step):
    with pytest.raises(RefusedError, match="feature code"):
        FeatureCode(offset=offset, step=step)
