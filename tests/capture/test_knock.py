"""A camera that was away is opened as soon as it answers; one that always answers is not knocked open."""

from __future__ import annotations

import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.addresses import parse, with_login
from edge_agent.capture.knock import KNOCK_EVERY_S, Doorstep, knock_of
from edge_agent.capture.states import MOST_BACKOFF_S, CameraEvent
from tests.capture.watching import Rig, picture
from tests.fakes.camera import FAULT, FakeCamera
from tests.fakes.clock import FakeClock


class Away:
    """Nobody answers before this moment of the clock."""

    def __init__(self, clock, until_s):
        self._clock = clock
        self._until_s = until_s
        self.knocks = 0

    def __call__(self):
        self.knocks += 1
        return None if self._clock.mono_s() >= self._until_s else "nobody there"


@given(st.floats(0.0, 100.0), st.lists(st.floats(0.25, MOST_BACKOFF_S), min_size=30, max_size=30))
def test_a_camera_that_was_away_is_opened_within_a_second_of_its_return_however_long_the_backoff(away_s, delays):
    clock = FakeClock(mono_s=0.0)
    knock = Away(clock, away_s)
    doorstep = Doorstep(knock, clock, threading.Event())
    for delay_s in delays:
        event = doorstep.wait(delay_s)
        if doorstep.absent is None:
            break
        assert event is CameraEvent.RETRY
        assert clock.mono_s() < away_s
    assert clock.mono_s() >= away_s or sum(delays) <= away_s
    assert clock.mono_s() <= max(away_s + KNOCK_EVERY_S, delays[0]) + 1e-6
    assert knock.knocks <= clock.mono_s() / KNOCK_EVERY_S + 2 * len(delays)


def test_one_that_answers_and_does_not_work_waits_the_whole_backoff():
    clock = FakeClock(mono_s=0.0)

    assert Doorstep(lambda: None, clock, threading.Event()).wait(8.0) is CameraEvent.RETRY
    assert clock.mono_s() == pytest.approx(8.0)


def test_without_a_knock_the_wait_is_the_backoff_and_nobody_is_called_absent():
    clock = FakeClock(mono_s=0.0)
    doorstep = Doorstep(None, clock, threading.Event())

    assert (doorstep.wait(8.0), doorstep.absent) == (CameraEvent.RETRY, None)
    assert clock.mono_s() == pytest.approx(8.0)


def test_stopping_ends_the_wait():
    stop = threading.Event()
    stop.set()

    assert Doorstep(lambda: "no", FakeClock(), stop).wait(8.0) is None
    assert Doorstep(None, FakeClock(), stop).wait(8.0) is None


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_a_network_camera_is_asked_by_a_connection_and_told_nothing(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = with_login(parse(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/s"), "user", "secret")
        knock = knock_of(address)
        assert knock() is None
        link, _ = server.accept()
        with link:
            assert link.recv(100) == b""

    assert "refuses connections" in knock()
    assert "secret" not in knock()


def test_a_device_is_there_when_its_path_is(tmp_path):
    knock = knock_of(parse("v4l2:/dev/v4l/by-id/usb-Absent"))

    assert "is it plugged in?" in knock()
    assert knock_of(parse(f"folder:{tmp_path}")) is None


class Opened(FakeCamera):
    """Counts in `log` how often it was opened; does not open while that is less than `from_nth`."""

    def __init__(self, stop, script, log, from_nth, **keys):
        super().__init__(stop, script, **keys)
        self._log = log
        self._from_nth = from_nth

    def open(self):
        self._log.append(1)
        self._opens = "ok" if len(self._log) >= self._from_nth else FAULT
        super().open()


def test_while_it_is_away_it_is_not_opened_and_the_reason_says_that_nobody_answers():
    log = []
    with Rig(knock=lambda: "nobody there") as rig:
        _, watcher = rig.start(lambda stop: Opened(stop, [picture()], log, 99))
        absent = watcher._wait(lambda: next((s for s in watcher.statuses if s.failures == 2), None), "two faults")

        assert len(log) == 1  # the first time, for the source's own words
        assert absent.reason == "fake: did not open: nobody there"


def test_a_camera_that_comes_back_starts_over_with_a_short_backoff():
    log, clock, answers = [], FakeClock(), iter(["away"] * 6)
    with Rig(clock, knock=lambda: next(answers, None)) as rig:
        _, watcher = rig.start(lambda stop: Opened(stop, [picture()], log, 3, live=False))
        watcher.wait_state("ended")
        told = [(status.reason, status.failures) for status in watcher.statuses]

    back = told.index(("it answers again", 0))
    assert told[back - 1][1] >= 3
    assert told[back + 1] == ("fake: did not open", 1)
