"""The gate between the line's thread, the camera's and the watch."""

import threading

import pytest

from edge_agent.clock import SystemClock
from edge_agent.line.gate import TriggerGate
from edge_agent.line.pending import Terms
from edge_agent.records import HoldReason
from tests.fakes.clock import FakeClock
from tests.line.parts import trigger
from tests.waiting import until


@pytest.fixture
def lost():
    return []


def gate_of(lost, clock=None, **terms):
    def lose(what, reason, why):
        lost.append((what.part, reason))
        assert why

    return TriggerGate(Terms(**terms), clock or FakeClock(mono_s=10.0), lose)


def test_a_trigger_without_a_picture_is_lost_by_the_watch_when_its_time_is_over(lost):
    clock = SystemClock()
    gate = gate_of(lost, clock, timeout_s=0.05)
    gate.start()
    for number in range(3):
        gate.fire(trigger(clock.mono_s(), part=f"p{number}"))

    until(lambda: len(lost) == 3)

    assert lost == [(f"p{number}", HoldReason.NO_PICTURE) for number in range(3)]
    assert gate.counts.lost == {"no-picture": 3}
    gate.close()


def test_what_waits_when_the_gate_closes_is_lost_and_so_is_what_comes_after(lost):
    gate = gate_of(lost)
    gate.fire(trigger(10.0, part="before"))
    gate.close()
    gate.fire(trigger(10.0, part="after"))

    assert lost == [("before", HoldReason.STOPPING), ("after", HoldReason.STOPPING)]
    assert gate.claim(10.1) is None


def test_the_books_of_a_gate_balance(lost):
    gate = gate_of(lost, timeout_s=1.0, most=2)
    for number in range(4):
        gate.fire(trigger(10.0, part=f"p{number}"))
    gate.miss(trigger(10.0), "gone already")
    gate.claim(10.5)
    counts = gate.counts

    assert counts.fired == counts.claimed + sum(counts.lost.values()) + counts.waiting == 5
    assert counts.lost == {"overload": 2, "no-picture": 1}
    assert (counts.claimed, counts.waiting) == (1, 1)


def test_a_file_camera_waits_for_its_trigger_and_takes_each_once(lost):
    clock = SystemClock()
    gate = gate_of(lost, clock)
    found, stop = [], threading.Event()

    def take():
        while not stop.is_set():
            one = gate.wait(stop, 0.05)
            if one is not None:
                found.append(one.part)

    thread = threading.Thread(target=take)
    thread.start()
    for part in ("a", "b"):
        gate.fire(trigger(clock.mono_s(), part=part))
    until(lambda: len(found) == 2)
    stop.set()
    thread.join()

    assert found == ["a", "b"]
    assert gate.counts.claimed == 2


def test_a_file_camera_waits_out_the_delay(lost):
    clock = SystemClock()
    gate = gate_of(lost, clock, delay_s=0.1)
    begun_s = clock.mono_s()
    gate.fire(trigger(begun_s))

    assert gate.wait(threading.Event(), 0.02) is None
    assert gate.wait(threading.Event(), 5.0) is not None
    assert clock.mono_s() - begun_s >= 0.1


def test_a_wait_ends_without_a_trigger_when_its_time_is_over_or_it_is_stopped(lost):
    gate = gate_of(lost, SystemClock())
    stopped = threading.Event()
    stopped.set()

    assert gate.wait(threading.Event(), 0.01) is None
    assert gate.wait(stopped, 10.0) is None


def test_a_picture_nobody_asked_for_is_nobodys(lost):
    assert gate_of(lost).claim(10.0) is None
    assert lost == []
