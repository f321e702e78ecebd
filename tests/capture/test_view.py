"""What of a picture is looked at, and the way back to the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.view import EVERYTHING, View, apply, to_whole
from edge_agent.errors import ConfigError
from edge_agent.records import Region

TRIANGLE = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))


def scene(height=60, width=80):
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), np.uint8)


def test_without_a_view_the_picture_is_the_same_memory_but_read_only():
    image = scene()
    seen = apply(EVERYTHING, image)

    assert np.shares_memory(seen, image)
    assert not seen.flags.writeable
    assert image.flags.writeable


def test_a_rectangle_is_cut_out_as_a_copy():
    image = scene(100, 200)
    seen = apply(View(roi=Region(x=0.1, y=0.2, width=0.5, height=0.25)), image)

    np.testing.assert_array_equal(seen, image[20:45, 20:120])
    assert not np.shares_memory(seen, image)
    assert seen.flags.c_contiguous
    assert not seen.flags.writeable


@pytest.mark.parametrize(("rotation", "turns"), [(0, 0), (90, -1), (180, 2), (270, 1)])
def test_rotation_is_clockwise_and_comes_before_the_cut(rotation, turns):
    upright = np.rot90(scene(), turns)
    height, width = upright.shape[:2]
    seen = apply(View(rotation=rotation, roi=Region(x=0.5, y=0.0, width=0.5, height=0.5)), scene())

    np.testing.assert_array_equal(seen, upright[: height // 2, width // 2 :])


def test_masks_are_black_and_everything_else_is_untouched():
    image = scene(100, 100)
    seen = apply(View(mask=(Region(x=0.0, y=0.0, width=0.5, height=0.5), TRIANGLE)), image)

    assert not seen[:40, :40].any()
    np.testing.assert_array_equal(seen[60:, 60:], image[60:, 60:])
    assert image.all()


def test_a_polygon_is_cut_to_its_box_and_black_outside():
    polygon = ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8))
    seen = apply(View(roi=polygon), scene(100, 100))

    assert seen.shape == (60, 60, 3)
    assert seen[:20, :20].all()
    assert not seen[-20:, -20:].any()


def test_the_smallest_region_is_one_pixel():
    assert apply(View(roi=Region(x=0.999, y=0.999, width=0.0001, height=0.0001)), scene(10, 10)).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"rotation": 45}, "rotation is 45, expected 0, 90, 180 or 270"),
        ({"roi": Region(x=0.5, y=0.0, width=0.6, height=1.0)}, "leaves the picture"),
        ({"roi": Region(x=0.5, y=0.0, width=0.0, height=1.0)}, "is empty"),
        ({"roi": ((0.0, 0.0), (1.0, 1.0))}, "polygon with 2 corners"),
        ({"mask": (((0.0, 0.0), (1.0, 0.0), (0.0, 1.5)),)}, "leaves the picture"),
    ],
)
def test_an_impossible_view_is_refused_with_what_was_found(keys, words):
    with pytest.raises(ConfigError, match=words):
        View(**keys)


fractions = st.floats(0.0, 0.9)


@given(
    st.sampled_from([0, 90, 180, 270]),
    st.tuples(fractions, fractions),
    st.integers(0, 19),
    st.integers(0, 19),
)
@settings(max_examples=100, deadline=None)
def test_a_region_of_the_view_finds_its_way_back_to_the_whole_picture(rotation, corner, row, column):
    """A marked pixel of the whole picture, found in the view, maps back onto the marked pixel."""
    whole = np.zeros((20, 20, 3), np.uint8)
    whole[row, column] = 255
    x, y = round(corner[0], 1), round(corner[1], 1)  # whole pixels of 20, so that rounding plays no part
    view = View(rotation=rotation, roi=Region(x=x, y=y, width=round(1 - x, 1), height=round(1 - y, 1)))
    seen = apply(view, whole)
    found = np.argwhere(seen[..., 0])
    if len(found) == 0:
        return
    height, width = seen.shape[:2]
    region = Region(x=found[0][1] / width, y=found[0][0] / height, width=1 / width, height=1 / height)
    back = to_whole(view, region)

    np.testing.assert_allclose((back.x * 20, back.y * 20), (column, row), atol=1e-6)
    np.testing.assert_allclose((back.width * 20, back.height * 20), (1, 1), atol=1e-6)
