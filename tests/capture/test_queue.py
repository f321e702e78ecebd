"""The books balance at every instant: captured = judged + dropped + in flight."""

from __future__ import annotations

import threading
from collections import Counter, deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.capture.accounting import Skip
from edge_agent.capture.queue import FrameQueue
from edge_agent.clock import SystemClock
from edge_agent.records import Drop, Frame, HoldReason, Trigger
from tests.fakes.clock import FakeClock

PIXEL = np.zeros((1, 1, 3), np.uint8)
TRIGGER = Trigger(camera="live", utc_s=1.0, mono_s=1.0)
DEADLINE_S = 20.0


def frame(camera, sequence, mono_s=0.0, **keys):
    return Frame(camera=camera, sequence=sequence, captured_utc_s=1.0, captured_mono_s=mono_s, image=PIXEL, **keys)


def drop(camera, sequence, reason=HoldReason.CAMERA):
    return Drop(camera=camera, sequence=sequence, captured_utc_s=1.0, reason=reason)


def queue_of(*cameras, waits=False, capacity=2):
    queue = FrameQueue(FakeClock())
    for camera in cameras:
        queue.add(camera, waits=waits, capacity=capacity)
    return queue


def fill(queue, camera, count, **keys):
    return [queue.put(camera, lambda number: frame(camera, number, **keys)) for _ in range(count)]


class Ledger(RuleBasedStateMachine):
    """A live and a file camera against a model of plain lists."""

    def __init__(self):
        super().__init__()
        self.flying = [False]
        self.queue = FrameQueue(FakeClock(), self.flying.append)
        self.capacity = {"live": 2, "file": 3}
        for name, capacity in self.capacity.items():
            self.queue.add(name, waits=name == "file", capacity=capacity)
        self.waiting = {name: deque() for name in self.capacity}
        self.captured, self.judged, self.dropped = Counter(), Counter(), Counter()
        self.taken, self.triggered = [], set()
        self.closed = set()

    cameras = st.sampled_from(["live", "file"])

    @rule(camera=cameras, triggered=st.booleans())
    def put(self, camera, triggered):
        full = len(self.waiting[camera]) == self.capacity[camera]
        if camera == "file" and full and camera not in self.closed:
            return  # it would wait; the threaded tests do that
        (dropped,) = fill(self.queue, camera, 1, trigger=TRIGGER if triggered else None)
        self.captured[camera] += 1
        number = self.captured[camera]
        if camera in self.closed:
            assert (dropped.sequence, dropped.reason) == (number, HoldReason.STOPPING)
        else:
            self.waiting[camera].append(number)
            self.triggered |= {(camera, number)} if triggered else set()
            if not full:
                assert dropped is None
                return
            unasked = [one for one in self.waiting[camera] if (camera, one) not in self.triggered]
            expected = (unasked or self.waiting[camera])[0]
            assert (dropped.sequence, dropped.reason) == (expected, HoldReason.OVERLOAD)
            self.waiting[camera].remove(expected)
        self.dropped[camera] += 1

    @rule(camera=cameras)
    def lose(self, camera):
        lost = self.queue.lost(camera, lambda number: drop(camera, number), 1.0)
        self.captured[camera] += 1
        self.dropped[camera] += 1
        assert lost.sequence == self.captured[camera]

    @rule()
    def get(self):
        got = self.queue.get(0.0)
        if got is None:
            assert not any(self.waiting.values())
            return
        assert got.sequence == self.waiting[got.camera].popleft()
        self.taken.append(got)

    @precondition(lambda self: self.taken)
    @rule(verdict=st.booleans(), data=st.data())
    def finish(self, verdict, data):
        taken = self.taken.pop(data.draw(st.integers(0, len(self.taken) - 1)))
        if verdict:
            self.queue.done(taken)
            self.judged[taken.camera] += 1
        else:
            assert self.queue.drop(taken, HoldReason.PAUSED).sequence == taken.sequence
            self.dropped[taken.camera] += 1
        with pytest.raises(ValueError, match="not being judged"):
            self.queue.done(taken)

    @rule(camera=cameras)
    def close(self, camera):
        self.queue.close(camera)
        self.closed.add(camera)

    @rule(camera=cameras)
    def reopen(self, camera):
        self.queue.add(camera, waits=camera == "file", capacity=self.capacity[camera])
        self.closed.discard(camera)

    @rule()
    def drain(self):
        drops = self.queue.drain()
        assert {drop.reason for drop in drops} <= {HoldReason.STOPPING}
        for camera, waiting in self.waiting.items():
            assert [drop.sequence for drop in drops if drop.camera == camera] == list(waiting)
            self.dropped[camera] += len(waiting)
            waiting.clear()

    @rule(camera=cameras)
    def skip(self, camera):
        self.queue.skip(camera, Skip.RATE, 1.0)

    @invariant()
    def the_books_balance(self):
        for camera, account in self.queue.accountings().items():
            assert account.balanced
            assert account.captured == self.captured[camera]
            assert account.judged == self.judged[camera]
            assert sum(account.dropped.values()) == self.dropped[camera]
            in_hand = sum(taken.camera == camera for taken in self.taken)
            assert account.in_flight == len(self.waiting[camera]) + in_hand

    @invariant()
    def it_was_told_whether_a_frame_is_in_flight(self):
        assert self.flying[-1] == bool(self.taken or any(self.waiting.values()))


Ledger.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLedger = Ledger.TestCase


def test_a_picture_is_in_flight_from_before_it_has_a_number_until_its_verdict():
    told = []
    queue = FrameQueue(FakeClock(), told.append)
    queue.add("a", waits=False)
    with queue.coming():
        assert told[-1]
        fill(queue, "a", 1)
    assert told[-1]
    taken = queue.get(0.0)
    assert told[-1]
    queue.done(taken)
    assert not told[-1]

    with pytest.raises(ZeroDivisionError), queue.coming():
        _ = 1 / 0
    assert not told[-1]


def test_the_newest_frame_of_a_live_camera_wins():
    queue = queue_of("a", capacity=2)

    assert [drop and drop.sequence for drop in fill(queue, "a", 5)] == [None, None, 1, 2, 3]
    assert [queue.get(0).sequence, queue.get(0).sequence, queue.get(0)] == [4, 5, None]


def test_cameras_take_turns_however_fast_one_is():
    queue = queue_of("fast", "slow", "slower", capacity=50)
    fill(queue, "fast", 50)
    fill(queue, "slow", 2)
    fill(queue, "slower", 1)

    assert [queue.get(0).camera for _ in range(7)] == ["fast", "slow", "slower", "fast", "slow", "fast", "fast"]


@given(st.data(), st.integers(1, 5), st.integers(1, 4))
def test_under_any_overload_a_frame_waits_for_at_most_as_many_verdicts_as_all_lanes_hold(data, cameras, capacity):
    names = [f"cam-{number}" for number in range(cameras)]
    queue = queue_of(*names, capacity=capacity)
    gets, put_at = 0, {}
    for camera in data.draw(st.lists(st.sampled_from([*names, None]), max_size=120)):
        if camera is not None:
            fill(queue, camera, 1)
            put_at[camera, queue.accounting(camera).captured] = gets
        elif (got := queue.get(0)) is not None:
            gets += 1
            assert gets - put_at[got.camera, got.sequence] <= capacity * cameras


def test_a_file_waits_for_space_and_none_is_dropped():
    queue = queue_of("folder", waits=True, capacity=2)
    writer = threading.Thread(target=fill, args=(queue, "folder", 20))
    writer.start()
    numbers = []
    while len(numbers) < 20:
        got = queue.get(DEADLINE_S)
        numbers.append(got.sequence)
        queue.done(got)
        assert queue.accounting("folder").in_flight <= 2
    writer.join(DEADLINE_S)

    assert numbers == list(range(1, 21))
    assert queue.accounting("folder").dropped == {}


def test_closing_a_lane_lets_a_waiting_writer_go_and_what_is_queued_is_still_judged():
    queue = queue_of("folder", waits=True, capacity=1)
    drops = []
    writer = threading.Thread(target=lambda: drops.extend(fill(queue, "folder", 2)))
    writer.start()
    first = queue.get(DEADLINE_S)
    queue.close("folder")
    writer.join(DEADLINE_S)
    queue.done(first)
    rest = queue.get(0)

    assert not writer.is_alive()
    assert queue.accounting("folder").balanced
    assert queue.accounting("folder").captured == 2
    assert (rest is None) == (drops[1] is not None and drops[1].reason is HoldReason.STOPPING)


def test_a_reader_that_waits_wakes_at_the_first_frame():
    queue = queue_of("a")
    got = []
    reader = threading.Thread(target=lambda: got.append(queue.get(DEADLINE_S)))
    reader.start()
    fill(queue, "a", 1)
    reader.join(DEADLINE_S)

    assert [one.sequence for one in got] == [1]


def test_numbers_go_on_after_a_camera_was_closed_and_added_again():
    queue = queue_of("a")
    fill(queue, "a", 3)
    queue.close("a")
    queue.add("a", waits=True, capacity=9)
    fill(queue, "a", 1)

    assert [queue.get(0).sequence for _ in range(3)] == [2, 3, 4]


@pytest.mark.parametrize("built", [("a", 2), ("b", 1)])
def test_a_frame_of_another_number_or_camera_is_a_fault_of_the_caller(built):
    queue = queue_of("a")

    with pytest.raises(ValueError, match="expected a: frame 1"):
        queue.put("a", lambda _number: frame(*built))
    with pytest.raises(ValueError, match="expected a: frame 1"):
        queue.lost("a", lambda _number: drop(*built), None)
    with pytest.raises(ValueError, match="expected 1 or more"):
        queue.add("b", waits=False, capacity=0)
    assert queue.accounting("a").captured == 0


def test_a_dropped_frame_keeps_what_the_line_said_of_its_part():
    queue = queue_of("a", capacity=1)
    said = {"part": "p7", "recipe": "lid", "trigger": TRIGGER}
    fill(queue, "a", 1, **said)
    (dropped,) = fill(queue, "a", 1, trigger=TRIGGER)

    assert {name: getattr(dropped, name) for name in said} == said


def test_what_was_lost_without_a_picture_does_not_make_a_dead_camera_look_alive():
    clock = FakeClock()
    queue = FrameQueue(clock)
    queue.add("a", waits=False)
    fill(queue, "a", 1, mono_s=clock.mono_s())
    clock.advance(60.0)
    queue.lost("a", lambda number: drop("a", number, HoldReason.NO_PICTURE), None)

    assert queue.accounting("a").last_frame_age_s == pytest.approx(60.0)
    assert (queue.accounting("a").captured, queue.accounting("a").balanced) == (2, True)


def test_rate_and_age_follow_the_clock():
    clock = FakeClock()
    queue = FrameQueue(clock)
    queue.add("a", waits=False)
    assert queue.accounting("a").last_frame_age_s is None
    assert queue.accounting("a").fps == 0
    for _ in range(100):
        clock.advance(0.1)
        fill(queue, "a", 1, mono_s=clock.mono_s())

    assert queue.accounting("a").fps == pytest.approx(10.0)
    clock.advance(5.0)
    assert queue.accounting("a").last_frame_age_s == pytest.approx(5.0)
    assert queue.accounting("a").fps < 4.5
    queue.skip("a", Skip.RATE, clock.mono_s())
    assert queue.accounting("a").last_frame_age_s == pytest.approx(0.0)


def test_the_books_balance_under_real_overload():
    """Four cameras as fast as they can, two threads each, one judge, one auditor reading the books all the time."""
    queue = FrameQueue(SystemClock())
    cameras = {f"cam-{number}": number == 3 for number in range(4)}  # the last one is a folder
    for camera, is_file in cameras.items():
        queue.add(camera, waits=is_file)
    per_thread, per_camera, drops, faults = 1500, 3000, Counter(), []
    written, judged = threading.Event(), threading.Event()

    def write(camera):
        drops[camera] += sum(dropped is not None for dropped in fill(queue, camera, per_thread))

    def lose(camera):
        for _ in range(per_thread):
            queue.lost(camera, lambda number: drop(camera, number, HoldReason.NO_PICTURE), None)

    def audit():
        while not judged.is_set():
            faults.extend(name for name, account in queue.accountings().items() if not account.balanced)

    def judge():
        while (got := queue.get(0.01)) is not None or not written.is_set():
            if got is not None:
                queue.done(got)

    writers = [threading.Thread(target=act, args=(camera,)) for camera in cameras for act in (write, lose)]
    auditor, judge_thread = threading.Thread(target=audit), threading.Thread(target=judge)
    for thread in (auditor, judge_thread, *writers):
        thread.start()
    for writer in writers:
        writer.join(DEADLINE_S)
    written.set()
    judge_thread.join(DEADLINE_S)
    judged.set()
    auditor.join(DEADLINE_S)

    assert not faults
    for camera, is_file in cameras.items():
        account = queue.accounting(camera)
        assert account.captured == per_camera
        assert account.in_flight == 0
        assert account.dropped.get(HoldReason.OVERLOAD, 0) == drops[camera]
        assert account.dropped[HoldReason.NO_PICTURE] == per_thread
        assert account.judged == per_thread - drops[camera]
        assert drops[camera] == 0 or not is_file
