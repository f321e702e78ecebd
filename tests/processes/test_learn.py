"""The learn process: a pass for each label, one process for labels that come in series."""

import os
import threading

import pytest

from edge_agent.processes import learn
from edge_agent.processes.boot import Boot
from edge_agent.processes.learn_request import ask, asked_ns
from tests.fakes.clock import FakeClock


class TypingClock(FakeClock):
    """A clock during whose waits things happen: `at` seconds -> what."""

    def __init__(self, at):
        super().__init__()
        self._at = dict(at)
        self.begun_s = self.mono_s()

    def wait(self, stop, seconds):
        self.advance(seconds)
        for moment in [moment for moment in self._at if moment <= self.mono_s() - self.begun_s]:
            self._at.pop(moment)()
        return stop.is_set()


class Here:
    def __init__(self, state_dir):
        self.state_dir = state_dir


def started(state_dir, clock):
    settings = type("Settings", (), {"storage": Here(state_dir)})()
    return Boot(
        settings=settings,
        config_file=state_dir / "agent.yaml",
        clock=clock,
        stop=threading.Event(),
        reload=threading.Event(),
        broken=threading.Event(),
    )


def label(state_dir):
    """A label as it is asked for, at a time that differs whatever the file system's resolution."""
    before = asked_ns(state_dir) or 0
    ask(state_dir)
    os.utime(state_dir / "learn.request", ns=(before + 1, before + 1))


def test_a_label_within_the_minute_is_heard_by_the_process_that_is_there(tmp_path):
    ask(tmp_path)
    clock = TypingClock({42.0: lambda: label(tmp_path)})
    asked = asked_ns(tmp_path)

    assert learn._asked_again(started(tmp_path, clock), asked, 60.0)
    assert 42.0 <= clock.mono_s() - clock.begun_s < 42.5


def test_a_label_that_came_during_the_pass_is_heard_without_lingering(tmp_path):
    ask(tmp_path)
    asked = asked_ns(tmp_path)
    label(tmp_path)

    assert learn._asked_again(started(tmp_path, TypingClock({})), asked, 0.0)


def test_nobody_asks_for_a_minute_and_it_ends(tmp_path):
    clock = TypingClock({})

    assert not learn._asked_again(started(tmp_path, clock), None, 60.0)
    assert clock.mono_s() - clock.begun_s == pytest.approx(60.0, abs=0.2)


@pytest.mark.parametrize("event", ["stop", "reload"])
def test_told_to_end_or_to_read_its_configuration_anew_it_ends_at_once(tmp_path, event):
    clock = TypingClock({5.0: lambda: getattr(begun, event).set()})
    begun = started(tmp_path, clock)

    assert not learn._asked_again(begun, None, 60.0)
    assert clock.mono_s() - clock.begun_s < 5.5
