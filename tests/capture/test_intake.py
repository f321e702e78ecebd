"""From a picture to a part: who asked for it, which camera took it, what is wrong with it, and that none is forgotten."""

from __future__ import annotations

import queue
import threading
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.accounting import Skip
from edge_agent.capture.intake import CameraPlan, Intake, Wiring, lose
from edge_agent.capture.load import Load
from edge_agent.capture.queue import FrameQueue
from edge_agent.capture.source import Picture
from edge_agent.errors import BadPictureError
from edge_agent.records import CameraIdentity, HoldReason, Trigger
from tests.capture.watching import DEADLINE_S, Rig, picture
from tests.fakes.camera import BAD, FAULT, HANG, FakeCamera
from tests.fakes.clock import FakeClock

IDENTITY = CameraIdentity(vendor="acme", serial="4711", firmware="1.2")


def trigger(part="p1", recipe=None, mono_s=1.0):
    return Trigger(camera="cam", utc_s=1.0, mono_s=mono_s, part=part, recipe=recipe)


class FakeGate:
    """Gives out the triggers it was given, one a picture; None in the list is a picture that nobody asked for."""

    def __init__(self, triggers):
        self._triggers = deque(triggers)
        self.empty = threading.Event()

    def claim(self, captured_mono_s):
        return self._triggers.popleft() if self._triggers else None

    def wait(self, stop, timeout_s):
        if not self._triggers:
            self.empty.set()
            stop.wait(timeout_s)
        return self._triggers.popleft() if self._triggers else None


def camera(script, **keys):
    return lambda stop: FakeCamera(stop, list(script), **keys)


def test_each_frame_says_which_camera_took_it_and_the_identity_is_told_once_for_each_time_it_came_up():
    told = []
    with Rig(on_identity=lambda name, identity: told.append((name, identity))) as rig:
        rig.start(camera([picture(), picture(), FAULT, picture()], identity=IDENTITY))
        frames = [rig.frame() for _ in range(3)]

    assert {frame.device for frame in frames} == {IDENTITY}
    assert told == [("cam", IDENTITY)] * 2


def test_what_is_wrong_with_a_picture_is_found_in_its_view_and_no_model_size_is_made_of_it():
    prepared = []

    def examine(image):
        return HoldReason.DARK if image.max() < 10 else None

    with Rig(examine=examine, prepare=lambda image: prepared.append(image) or image) as rig:
        rig.start(camera([picture(0), picture(200)], live=False))
        dark, bright = rig.frame(), rig.frame()

    assert (dark.fault, dark.prepared, bright.fault) == (HoldReason.DARK, None, None)
    assert len(prepared) == 1


def test_a_live_picture_without_a_trigger_is_skipped_and_one_with_a_trigger_carries_it_whatever_the_limits_say():
    gate = FakeGate([None, trigger("p1", "lid"), None, trigger("p2"), trigger("p3")])
    with Rig(gate=gate) as rig:
        rig.start(
            camera([picture(level) for level in range(5)]),
            fps=0.001, every_nth=7, capacity=5, verdict_within_s=0.5,
        )  # fmt: skip
        frames = [rig.frame() for _ in range(3)]
        account = rig.queue.accounting("cam")

    assert [frame.part for frame in frames] == ["p1", "p2", "p3"]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 3, 4]
    assert (frames[0].recipe, frames[0].trigger.part, frames[0].due_mono_s) == ("lid", "p1", 1.5)
    assert account.skipped == {Skip.UNTRIGGERED: 2}
    assert account.captured == 3


def test_each_trigger_takes_the_next_picture_of_a_file_and_without_one_none_is_read():
    gate = FakeGate([trigger("p1"), trigger("p2")])
    with Rig(gate=gate) as rig:
        rig.start(camera([picture(1), picture(2), picture(3)], live=False))
        frames = [rig.frame(), rig.frame()]
        assert gate.empty.wait(DEADLINE_S)
        account = rig.queue.accounting("cam")

    assert [(frame.part, int(frame.image[0, 0, 0])) for frame in frames] == [("p1", 1), ("p2", 2)]
    assert (account.captured, account.skipped) == (2, {})


@pytest.mark.parametrize(
    ("script", "reason"), [([BAD, picture()], HoldReason.CAMERA), ([], HoldReason.NO_PICTURE), ([FAULT], HoldReason.NO_PICTURE)]
)  # fmt: skip
def test_the_part_of_a_trigger_whose_picture_is_bad_or_does_not_come_is_a_hold(script, reason):
    with Rig(gate=FakeGate([trigger("p1", "lid")])) as rig:
        _, watcher = rig.start(camera(script, live=False, identity=IDENTITY))
        ((drop, why),) = watcher.wait_drops(1)

    assert (drop.part, drop.recipe, drop.reason, drop.device) == ("p1", "lid", reason, IDENTITY)
    assert drop.trigger.part == "p1"
    assert why


def test_a_part_whose_picture_is_being_read_when_the_camera_stops_is_a_hold():
    made = queue.Queue()

    def make(stop):
        camera = FakeCamera(stop, [HANG, picture()], live=False)
        made.put(camera)
        return camera

    with Rig(gate=FakeGate([trigger("p1")])) as rig:
        worker, watcher = rig.start(make)
        made.get(timeout=DEADLINE_S)  # the worker asks the first one what it is, and never opens it
        reading = made.get(timeout=DEADLINE_S)
        assert reading.hanging.wait(DEADLINE_S)
        worker.halt()
        reading.release()
        ((drop, _),) = watcher.wait_drops(1)

    assert (drop.part, drop.reason) == ("p1", HoldReason.STOPPING)
    assert rig.queue.accounting("cam").balanced


def test_a_trigger_that_gets_no_picture_is_a_numbered_part_of_its_camera():
    with Rig() as rig:
        worker, watcher = rig.start(camera([picture(), HANG], identity=IDENTITY))
        rig.frame()
        worker.lose(trigger("p9", "lid"), HoldReason.NO_PICTURE, "no picture within 0.5 s")
        ((drop, why),) = watcher.wait_drops(1)

    assert (drop.sequence, drop.part, drop.recipe, drop.reason) == (2, "p9", "lid", HoldReason.NO_PICTURE)
    assert (drop.device, why) == (IDENTITY, "no picture within 0.5 s")


def test_the_source_knows_better_when_a_picture_was_taken():
    clock = FakeClock(utc_s=1000.0, mono_s=77.5)
    intake, frames, _ = an_intake(CameraPlan(name="cam", verdict_within_s=0.25), clock=clock)
    intake.take(Picture(image=picture(), captured_mono_s=77.0), live=True)
    frame = frames.get(0)

    assert (frame.captured_utc_s, frame.captured_mono_s, frame.due_mono_s) == (999.5, 77.0, 77.25)


def test_a_picture_is_in_flight_while_it_is_made_ready():
    flying, seen = [], []
    intake, frames, _ = an_intake(
        CameraPlan(name="cam"), on_flight=flying.append, prepare=lambda image: seen.append(flying[-1])
    )
    intake.take(Picture(image=picture()), live=True)
    frames.done(frames.get(0))

    assert seen == [True]
    assert not flying[-1]


def test_every_nth_of_a_file_is_paced_and_the_others_are_passed_over_at_once():
    clock = FakeClock(mono_s=0.0)
    intake, frames, _ = an_intake(CameraPlan(name="cam", fps=10.0, every_nth=3, load=Load.ALL, capacity=9), clock=clock)
    for level in range(9):
        assert intake.await_turn()
        intake.take(Picture(image=picture(level)), live=False)
    taken = [frames.get(0) for _ in range(3)]

    assert [int(frame.image[0, 0, 0]) for frame in taken] == [0, 3, 6]
    assert frames.accounting("cam").skipped == {Skip.NTH: 6}
    assert clock.mono_s() == pytest.approx(0.1)  # two pass at once, the third waits its tenth of a second


def an_intake(plan, gate=None, clock=None, on_flight=lambda _flying: None, prepare=lambda _image: None):
    clock = clock or FakeClock(mono_s=0.0)
    frames = FrameQueue(clock, on_flight)
    frames.add("cam", waits=False, capacity=plan.capacity)
    drops = []
    wiring = Wiring(
        plan=plan,
        make_source=lambda _stop: None,
        queue=frames,
        on_drop=lambda drop, _why: drops.append(drop),
        clock=clock,
        gate=gate,
        prepare=prepare,
    )
    return Intake(wiring, threading.Event()), frames, drops


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["picture", "bad", "lost", "judge"]), max_size=60),
    st.lists(st.booleans(), max_size=40),
    st.integers(1, 3),
    st.booleans(),
)
def test_every_trigger_ends_in_exactly_one_part_and_no_part_is_without_one(steps, asked, capacity, live):
    """Whatever comes, in whatever order: parts = triggers, each once, and the books balance."""
    given_out = [trigger(f"p{number}") if wanted else None for number, wanted in enumerate(asked) if live or wanted]
    gate = FakeGate(given_out)
    gate.wait = lambda _stop, _timeout_s: gate._triggers.popleft()
    intake, frames, drops = an_intake(CameraPlan(name="cam", capacity=capacity), gate)
    ended, unclaimed = [], []
    for step in steps:
        if step == "judge":
            frame = frames.get(0)
            if frame is not None:
                ended.append(frame.part)
                frames.done(frame)
        elif step == "lost":
            if gate._triggers and gate._triggers[-1] is not None:
                unclaimed.append(gate._triggers.pop())
                lose(intake._wiring, unclaimed[-1], HoldReason.NO_PICTURE, "late", None)
        elif live or (gate._triggers and intake.await_turn()):
            if step == "bad":
                intake.bad(BadPictureError("no"), live=live)
            else:
                intake.take(Picture(image=np.zeros((4, 4, 3), np.uint8)), live=live)
    while (frame := frames.get(0)) is not None:
        ended.append(frame.part)
        frames.done(frame)
    ended += [drop.part for drop in drops]
    left = {one.part for one in gate._triggers if one is not None}

    assert sorted(ended) == sorted(one.part for one in given_out if one is not None and one.part not in left)
    account = frames.accounting("cam")
    assert account.balanced
    assert account.captured == len(ended)


def test_a_trigger_takes_the_first_picture_that_arrives_in_a_watched_folder_after_it_and_none_is_waited_for():
    gate = FakeGate([None, trigger("p1"), None])
    with Rig(gate=gate) as rig:
        _, watcher = rig.start(camera([picture(1), picture(2), picture(3)], live=False), arrives=True)
        frame = rig.frame()
        watcher.wait_state("ended")
        account = rig.queue.accounting("cam")

    assert (frame.part, int(frame.image[0, 0, 0])) == ("p1", 2)
    assert account.skipped == {Skip.UNTRIGGERED: 2}
