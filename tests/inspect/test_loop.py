"""The inspect loop: every frame has exactly one inspection, and no step ever sees two models."""

import threading
from collections import deque

import numpy as np
import pytest

from edge_agent.errors import BadPictureError, InferenceError
from edge_agent.inspect.decide import Rules
from edge_agent.inspect.loop import InspectLoop, Lane
from edge_agent.records import Assessment, Drop, Features, Frame, HoldReason, Verdict
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
        self.input_px = (4, 4)
        self.mark = mark
        self.fault = fault

    def encode(self, picture):
        if self.fault is not None:
            raise self.fault
        return Features(vector=np.full(3, self.mark, np.float32), map=np.zeros((2, 2, 3), np.float32))


class Assessor:
    def __init__(self, mark, score=0.9):
        self.mark = mark
        self.score = score

    def assess(self, features):
        assert features.vector[0] == self.mark, "a head was given features of another encoder"
        return Assessment(label="scratch", score=self.score)


def frame(sequence=1, camera="press-3"):
    image = np.zeros((8, 8, 3), np.uint8)
    return Frame(camera=camera, sequence=sequence, captured_utc_s=1000.0, captured_mono_s=999.0, image=image, part="p1")


def lane(mark=1.0, score=0.9, fault=None, **changes):
    values = {"encoder": Encoder(mark, fault), "assessor": Assessor(mark, score), "digest": f"{mark}", "rules": Rules()}
    return Lane(**{**values, **changes})


def loop_of(frames, lanes, faults=None):
    seen = []
    loop = InspectLoop(
        frames=frames,
        lanes=lanes,
        prepare=lambda image, size: image[: size[0], : size[1]],
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
    assert faults == [("press-3", str(fault))]
    assert len(frames.finished) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"paused": True}, HoldReason.PAUSED),
        ({"encoder": None}, HoldReason.MODEL),
        ({"assessor": None}, HoldReason.MODEL),
    ],
)
def test_a_lane_that_cannot_judge_holds_every_part_with_the_reason(changes, reason):
    loop, seen = loop_of(Frames(frame()), {"press-3": lane(**changes)})

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
