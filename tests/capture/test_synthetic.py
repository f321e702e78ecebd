"""The built-in line: reproducible, varied, honest about where its defects are."""

import numpy as np
import pytest

from edge_agent.capture.synthetic import DEFECTS, LABELS, PLANTS, SyntheticLine, look_of

NAMES = (*PLANTS, "a plant nobody named")


@pytest.mark.parametrize("plant", NAMES)
def test_the_same_arguments_give_the_same_pixels_in_any_order(plant):
    first, second = SyntheticLine(plant, 7, 160, 120), SyntheticLine(plant, 7, 160, 120)
    forwards = [first.part(index) for index in range(8)]
    backwards = [second.part(index) for index in reversed(range(8))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert np.array_equal(one.image, other.image)
        assert (one.label, one.region) == (other.label, other.region)


def test_plants_seeds_and_indices_give_different_pictures():
    pictures = [
        SyntheticLine(plant, seed, 160, 120).part(index).image.tobytes()
        for plant in NAMES
        for seed in (0, 1)
        for index in (0, 1)
    ]
    assert len(set(pictures)) == len(pictures)


@pytest.mark.parametrize(("width_px", "height_px"), [(640, 480), (33, 97), (200, 40)])
def test_pictures_have_the_size_that_was_asked_for(width_px, height_px):
    line = SyntheticLine("lyon", 1, width_px, height_px, defect_share=1.0)
    for index in range(40):
        image = line.part(index).image
        assert image.shape == (height_px, width_px, 3)
        assert image.dtype == np.uint8


def test_about_the_asked_share_of_parts_is_defective_and_every_kind_occurs():
    line = SyntheticLine("default", 3, 64, 48, defect_share=0.4)
    labels = [line.part(index).label for index in range(600)]
    assert set(labels) == set(LABELS)
    assert 0.33 < 1 - labels.count("ok") / len(labels) < 0.47


@pytest.mark.parametrize(("share", "expected"), [(0.0, {"ok"}), (1.0, set(DEFECTS))])
def test_a_share_of_none_or_all_is_exact(share, expected):
    line = SyntheticLine("osaka", 3, 64, 48, defect_share=share)
    assert {line.part(index).label for index in range(80)} == expected


def test_a_part_has_a_region_within_the_picture_exactly_when_it_has_a_defect():
    line = SyntheticLine("puebla", 5, 160, 120, defect_share=0.5)
    for index in range(100):
        part = line.part(index)
        assert (part.region is None) == (part.label == "ok")
        if part.region is not None:
            box = part.region
            assert box.width > 0
            assert box.height > 0
            assert min(box.x, box.y) >= 0
            assert max(box.x + box.width, box.y + box.height) <= 1 + 1e-9


@pytest.mark.parametrize("plant", PLANTS)
def test_what_a_defect_changes_lies_in_its_region(plant):
    """The same part number with and without defects differs in label draws only, so compare change within one line."""
    width, height = 320, 240
    line = SyntheticLine(plant, 2, width, height, defect_share=1.0)
    gray = np.full((height, width), 100.0, np.float32)
    for label in DEFECTS:
        for seed in range(10):
            painted = gray.copy()
            region = line._spoil(painted, label, np.random.default_rng(seed))
            change = np.abs(painted - gray)
            left, top = round(region.x * width), round(region.y * height)
            right, bottom = round((region.x + region.width) * width), round((region.y + region.height) * height)
            assert change[top:bottom, left:right].max() == change.max() > 1.0
            change[top:bottom, left:right] = 0.0
            assert change.max() <= 0.26 * np.abs(painted - gray).max()


def test_the_light_of_a_plant_lies_near_the_level_of_its_look():
    for plant in NAMES:
        line = SyntheticLine(plant, 4, 160, 120, defect_share=0.0)
        level = np.mean([line.part(index).image[..., 1].mean() for index in range(10)])
        assert abs(level - look_of(plant).level) < 0.1 * look_of(plant).level


@pytest.mark.parametrize("wrong", [{"defect_share": 1.1}, {"defect_share": -0.1}, {"width_px": 31}, {"height_px": 0}])
def test_a_line_that_cannot_be_made_is_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        SyntheticLine("default", **wrong)
