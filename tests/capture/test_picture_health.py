"""Sound pictures pass for hours, each fault is told within ten pictures and over soon after it is, and nothing is guessed."""

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.addresses import parse
from edge_agent.capture.picture_health import (
    ALL_CHECKS,
    PHASES,
    HealthPlan,
    Phase,
    PhaseEvent,
    PictureHealth,
    default_checks,
    frozen_after,
)
from edge_agent.capture.picture_reference import from_json, to_json
from edge_agent.capture.view import View, apply
from edge_agent.records import HoldReason, Region
from tests.capture.scenes import scene

LEARN = 30
WITHIN = 10
SOON = 8


class Camera:
    """A health under test with the references that it gave away."""

    def __init__(self, checks=ALL_CHECKS, *, reference=None, view="whole", **plan):
        self.kept = []
        plan = HealthPlan(checks=frozenset(checks), view=view, pictures=LEARN, **plan)
        self.health = PictureHealth(plan, reference, self.kept.append)
        self.state = self.health.health.state

    def see(self, *pictures):
        """What was said of each picture."""
        said = [self.health.examine(picture) for picture in pictures]
        self.state = self.health.health.state
        return said

    def taught(self, **look):
        """The same camera after it learned and saw a few more."""
        assert set(self.see(*(scene(seed, **look) for seed in range(LEARN + 10)))) == {None}
        assert self.state == "healthy"
        return self


@pytest.fixture(scope="module")
def reference():
    """What a camera over the station learned."""
    return Camera().taught().kept[0]


@pytest.fixture
def taught(reference):
    """A camera that knows the station."""
    return Camera(reference=reference)


FAULTS = {
    "black": (HoldReason.DARK, lambda seed: np.zeros_like(scene(seed))),
    "black with a noisy sensor": (HoldReason.DARK, lambda seed: scene(seed, light=0.0)),
    "at 15 % of the light": (HoldReason.DARK, lambda seed: scene(seed, light=0.15)),
    "white": (HoldReason.OVEREXPOSED, lambda seed: np.full_like(scene(seed), 255)),
    "at three times the light": (HoldReason.OVEREXPOSED, lambda seed: scene(seed, light=3.0)),
    "out of focus by 2 px": (HoldReason.BLURRED, lambda seed: scene(seed, blur_px=2.0)),
    "out of focus by 5 px": (HoldReason.BLURRED, lambda seed: scene(seed, blur_px=5.0)),
    "moved by 3 %": (HoldReason.MOVED, lambda seed: scene(seed, shift_px=10)),
    "moved by 10 %": (HoldReason.MOVED, lambda seed: scene(seed, shift_px=-32)),
    "frozen": (HoldReason.FROZEN, lambda _seed: scene(7)),
    "a loop of five": (HoldReason.REPEATED, lambda seed: scene(seed % 5)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_told_within_ten_pictures_and_over_soon_after_it_is(taught, fault):
    reason, spoiled = FAULTS[fault]
    taught.see(*(scene(1000 + number) for number in range(20)))

    said = taught.see(*(spoiled(2000 + number) for number in range(40)))
    assert reason in said[:WITHIN]
    assert said[WITHIN:] == [reason] * 30
    assert taught.state == reason.value

    said = taught.see(*(scene(3000 + number) for number in range(30)))
    assert said[SOON:] == [None] * (30 - SOON)
    assert taught.state == "healthy"


@pytest.mark.parametrize("fault", ["black", "black with a noisy sensor", "white"])
def test_a_picture_without_light_or_all_burnt_out_is_never_taken_for_a_part(taught, fault):
    reason, spoiled = FAULTS[fault]

    assert taught.see(scene(1), spoiled(2)) == [None, reason]


def stream(lights, *, parts=250):
    """A picture for each light: parts in turn, never twice the same picture."""
    sound = [scene(seed) for seed in range(parts)]
    rng = np.random.default_rng(5)
    for number, light in enumerate(lights):
        picture = cv2.convertScaleAbs(sound[number % parts], alpha=light)
        row = picture[number % len(picture)]
        row += rng.integers(0, 2, row.shape, dtype=np.uint8)  # beside the noise that it has
        picture[0, 0] = number % 251
        yield picture


def test_five_thousand_sound_pictures_under_flickering_light_raise_nothing(taught):
    lights = np.random.default_rng(6).normal(1, 0.05, 5000)

    assert set(taught.see(*stream(lights))) == {None}


def test_light_that_changes_over_hours_is_followed_and_a_lamp_that_dies_is_not(taught):
    assert set(taught.see(*stream(np.linspace(1.0, 0.45, 2000)))) == {None}  # less than half: told if it came at once

    said = taught.see(*stream(np.linspace(0.45, 0.05, 1500)))
    assert HoldReason.DARK in said
    assert said.index(HoldReason.DARK) < 1000
    assert said[-1] is HoldReason.DARK


def test_a_fault_is_never_learned_however_long_it_lasts(taught):
    assert taught.see(*stream([0.15] * 2000))[WITHIN:] == [HoldReason.DARK] * (2000 - WITHIN)

    assert taught.see(*stream([1.0] * 20))[SOON:] == [None] * (20 - SOON)


def test_a_scene_without_anything_fixed_has_no_check_for_a_moved_camera_and_says_so():
    camera = Camera()
    camera.see(*(scene(seed, holder=False) for seed in range(LEARN)))
    assert camera.kept[0].template is None

    said = camera.see(*(scene(100 + seed, holder=False, shift_px=32) for seed in range(20)))

    assert set(said) == {None}


@pytest.mark.parametrize("holder", [True, False])
def test_the_outline_of_a_mask_is_not_taken_for_something_that_stays(holder):
    view = View(mask=(Region(x=0.3, y=0.3, width=0.4, height=0.4), ((0.0, 0.0), (0.3, 0.0), (0.0, 0.1))))
    camera = Camera()
    camera.see(*(apply(view, scene(seed, holder=holder)) for seed in range(LEARN)))

    assert (camera.kept[0].template is not None) is holder
    said = camera.see(*(apply(view, scene(100 + seed, holder=holder, shift_px=16)) for seed in range(WITHIN)))
    assert (HoldReason.MOVED in said) is holder


def test_while_it_learns_black_and_frozen_pictures_are_told_and_teach_nothing():
    camera = Camera()
    camera.see(*(scene(seed) for seed in range(10)))
    assert camera.state == "learning 10/30"

    assert set(camera.see(*(np.zeros_like(scene(0)) for _ in range(5)))) == {HoldReason.DARK}
    said = camera.see(*([scene(50)] * 8))
    assert said[-1] is HoldReason.FROZEN
    camera.see(*(scene(seed) for seed in range(100, 140)))

    assert camera.state == "healthy"
    assert FAULTS["at 15 % of the light"][0] in camera.see(*(scene(seed, light=0.15) for seed in range(200, 210)))


@given(checks=st.frozensets(st.sampled_from(sorted(ALL_CHECKS))), fault=st.sampled_from(sorted(FAULTS)))
@settings(max_examples=40, deadline=None)
def test_only_the_checks_that_are_on_are_told(reference, checks, fault):
    camera = Camera(checks, reference=reference)
    _, spoiled = FAULTS[fault]

    said = camera.see(*(scene(seed) for seed in range(500, 508)), *(spoiled(600 + number) for number in range(20)))

    assert set(said) - {None} <= checks


def test_without_checks_nothing_is_examined_learned_or_said():
    camera = Camera(())

    assert set(camera.see(*[np.zeros((10, 10, 3), np.uint8)] * 50)) == {None}
    assert (camera.state, camera.kept) == ("off", [])


def test_pictures_of_another_size_are_learned_anew(taught):
    taught.see(scene(1))
    assert taught.state == "healthy"

    half = [np.ascontiguousarray(scene(seed)[::2, ::2]) for seed in range(100, 100 + LEARN)]
    taught.see(half[0])
    assert taught.state == "learning 1/30"
    taught.see(*half[1:])

    assert taught.state == "healthy"
    assert taught.kept[0].size_px == (120, 160)


def test_a_reference_of_another_view_is_not_used(reference):
    camera = Camera(reference=reference, view="the left half")

    assert camera.state == "learning 0/30"


def test_after_a_change_on_purpose_a_camera_learns_when_it_is_told_to(taught):
    darker = [scene(seed, light=0.3, shift_px=20) for seed in range(LEARN + 30)]
    assert taught.see(*darker[:10])[-1] is not None

    taught.health.relearn()
    said = taught.see(*darker[10:])

    assert set(said) == {None}
    assert taught.state == "healthy"


def test_a_camera_that_runs_freely_learns_from_pictures_that_lie_apart():
    camera = Camera(parts=False, learn_every=10)

    camera.see(*stream([1.0] * 290))
    assert camera.state == "learning 29/30"
    camera.see(scene(999))
    assert camera.state == "healthy"


def test_one_part_that_stays_before_a_camera_that_runs_freely_is_no_fault():
    camera = Camera(parts=False)
    camera.see(*(scene(seed) for seed in range(LEARN)))

    for part in range(500, 520):
        rng = np.random.default_rng(part)
        still = [cv2.add(scene(part), rng.integers(0, 3, (240, 320, 3), dtype=np.uint8)) for _ in range(20)]
        assert set(camera.see(*still)) == {None}
    assert HoldReason.BLURRED in camera.see(*(scene(seed, blur_px=2.0) for seed in range(600, 610)))


def test_how_many_equal_pictures_mean_frozen_depends_on_where_they_come_from():
    assert frozen_after(parse("v4l2:/dev/v4l/by-id/usb-Cam"), triggered=False) == 3
    assert frozen_after(parse("v4l2:/dev/v4l/by-id/usb-Cam"), triggered=True) == 2
    assert frozen_after(parse("folder:/srv/parts?watch=1"), triggered=False) == 2
    assert frozen_after(parse("http://10.0.0.12/mjpeg"), triggered=False) == 3
    assert frozen_after(parse("rtsp://10.0.0.12/stream1"), triggered=True) == 100
    assert frozen_after(parse("gstreamer:v4l2src ! videoconvert"), triggered=False) == 3
    assert frozen_after(parse("gstreamer:rtspsrc location=rtsp://cam ! decodebin"), triggered=False) == 100
    camera = Camera([HoldReason.FROZEN], frozen_after=10)
    assert camera.see(*([scene(1)] * 11)) == [None] * 9 + [HoldReason.FROZEN] * 2


@pytest.mark.parametrize(
    ("source", "checked"),
    [
        ("rtsp://10.0.0.12/stream1", True),
        ("v4l2:/dev/v4l/by-id/usb-Cam", True),
        ("http://10.0.0.12/mjpeg", True),
        ("genicam:any", True),
        ("folder:/srv/parts?watch=1", True),
        ("folder:/srv/parts", False),
        ("folder:/srv/parts?loop=1", False),
        ("video:/srv/shift.mp4", False),
        ("synthetic:mixed", False),
    ],
)
def test_files_and_the_built_in_line_are_not_checked_unless_asked(source, checked):
    assert default_checks(parse(source)) == (ALL_CHECKS if checked else frozenset())


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (7, 5), (32, 32), (33, 2000), (1080, 1920)])
def test_views_of_any_size_are_examined(size):
    camera = Camera()
    rng = np.random.default_rng(0)

    said = camera.see(*(rng.integers(60, 190, (*size, 3), dtype=np.uint8) for _ in range(LEARN + 2)))

    assert len(said) == LEARN + 2
    if min(size) > 1:
        assert camera.state == "healthy"
        assert from_json(to_json(camera.kept[0])).size_px == size


def test_every_phase_knows_every_event_or_refuses_it():
    assert PHASES[Phase.LEARNING][PhaseEvent.KNOWN] is Phase.WATCHING
    assert {moves[PhaseEvent.CHANGED] for moves in PHASES.values()} == {Phase.LEARNING}
    assert PhaseEvent.KNOWN not in PHASES[Phase.WATCHING]


def test_what_is_told_says_what_was_found_and_what_was_expected(taught):
    taught.see(*(scene(seed, light=0.15) for seed in range(10)))
    text = taught.health.health.finding.text

    assert "mean grey" in text
    assert "expected at least" in text


def test_a_reference_survives_its_file_and_json(reference):
    again = from_json(to_json(reference))

    assert json.loads(to_json(again)) == json.loads(to_json(reference))
    assert again.template is not None
    assert len(to_json(reference)) < 20_000
    faulty = Camera(reference=again).see(*(scene(seed, shift_px=12) for seed in range(10)))
    assert faulty[-1] is HoldReason.MOVED
