"""A picture's codes: the first view is the picture as it came, the others are the picture turned."""

import numpy as np
import pytest

from edge_agent.capture.picture import prepare_for
from edge_agent.learn.feature_code import encode
from edge_agent.models.coding import code_picture


@pytest.fixture
def model(store, pristine, runtime):
    return store.activate("surface", store.stage(pristine), runtime)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_the_first_view_is_what_the_gateway_judges(model, image):
    vector, codes = code_picture(model, image)

    np.testing.assert_array_equal(vector, model.encoder.encode(prepare_for(image, model.canvas)).vector)
    np.testing.assert_array_equal(codes, encode(model.code, vector[None]))


def test_the_other_views_are_the_codes_of_the_turned_picture(model, image):
    _, codes = code_picture(model, image, 4)
    _, turned = code_picture(model, np.rot90(image), 4)

    assert codes.shape == (4, model.code.dimension)
    np.testing.assert_array_equal(codes[[1, 2, 3, 0]], turned)
    np.testing.assert_array_equal(code_picture(model, image, 2)[1], codes[[0, 2]])


@pytest.mark.parametrize("views", [0, 3, 8])
def test_a_number_of_views_that_nobody_knows_is_refused(model, image, views):
    with pytest.raises(ValueError, match=r"expected one of \[1, 2, 4\]"):
        code_picture(model, image, views)
