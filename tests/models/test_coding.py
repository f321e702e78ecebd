"""A picture's codes: the first view is the picture as it came, the others are the picture turned."""

import numpy as np
import pytest

from edge_agent.capture.picture import prepare_for
from edge_agent.learn.book import Entry, new_book, put, relabel, withdraw
from edge_agent.learn.book_file import to_bytes
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


def test_a_book_made_again_from_the_pictures_in_another_order_has_the_same_bytes(model, rng):
    pictures = rng.integers(0, 256, (12, 40, 40, 3), dtype=np.uint8)
    entries = [
        Entry(sample=f"part-{n}", label=("ok", "pit", "crack")[n % 3], source="anna", block=f"day-{n // 5}")
        for n in range(len(pictures))
    ]

    def made(order, at_once):
        book = new_book(model.coder, model.code.dimension, 2)
        for start in range(0, len(order), at_once):
            rows = order[start : start + at_once]
            codes = np.stack([code_picture(model, pictures[row], 2)[1] for row in rows])
            book = put(book, [entries[row] for row in rows], codes)
        return book

    first = made(list(range(12)), 12)
    # Labels changed and withdrawn on the way leave nothing behind.
    detour = withdraw(relabel(first, [("part-3", "dent", "bela")]), {"part-7"})
    seventh = code_picture(model, pictures[7], 2)[1]
    back = put(relabel(detour, [("part-3", "ok", "anna")]), [entries[7]], seventh[None])

    assert to_bytes(made(rng.permutation(12).tolist(), 5)) == to_bytes(first)
    assert to_bytes(back) == to_bytes(first)
