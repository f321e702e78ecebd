"""The inspect loop: every frame has exactly one inspection, and no step ever sees two models."""

import dataclasses
import threading
from collections import deque

import numpy as np
import pytest

from edge_agent.errors import BadPictureError, InferenceError
from edge_agent.inspect.decide import Rules
from edge_agent.inspect.lane import Absent, Judge, Lane
from edge_agent.inspect.loop import InspectLoop
from edge_agent.records import Assessment, Canvas, Detection, Drop, Features, Frame, HoldReason, Region, Verdict
from edge_agent.sync.messages import inspection_message
from tests.fakes.clock import FakeClock


class Frames:
    """The loop's view of the queue: a list; remembers what was reported as done."""

    def __init__(self, *frames):
        self.waiting = deque(frames)
        self.finished = []

    def get(self, timeout_s):
        return self.waiting.popleft() if self.waiting else None

    def done(self, frame):
        self.finished.append(frame)


class Encoder:
    """Names itself in the features it makes, so that a mix of two models would show."""

    def __init__(self, mark, fault=None):
        self.mark = mark
        self.fault = fault

    def encode(self, picture):
        if self.fault is not None:
            raise self.fault
        return Features(vector=np.full(3, self.mark, np.float32), map=np.zeros((2, 2, 3), np.float32))


class Assessor:
    def __init__(self, mark, score=0.9, label="scratch"):
        self.mark = mark
        self.label = label
        self.score = score

    def assess(self, features):
        assert features.vector[0] == self.mark, "a head was given features of another encoder"
        return Assessment(label=self.label, score=self.score)


def frame(sequence=1, camera="press-3"):
    image = np.zeros((8, 8, 3), np.uint8)
    return Frame(camera=camera, sequence=sequence, captured_utc_s=1000.0, captured_mono_s=999.0, image=image, part="p1")


def judge(name="surface", mark=1.0, score=0.9, fault=None, label="scratch", **changes):
    values = {
        "name": name,
        "digest": f"{mark}",
        "canvas": Canvas(px=(4, 4)),
        "look": Encoder(mark, fault).encode,
        "assessor": Assessor(mark, score, label),
        "rules": Rules(),
    }
    return Judge(**{**values, **changes})


def lane(mark=1.0, score=0.9, fault=None, **changes):
    return Lane(first=judge(mark=mark, score=score, fault=fault), **changes)


def loop_of(frames, lanes, faults=None):
    seen = []
    loop = InspectLoop(
        frames=frames,
        lanes=lanes,
        prepare=lambda image, canvas: image[: canvas.px[0], : canvas.px[1]],
        sinks=(seen.append,),
        clock=FakeClock(),
        on_fault=lambda camera, text: (faults if faults is not None else []).append((camera, text)),
    )
    return loop, seen


def test_a_frame_above_the_threshold_fails_and_is_reported_done():
    frames = Frames(frame())
    loop, seen = loop_of(frames, {"press-3": lane()})

    assert loop.step(0.1)

    (inspection,) = seen
    assert (inspection.verdict, inspection.label, inspection.part) == (Verdict.FAIL, "scratch", "p1")
    assert (inspection.threshold, inspection.model) == (0.5, "1.0")
    assert len(frames.finished) == 1


@pytest.mark.parametrize("fault", [BadPictureError("odd shape"), InferenceError("GPU lost")])
def test_a_model_that_fails_on_a_picture_holds_that_part_tells_a_person_and_goes_on(fault):
    faults = []
    frames = Frames(frame(1), frame(2, "press-4"))
    loop, seen = loop_of(frames, {"press-3": lane(fault=fault), "press-4": lane(score=0.1)}, faults)

    loop.step(0.1)
    loop.step(0.1)

    assert [(i.verdict, i.reason) for i in seen] == [(Verdict.HOLD, HoldReason.MODEL), (Verdict.PASS, None)]
    assert faults == [("press-3", f"surface: {fault}")]
    assert len(frames.finished) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"paused": True}, HoldReason.PAUSED),
        ({"first": Absent(name="surface")}, HoldReason.MODEL),
    ],
)
def test_a_lane_that_cannot_judge_holds_every_part_with_the_reason(changes, reason):
    loop, seen = loop_of(Frames(frame()), {"press-3": dataclasses.replace(lane(), **changes)})

    loop.step(0.1)

    assert (seen[0].verdict, seen[0].reason, seen[0].latency) == (Verdict.HOLD, reason, None)


def test_a_frame_of_a_camera_without_a_lane_is_held_not_lost():
    loop, seen = loop_of(Frames(frame()), {})

    loop.step(0.1)

    assert (seen[0].verdict, seen[0].reason) == (Verdict.HOLD, HoldReason.MODEL)


def test_a_dropped_frame_becomes_a_hold_with_its_reason():
    loop, seen = loop_of(Frames(), {})

    loop.drop(Drop(camera="press-3", sequence=7, captured_utc_s=1000.0, reason=HoldReason.OVERLOAD, part="p7"))

    assert (seen[0].sequence, seen[0].part, seen[0].reason) == (7, "p7", HoldReason.OVERLOAD)


def test_models_are_swapped_between_two_steps_without_mixing_or_losing_a_frame():
    count = 400
    frames = Frames(*(frame(number) for number in range(1, count + 1)))
    loop, seen = loop_of(frames, {"press-3": lane(mark=1.0)})
    stop = threading.Event()

    def swap():
        mark = 1.0
        while not stop.is_set():
            mark = 3.0 - mark
            loop.lanes = {"press-3": lane(mark=mark)}

    swapper = threading.Thread(target=swap)
    swapper.start()
    while loop.step(0.0):
        pass
    stop.set()
    swapper.join()

    assert [i.sequence for i in seen] == list(range(1, count + 1))
    assert {i.verdict for i in seen} == {Verdict.FAIL}
    assert {i.model for i in seen} <= {"1.0", "2.0"}


def test_an_idle_turn_is_a_turn_so_that_the_watchdog_sees_the_loop_alive():
    loop, _ = loop_of(Frames(), {})

    assert not loop.step(0.0)

    assert loop.steps == 1


def several(**changes):
    values = {"first": judge("surface", 1.0, 0.1), "others": (judge("screws", 2.0, 0.9, label="dent"),)}
    return Lane(**{**values, **changes})


def test_several_models_judge_one_picture_and_it_has_one_inspection_with_a_finding_of_each():
    loop, seen = loop_of(Frames(frame()), {"press-3": several()})

    loop.step(0.1)

    (inspection,) = seen
    assert (inspection.verdict, inspection.label, inspection.model) == (Verdict.FAIL, "dent", "2.0")
    assert [(found.name, found.verdict) for found in inspection.findings] == [
        ("surface", Verdict.PASS),
        ("screws", Verdict.FAIL),
    ]


def test_the_witness_sees_the_heat_of_the_model_whose_verdict_counts():
    class Warm(Assessor):
        def assess(self, features):
            heat = np.full((2, 2), self.mark, np.float32)
            return dataclasses.replace(super().assess(features), heat=heat)

    passing, failing = judge(assessor=Warm(1.0, 0.1)), judge("screws", 2.0, assessor=Warm(2.0, 0.9))
    lanes = {"press-3": Lane(first=passing, others=(failing,)), "paused": lane(paused=True)}
    seen = []
    loop = InspectLoop(
        frames=Frames(frame(1), frame(2, camera="paused")),
        lanes=lanes,
        prepare=lambda image, _canvas: image,
        sinks=(),
        clock=FakeClock(),
        on_fault=lambda *_: None,
        witness=lambda *what: seen.append(what),
    )
    loop.step(0)
    loop.step(0)

    (_, failed, heat, _), (_, held, nothing, _) = seen
    assert (failed.verdict, held.reason, nothing) == (Verdict.FAIL, HoldReason.PAUSED, None)
    assert (heat == 2.0).all()


def test_one_model_alone_needs_no_list_of_findings():
    loop, seen = loop_of(Frames(frame()), {"press-3": lane()})

    loop.step(0.1)

    assert seen[0].findings == ()


@pytest.mark.parametrize(("score", "verdict"), [(0.1, Verdict.HOLD), (0.9, Verdict.FAIL)])
def test_where_one_of_several_models_fails_the_part_cannot_pass_and_may_still_fail(score, verdict):
    faults = []
    broken = judge("screws", fault=InferenceError("rows of 5 numbers"))
    loop, seen = loop_of(Frames(frame()), {"press-3": several(first=judge(score=score), others=(broken,))}, faults)

    loop.step(0.1)

    assert (seen[0].verdict, seen[0].findings[1].reason) == (verdict, HoldReason.MODEL)
    assert faults == [("press-3", "screws: rows of 5 numbers")]


def test_where_one_of_several_models_is_absent_the_others_still_judge():
    loop, seen = loop_of(Frames(frame()), {"press-3": several(others=(Absent(name="screws"),))})

    loop.step(0.1)

    assert (seen[0].verdict, seen[0].reason) == (Verdict.HOLD, HoldReason.MODEL)
    assert seen[0].findings[0].verdict is Verdict.PASS


def test_each_model_remembers_its_own_looks():
    twice = Rules(fails_needed=2, looks=2)
    lane = several(first=judge("a", 1.0, 0.9, rules=twice), others=(judge("b", 2.0, 0.1, rules=twice),))
    loop, seen = loop_of(Frames(frame(1), frame(2)), {"press-3": lane})

    loop.step(0.1)
    loop.step(0.1)

    assert [inspection.verdict for inspection in seen] == [Verdict.HOLD, Verdict.FAIL]
    assert [inspection.findings[1].verdict for inspection in seen] == [Verdict.PASS, Verdict.PASS]


def test_the_recipe_of_the_trigger_says_which_model_judges_and_an_unknown_one_is_a_hold():
    lane = several(others=(), recipes={"black": judge("lid-black", 3.0, 0.9)})
    frames = Frames(*(dataclasses.replace(frame(), recipe=recipe) for recipe in (None, "black", "white")))
    loop, seen = loop_of(frames, {"press-3": lane})

    for _ in range(3):
        loop.step(0.1)

    assert [(i.verdict, i.reason, i.model) for i in seen] == [
        (Verdict.PASS, None, "1.0"),
        (Verdict.FAIL, None, "3.0"),
        (Verdict.HOLD, HoldReason.RECIPE, "1.0"),
    ]


def test_a_picture_is_prepared_once_for_all_models_of_one_size():
    sizes = []
    loop, _ = loop_of(
        Frames(frame()), {"press-3": several(others=(judge("b", 2.0), judge("c", 3.0, canvas=Canvas(px=(2, 2)))))}
    )
    loop._prepare = lambda image, canvas: sizes.append(canvas.px) or image[: canvas.px[0], : canvas.px[1]]

    loop.step(0.1)

    assert sizes == [(4, 4), (2, 2)]


def test_no_more_detections_are_told_than_every_broker_takes():
    class Many:
        def assess(self, features):
            box = Region(x=0.0, y=0.0, width=1.0, height=1.0)
            found = tuple(Detection(label="x", score=0.9, where=box, defect=True) for _ in range(100))
            return Assessment(label="x", score=0.9, detections=found)

    loop, seen = loop_of(Frames(frame()), {"press-3": Lane(first=judge(assessor=Many()))})

    loop.step(0.1)

    assert len(seen[0].detections) == 32


def test_a_verdict_that_comes_after_the_part_has_left_is_a_hold_that_keeps_what_was_found():
    loop, seen = loop_of(Frames(dataclasses.replace(frame(), due_mono_s=1000.5)), {})

    class Slow(Encoder):
        def encode(self, picture):
            loop._clock.advance(0.6)
            return super().encode(picture)

    loop.lanes = {"press-3": Lane(first=judge(look=Slow(1.0).encode))}
    loop.step(0.1)

    assert (seen[0].verdict, seen[0].reason) == (Verdict.HOLD, HoldReason.LATE)
    assert (seen[0].label, seen[0].score) == ("scratch", 0.9)


def test_a_verdict_in_time_is_told_as_it_is():
    loop, seen = loop_of(Frames(dataclasses.replace(frame(), due_mono_s=1000.5)), {"press-3": lane()})

    loop.step(0.1)

    assert seen[0].verdict is Verdict.FAIL


def test_no_model_looks_at_a_part_that_has_left_already():
    late = dataclasses.replace(frame(), due_mono_s=999.5)
    loop, seen = loop_of(Frames(late), {"press-3": lane(fault=InferenceError("was asked"))})

    loop.step(0.1)

    assert (seen[0].verdict, seen[0].reason, seen[0].label) == (Verdict.HOLD, HoldReason.LATE, None)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_model_that_gives_no_number_holds_the_part_tells_a_person_and_the_message_can_be_sent(score):
    faults = []
    loop, seen = loop_of(Frames(frame()), {"press-3": several(others=(judge("b", 2.0, score),))}, faults)

    loop.step(0.1)

    assert (seen[0].verdict, seen[0].reason, seen[0].score) == (Verdict.HOLD, HoldReason.MODEL, None)
    assert faults == [("press-3", "b: gave no number for this picture")]
    assert b'"verdict":"HOLD"' in inspection_message(seen[0]).payload  # JSON has no NaN
