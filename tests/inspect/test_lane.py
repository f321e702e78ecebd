"""Several models on one camera: who judges which part, whose verdict counts, where on the picture a find lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.picture import prepare_for
from edge_agent.inspect.lane import Absent, Lane, deciding, on_picture
from edge_agent.records import Assessment, Canvas, Detection, Finding, Region, Verdict

sides = st.integers(1, 3000)


def finding(name, verdict):
    return Finding(
        name=name, model=None, verdict=verdict, label=None, score=None, threshold=None, reason=None, where=None
    )


def names(seats):
    return None if seats is None else tuple(seat.name for seat in seats)


@given(st.lists(st.sampled_from(Verdict), min_size=1, max_size=8))
def test_the_worst_verdict_counts_and_of_equal_ones_the_first(verdicts):
    chosen = deciding([finding(str(number), verdict) for number, verdict in enumerate(verdicts)])

    worst = next(verdict for verdict in (Verdict.FAIL, Verdict.HOLD, Verdict.PASS) if verdict in verdicts)
    assert (chosen.verdict, chosen.name) == (worst, str(verdicts.index(worst)))


LANE = Lane(
    first=Absent(name="lid"),
    others=(Absent(name="screws"),),
    recipes={"black": Absent(name="lid-black"), "only": Absent(name="screws")},
)


@pytest.mark.parametrize(
    ("recipe", "judged_by"),
    [
        (None, ("lid", "screws")),
        ("black", ("lid-black", "screws")),
        ("only", ("screws",)),  # it judges every part anyway, and needs no second look
        ("unheard-of", None),
        ("", None),
    ],
)
def test_a_recipe_changes_who_takes_the_first_place_and_an_unknown_one_is_nobodys(recipe, judged_by):
    assert names(LANE.seats(recipe)) == judged_by


def test_where_no_recipes_are_configured_they_change_nothing():
    assert names(Lane(first=Absent(name="lid")).seats("anything")) == ("lid",)


@given(st.tuples(sides, sides), st.tuples(st.integers(16, 700), st.integers(16, 700)), st.booleans())
def test_a_picture_lies_inside_its_canvas_in_the_middle_and_touches_two_borders(size, px, letterbox):
    canvas = Canvas(px=px, letterbox=letterbox)

    top, left, height, width = canvas.inner(*size)

    assert 1 <= height <= px[0]
    assert 1 <= width <= px[1]
    assert height == px[0] or width == px[1]
    assert abs(px[0] - height - 2 * top) <= 1
    assert abs(px[1] - width - 2 * left) <= 1


def test_a_letterboxed_picture_keeps_its_proportions_and_grey_fills_the_rest():
    image = np.zeros((100, 200, 3), np.uint8)

    prepared = prepare_for(image, Canvas(px=(64, 64), letterbox=True))

    assert prepared.shape == (64, 64, 3)
    assert (prepared[16:48] == 0).all()
    assert (prepared[:16] == 114).all()
    assert (prepared[48:] == 114).all()


@given(
    st.tuples(st.integers(20, 2000), st.integers(20, 2000)),
    st.tuples(st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 0.1), st.floats(0.01, 0.1)),
)
def test_a_box_on_a_letterboxed_canvas_comes_back_to_where_it_is_in_the_picture(size, box):
    canvas = Canvas(px=(320, 416), letterbox=True)
    top, left, height, width = canvas.inner(*size)
    x, y, wide, high = box
    on_canvas = Region(
        x=(left + x * width) / 416, y=(top + y * height) / 320, width=wide * width / 416, height=high * height / 320
    )
    seen = Detection(label="screw", score=0.9, where=on_canvas, defect=False)

    back = on_picture(Assessment(label="ok", score=0.1, detections=(seen,), where=on_canvas), canvas, size)

    for region in (back.detections[0].where, back.where):
        assert (region.x, region.y, region.width, region.height) == pytest.approx(box, abs=1e-6)


def test_of_a_heat_map_over_a_letterboxed_canvas_the_border_is_cut_off():
    heat = np.zeros((8, 8), np.float32)
    heat[2:6] = 1.0

    cut = on_picture(Assessment(label="ok", score=0.0, heat=heat), Canvas(px=(64, 64), letterbox=True), (100, 200))

    assert cut.heat.shape == (4, 8)
    assert (cut.heat == 1.0).all()
