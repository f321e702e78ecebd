"""The supervisor: what dies is started again, what is refused is not, and nothing is left behind."""

import os
import signal
import sys
import threading

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import EXIT_CONFIG, EXIT_OK
from edge_agent.processes.supervisor import ChildSpec, ChildState, Supervisor, backoff_s
from tests.waiting import until

FOREVER = "import signal; signal.pause()"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


@pytest.fixture
def supervised():
    """Run a supervisor in a thread; ends it after the test."""
    stops, threads = [], []

    def start(*specs):
        supervisor = Supervisor(specs, SystemClock())
        stop, reload, result = threading.Event(), threading.Event(), []
        thread = threading.Thread(target=lambda: result.append(supervisor.run(stop, reload)))
        thread.start()
        stops.append(stop)
        threads.append(thread)
        return supervisor, stop, reload, thread, result

    yield start
    for stop, thread in zip(stops, threads, strict=True):
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def test_a_child_that_is_killed_is_started_again_and_the_other_one_is_left_alone(supervised):
    supervisor, *_ = supervised(
        ChildSpec(name="one", command=python(FOREVER), essential=True),
        ChildSpec(name="two", command=python(FOREVER), essential=False),
    )
    first = until(lambda: len(supervisor.pids()) == 2 and supervisor.pids())

    os.kill(first["one"], signal.SIGKILL)

    second = until(lambda: supervisor.pids().get("one", first["one"]) != first["one"] and supervisor.pids())
    assert second["two"] == first["two"]


def test_an_essential_child_that_refuses_its_configuration_ends_the_supervisor_with_its_code(supervised):
    _, _, _, thread, result = supervised(
        ChildSpec(name="inspect", command=python(f"raise SystemExit({EXIT_CONFIG})"), essential=True),
        ChildSpec(name="sync", command=python(FOREVER), essential=False),
    )

    thread.join(15)

    assert result == [EXIT_CONFIG]


def test_a_refused_child_that_is_not_essential_is_not_started_again_and_the_rest_goes_on(supervised):
    supervisor, *_ = supervised(
        ChildSpec(name="inspect", command=python(FOREVER), essential=True),
        ChildSpec(name="sync", command=python(f"raise SystemExit({EXIT_CONFIG})"), essential=False),
    )

    until(lambda: supervisor.states()["sync"] is ChildState.REFUSED)

    assert supervisor.states()["inspect"] is ChildState.RUNNING


def test_stopping_ends_every_child(supervised):
    supervisor, stop, _, thread, result = supervised(
        ChildSpec(name="one", command=python(FOREVER), essential=True),
    )
    pid = until(lambda: supervisor.pids().get("one"))

    stop.set()
    thread.join(15)

    assert result == [EXIT_OK]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_reload_reaches_every_child_as_sighup(supervised, tmp_path):
    told, up = tmp_path / "told", tmp_path / "up"
    code = (
        "import signal, pathlib\n"
        f"signal.signal(signal.SIGHUP, lambda *_: pathlib.Path({str(told)!r}).touch())\n"
        f"pathlib.Path({str(up)!r}).touch()\n"
        "while True: signal.pause()\n"
    )
    _, _, reload, *_ = supervised(ChildSpec(name="one", command=python(code), essential=True))
    until(up.exists)

    reload.set()

    until(told.exists)


def test_backoff_doubles_to_a_minute_and_starts_over_after_a_good_run():
    waits = []
    wait_s = 0.0
    for _ in range(10):
        wait_s = backoff_s(wait_s, lived_s=0.1)
        waits.append(wait_s)

    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert backoff_s(60.0, lived_s=61.0) == 0.5


def test_a_child_that_is_asked_for_runs_once_for_each_asking_and_is_idle_otherwise(supervised, tmp_path):
    asked, runs = [None], tmp_path / "runs"
    count = python(f"open({str(runs)!r}, 'a').write('x')")
    supervisor, *_ = supervised(
        ChildSpec(name="inspect", command=python(FOREVER), essential=True),
        ChildSpec(name="learn", command=count, essential=False, asked=lambda: asked[0]),
    )
    until(lambda: "inspect" in supervisor.pids())
    assert supervisor.states()["learn"] is ChildState.IDLE

    for number in (1, 2):
        asked[0] = number
        until(lambda number=number: runs.exists() and runs.read_text() == "x" * number)
        until(lambda: supervisor.states()["learn"] is ChildState.IDLE)
    assert "learn" not in supervisor.pids()


def test_a_child_that_is_asked_for_and_fails_is_tried_again(supervised, tmp_path):
    runs = tmp_path / "runs"
    failing = python(f"f = open({str(runs)!r}, 'a+'); f.write('x'); f.seek(0); raise SystemExit(len(f.read()) < 2)")
    supervisor, *_ = supervised(
        ChildSpec(name="inspect", command=python(FOREVER), essential=True),
        ChildSpec(name="learn", command=failing, essential=False, asked=lambda: 1),
    )
    until(lambda: runs.exists() and runs.read_text() == "xx")
    until(lambda: supervisor.states()["learn"] is ChildState.IDLE)
