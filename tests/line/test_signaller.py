"""A signal at work: what the line sees, in which order, and what it sees when in doubt."""

import contextlib
import itertools

import pytest

from edge_agent.clock import SystemClock
from edge_agent.line.signaller import Signaller, SignalPlan
from edge_agent.line.signals import LineState
from edge_agent.line.verdict_queue import MOST_QUEUED, VerdictQueue
from edge_agent.records import HoldReason, Verdict
from tests.fakes.clock import FakeClock
from tests.fakes.line import FakePort
from tests.line.parts import Notes, inspection
from tests.waiting import until

PASS, FAIL, HOLD = Verdict.PASS, Verdict.FAIL, Verdict.HOLD


class Turning:
    """The inspect loop's steps: one more each time it is asked, until it stalls."""

    def __init__(self):
        self.count = itertools.count(1)
        self.stalled = False
        self.last = 0

    def __call__(self):
        if not self.stalled:
            self.last = next(self.count)
        return self.last


@pytest.fixture
def line():
    """Makes a running signal: (signaller, port, loop, notes)."""
    with contextlib.ExitStack() as stack:

        def make(*, cameras=("top",), up=True, running=True, port=None, **plan):
            port, loop, notes = port or FakePort(), Turning(), Notes()
            keys = {"heartbeat_s": 0.02, "stall_s": 0.3, **plan}
            plan = SignalPlan(name="plc", to="fake", cameras=cameras, **keys)
            signaller = Signaller(plan, port, steps=loop, clock=SystemClock(), note=notes)
            for camera in cameras:
                signaller.set_up(camera, up=up)
            signaller.start()
            stack.callback(signaller.join)
            stack.callback(signaller.halt)
            if running:
                until(lambda: all((port.last(c) or 0) and port.last(c).state is LineState.RUNNING for c in cameras))
            return signaller, port, loop, notes

        yield make


def test_before_anything_happened_the_fail_safe_is_shown(line):
    _, port, *_ = line(up=False, running=False, safe=FAIL)
    first = until(port.last)

    assert (first.state, first.verdict, first.sequence) == (LineState.STARTING, FAIL, 0)


def test_verdicts_of_triggered_parts_are_all_shown_in_order(line):
    signaller, port, *_ = line()
    for number in range(40):
        signaller.put(inspection(PASS if number % 3 else FAIL, part=f"p{number}", trigger=True, number=number))

    until(lambda: port.last().sequence == 40)

    shown = port.verdicts()
    assert list(shown) == list(range(1, 41))
    assert [part for _, part in shown.values()] == [f"p{number}" for number in range(40)]


def test_of_a_camera_that_runs_freely_the_newest_verdict_is_shown_and_the_numbers_tell_of_the_others():
    queue = VerdictQueue(("top",), FakeClock(), show_s=0)
    for number in range(5):
        queue.put(inspection(part=f"p{number}", number=number))

    (numbered,) = queue.take().values()

    assert (numbered.sequence, numbered.inspection.part) == (5, "p4")
    assert queue.take() == {}


def test_a_queue_that_nobody_empties_stays_bounded_and_counts_what_it_left_out():
    queue = VerdictQueue(("top",), FakeClock(), show_s=0)
    for number in range(MOST_QUEUED + 10):
        queue.put(inspection(trigger=True, number=number))

    assert queue.missed == 10
    assert queue.take()["top"].sequence == 11


def test_each_verdict_stands_as_long_as_was_asked_for():
    clock = FakeClock()
    queue = VerdictQueue(("top",), clock, show_s=0.1)
    for number in (1, 2):
        queue.put(inspection(trigger=True, number=number))

    assert queue.take()["top"].sequence == 1
    clock.advance(0.09)
    assert queue.take() == {}
    clock.advance(0.02)
    assert queue.take()["top"].sequence == 2


def test_the_heartbeat_counts_while_the_loop_turns_and_stands_still_when_it_does_not(line):
    signaller, port, loop, _ = line()
    signaller.put(inspection(PASS, part="p"))
    until(lambda: port.last().verdict is PASS)
    seen = port.last().heartbeat
    until(lambda: port.last().heartbeat > seen + 3)

    loop.stalled = True

    until(lambda: port.last().state is LineState.STALLED)
    stalled = port.last()
    assert (stalled.verdict, stalled.part) == (HOLD, None)
    attempts = port.attempts
    until(lambda: port.attempts > attempts + 5)
    assert port.last().heartbeat == stalled.heartbeat
    loop.stalled = False
    until(lambda: port.last().state is LineState.RUNNING)
    assert port.last().verdict is HOLD  # the PASS from before does not come back


def test_a_camera_that_gives_no_pictures_is_shown_as_stalled_and_the_other_one_goes_on(line):
    signaller, port, *_ = line(cameras=("top", "side"))
    signaller.put(inspection(PASS, camera="top"))
    signaller.put(inspection(PASS, camera="side"))
    until(lambda: port.last("top").verdict is PASS and port.last("side").verdict is PASS)

    signaller.set_up("top", up=False)

    until(lambda: port.last("top").state is LineState.STALLED)
    assert port.last("top").verdict is HOLD
    assert (port.last("side").state, port.last("side").verdict) == (LineState.RUNNING, PASS)
    beat = port.last("top").heartbeat
    until(lambda: port.last("top").heartbeat != beat)


def test_a_line_that_is_lost_is_told_of_and_first_shown_the_fail_safe_when_it_is_back(line):
    signaller, port, _, notes = line()
    signaller.put(inspection(PASS, part="told", trigger=True))
    until(lambda: port.last().verdict is PASS)

    port.unplug()
    signaller.put(inspection(PASS, part="not told", trigger=True, number=2))
    until(lambda: notes.active)
    for number in range(3, 8):
        signaller.put(inspection(PASS, part="nor these", trigger=True, number=number))
    before = len(port.shown)
    port.plug()

    until(lambda: len(port.shown) > before)
    _, first = port.shown[before]
    assert (first.verdict, first.sequence, first.part) == (HOLD, 7, None)
    signaller.put(inspection(FAIL, part="told again", trigger=True, number=8))
    until(lambda: port.last().verdict is FAIL)
    assert port.last().sequence == 8
    assert not any(part in {"not told", "nor these"} for _, part in port.verdicts().values())
    assert (notes.active, signaller.status.connected, signaller.status.missed) == (False, True, 6)


def test_a_line_that_is_not_there_at_the_start_holds_nobody_up(line):
    port = FakePort()
    port.unplug()
    signaller, _, _, notes = line(port=port, running=False)
    until(lambda: notes.active)

    for number in range(1000):
        signaller.put(inspection(trigger=True, number=number))

    assert notes.text == "unplugged"
    assert not signaller.status.connected


def test_at_the_end_the_line_is_shown_that_we_stop(line):
    signaller, port, *_ = line()
    signaller.put(inspection(PASS))
    until(lambda: port.last().verdict is PASS)

    signaller.halt()
    signaller.join()

    assert (port.last().state, port.last().verdict) == (LineState.STOPPED, HOLD)
    assert port.closed


def test_a_verdict_that_does_not_become_durable_stalls_the_signal_rather_than_leave_an_old_pass(line):
    signaller, port, *_ = line()
    durable, stuck = inspection(PASS, number=1), inspection(FAIL, number=2)
    signaller.expect(durable)
    signaller.put(durable)
    until(lambda: port.last().verdict is PASS)

    signaller.expect(stuck)

    until(lambda: port.last().state is LineState.STALLED)
    assert port.last().verdict is HOLD
    signaller.put(stuck)
    until(lambda: port.last().state is LineState.RUNNING)


def test_verdicts_that_never_become_durable_are_not_awaited_for_ever_nor_without_end():
    clock = FakeClock()
    queue = VerdictQueue(("top",), clock, show_s=0)
    for number in range(3 * MOST_QUEUED):  # the disk is full, and then messages are dropped
        queue.expect(inspection(number=number))
    clock.advance(60)
    assert queue.awaited_s() == 60

    queue.put(inspection(number=3))
    assert queue.awaited_s() == 60
    queue.put(inspection(number=2 * MOST_QUEUED))
    assert queue.awaited_s() == 0


def test_what_holds_a_part_is_told_with_the_reason(line):
    signaller, port, *_ = line()
    signaller.put(inspection(HOLD, reason=HoldReason.NO_PICTURE, part="p", trigger=True))

    until(lambda: port.last().sequence == 1)

    assert (port.last().verdict, port.last().text) == (HOLD, "no-picture")


def test_the_status_says_how_long_a_trigger_took_to_be_told(line):
    signaller, port, *_ = line()
    now_s = SystemClock().mono_s()
    signaller.put(inspection(PASS, trigger=True, mono_s=now_s - 0.25))

    until(lambda: signaller.status.written == 1)

    (latency_ms,) = signaller.status.latencies_ms
    assert 250 <= latency_ms < 5000
    assert signaller.status.states == {"top": "running"}
    assert port.closed == 0


def test_a_verdict_of_a_camera_that_this_signal_does_not_tell_of_is_left_alone(line):
    signaller, port, *_ = line()
    signaller.put(inspection(PASS, camera="side"))
    signaller.expect(inspection(PASS, camera="side"))
    signaller.put(inspection(FAIL))

    until(lambda: port.last().verdict is FAIL)

    assert {camera for camera, _ in port.shown} == {"top"}
