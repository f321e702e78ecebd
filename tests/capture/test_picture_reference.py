"""What is kept of a camera's sound pictures, and the numbers that it is made of."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.picture_health import MARGINS, REACH
from edge_agent.capture.picture_reference import MOST_REFERENCE_BYTES, READINGS, from_json, learn, readings, to_json
from edge_agent.capture.picture_statistics import shrink, small_size, statistics_of
from edge_agent.errors import CorruptStoreError
from tests.capture.scenes import scene

KNOWN = to_json(learn([statistics_of(scene(seed)) for seed in range(12)], "whole", (240, 320), MARGINS, REACH))


def test_every_reading_has_a_centre_within_what_was_seen_and_a_reach_of_at_least_its_margin():
    seen = [statistics_of(scene(seed)) for seed in range(12)]
    reference = learn(seen, "whole", (240, 320), MARGINS, REACH)

    for name in READINGS:
        values = [readings(one, reference.template)[name] for one in seen]
        assert min(values) <= reference.expected[name].centre <= max(values)
        assert reference.expected[name].reach >= MARGINS[name]


def test_only_the_holder_is_taken_for_fixed_not_the_parts():
    template = learn([statistics_of(scene(seed)) for seed in range(30)], "whole", (240, 320), MARGINS, REACH).template
    columns = template.where.any(axis=0)

    assert columns[: len(columns) // 8].any()
    assert columns[-len(columns) // 8 :].any()
    assert not columns[len(columns) // 4 : -len(columns) // 4].any()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_reference_or_refused(content):
    with pytest.raises(CorruptStoreError):
        from_json(content)


@given(st.data())
@settings(max_examples=200)
def test_a_reference_with_one_value_changed_is_read_or_refused_and_still_works(data):
    plain = json.loads(KNOWN)
    place = data.draw(
        st.sampled_from(
            [(plain, key) for key in plain]
            + [(plain["template"], k) for k in ("shape", "where", "edges", "slopes")]
            + [(plain["expected"], name) for name in READINGS]
        )
    )
    place[0][place[1]] = data.draw(
        st.one_of(
            st.none(),
            st.integers(),
            st.floats(),
            st.text(max_size=8),
            st.lists(st.one_of(st.integers(), st.floats()), max_size=3),
            st.just({}),
        )
    )
    try:
        reference = from_json(json.dumps(plain).encode())
    except CorruptStoreError:
        return
    readings(statistics_of(scene(1)), reference.template if reference.size_px == (240, 320) else None)


@pytest.mark.parametrize("cut", range(0, len(KNOWN), 97))
def test_every_beginning_of_a_reference_is_refused(cut):
    with pytest.raises(CorruptStoreError):
        from_json(KNOWN[:cut])


def test_a_reference_of_another_version_or_without_bounds_is_refused():
    with pytest.raises(CorruptStoreError, match="version 99, expected 2"):
        from_json(json.dumps({**json.loads(KNOWN), "version": 99}).encode())
    with pytest.raises(CorruptStoreError, match="at most"):
        from_json(b" " * (MOST_REFERENCE_BYTES + 1))


@given(height=st.integers(1, 1300), width=st.integers(1, 2000), grey=st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_the_small_picture_has_the_size_that_was_said_and_the_light_of_the_view(height, width, grey):
    small = shrink(np.full((height, width, 3), grey, np.uint8))

    assert small.shape == small_size((height, width))
    assert set(np.unique(small)) == {grey}


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (1080, 1920), (1200, 1600)])
def test_every_column_of_a_camera_s_view_counts_in_the_small_picture(size):
    ramp = np.linspace(40, 200, size[1]).astype(np.uint8)
    view = np.ascontiguousarray(np.broadcast_to(ramp[None, :, None], (*size, 3)))

    assert abs(float(shrink(view).mean()) - float(view.mean())) < 1.5


def test_sharpness_falls_with_blur_and_hardly_changes_with_the_amount_of_structure_or_light():
    sharp = statistics_of(scene(1, noise=0))
    for light in (0.5, 0.8):
        assert abs(statistics_of(scene(1, noise=0, light=light)).fineness - sharp.fineness) < 0.4
    found = [statistics_of(scene(1, noise=0, blur_px=blur)) for blur in (0.6, 1.0, 1.5, 2.5, 4.0)]

    # Not in order: in a strong blur the rounding to whole grey values is all that is fine.
    assert all(one.fineness < sharp.fineness - 0.5 for one in found[1:])
    assert [one.detail for one in found] == sorted((one.detail for one in found), reverse=True)


def test_fingerprints_are_equal_for_equal_pictures_and_differ_by_one_frame_of_noise():
    assert statistics_of(scene(3)).fingerprint == statistics_of(scene(3).copy()).fingerprint
    prints = {statistics_of(_noisier(scene(3), seed)).fingerprint for seed in range(100)}
    assert len(prints) == 100


def _noisier(picture, seed):
    noise = np.random.default_rng(seed).integers(0, 2, picture.shape, dtype=np.uint8)
    return cv2.add(picture, noise)
