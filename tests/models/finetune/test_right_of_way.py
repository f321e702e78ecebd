"""The child stands still while a part is judged; neither end minds when the other is gone, deaf or late."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import TransientError
from edge_agent.models.finetune.budget import Act, Permission
from edge_agent.models.finetune.right_of_way import DEAF_S, SAID_AGAIN_S, WAY_SOCKET, Judging, RightOfWay
from edge_agent.models.finetune.runner import RunState, run
from tests.fakes.clock import FakeClock
from tests.waiting import until

WAITS = "import signal\nwhile True: signal.pause()"
# Says that it judges a part, and then nothing more.
DIES_JUDGING = """
import sys
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.models.finetune.right_of_way import Judging
Judging(Path(sys.argv[1]), SystemClock())(True)
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def way():
    """Where the socket is; a short path."""
    with tempfile.TemporaryDirectory(prefix="ea-", dir="/tmp") as folder:
        yield Path(folder) / WAY_SOCKET


@pytest.fixture
def waiting():
    """A process that does nothing; its pid."""
    with subprocess.Popen([sys.executable, "-c", WAITS]) as child:
        yield child.pid
        child.kill()


@pytest.fixture
def inspect(way):
    """Makes inspect's ends."""
    with contextlib.ExitStack() as stack:
        yield lambda clock=None: stack.enter_context(contextlib.closing(Judging(way, clock or SystemClock())))


@contextlib.contextmanager
def listening(way, give_way, clock=None):
    right = RightOfWay(way, clock or SystemClock(), give_way)
    try:
        yield right
    finally:
        right.close()


@contextlib.contextmanager
def ear(way):
    """Somebody who listens and only counts."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as found:
        found.bind(str(way))
        yield found


def words(found):
    heard = []
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.append(found.recv(1))
    return heard


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# What inspect says


def test_only_news_is_said_and_that_a_part_is_judged_again_and_again(way, inspect):
    clock = FakeClock()
    with ear(way) as found:
        say = inspect(clock)
        for judging in (False, False, True, True, True, False, False):
            say(judging)
        assert words(found) == [b"0", b"1", b"0"]

        for _ in range(3):
            say(True)
            clock.advance(SAID_AGAIN_S)
        say(False)
        assert words(found) == [b"1", b"1", b"1", b"0"]


def test_inspection_does_not_mind_when_nobody_listens_and_finds_a_listener_within_a_second(way, inspect):
    clock = FakeClock()
    say = inspect(clock)
    say(True)
    with ear(way) as found:
        say(False)
        assert words(found) == []  # it does not even try

        clock.advance(DEAF_S)
        say(True)
        assert words(found) == [b"1"]
    say(False)  # its file is there, and nobody behind it
    clock.advance(DEAF_S)
    way.unlink()
    say(True)
    shutil.rmtree(way.parent)
    clock.advance(DEAF_S)
    say(True)
    way.parent.mkdir()


def test_a_listener_that_is_behind_is_told_again_and_holds_nobody_up(way, inspect):
    with ear(way) as found:
        say = inspect(FakeClock())
        for number in range(2000):
            say(number % 2 == 0)
        assert words(found)
        say(True)
        say(False)
        assert words(found)[-1] == b"0"


# What the learner does


def test_the_child_stands_still_while_a_part_is_judged_and_goes_on_afterwards(way, waiting, inspect):
    with listening(way, lambda judging: os.kill(waiting, signal.SIGSTOP if judging else signal.SIGCONT)):
        say = inspect()
        for _ in range(3):
            _keep(say, True, lambda: state(waiting) == "T")
            _keep(say, False, lambda: state(waiting) == "S")


def _keep(say, judging, condition):
    """Say it until it is so, as inspect does with every frame."""

    def said():
        say(judging)
        return condition()

    until(said)


def test_the_kernel_stops_the_child_before_anybody_else_has_heard(way, waiting, inspect):
    heard, may_act = threading.Event(), threading.Event()

    def slow(judging):
        heard.set()
        may_act.wait(30)
        os.kill(waiting, signal.SIGSTOP if judging else signal.SIGCONT)

    with listening(way, slow) as right:
        until(heard.is_set)  # it is busy now, and will not see the word
        right.stop_at_once(waiting)
        inspect()(True)
        until(lambda: state(waiting) == "T")
        assert not may_act.is_set()
        may_act.set()
    assert until(lambda: state(waiting) == "S")


def test_an_inspect_process_that_dies_while_it_judges_does_not_leave_the_child_standing(way, waiting):
    told = []

    def give_way(judging):
        told.append(judging)
        os.kill(waiting, signal.SIGSTOP if judging else signal.SIGCONT)

    with listening(way, give_way):
        command = [sys.executable, "-c", DIES_JUDGING, str(way)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as inspect:
            inspect.stdout.readline()
            inspect.kill()
        until(lambda: True in told)
        until(lambda: not told[-1] and state(waiting) == "S")


def test_once_closed_nothing_stops_the_child_any_more(way, waiting, inspect):
    right = RightOfWay(
        way, SystemClock(), lambda judging: os.kill(waiting, signal.SIGSTOP if judging else signal.SIGCONT)
    )
    right.stop_at_once(waiting)
    say = inspect(FakeClock())
    say(True)
    until(lambda: state(waiting) == "T")
    right.close()

    assert until(lambda: state(waiting) == "S")
    assert not way.exists()
    say(False)
    say(True)
    assert state(waiting) == "S"


def test_how_much_of_the_time_it_gave_way_is_known(way, inspect):
    clock, told = FakeClock(), []
    with listening(way, told.append, clock) as right:
        say = inspect(FakeClock())
        _keep(say, True, lambda: told and told[-1])
        right.share()
        clock.advance(3.0)
        assert right.share() == pytest.approx(1.0)
        _keep(say, False, lambda: not told[-1])
        right.share()
        clock.advance(3.0)
        assert right.share() == pytest.approx(0.0)


def test_a_socket_that_a_killed_run_left_behind_is_replaced_and_a_folder_that_is_not_there_is_told(way, inspect):
    with ear(way):
        pass
    told = []
    with listening(way, told.append):
        _keep(inspect(), True, lambda: told and told[-1])
    with pytest.raises(TransientError, match="nowhere"):
        RightOfWay(way.parent / "nowhere" / WAY_SOCKET, SystemClock(), told.append)


# Both, in a run; the child is a stand-in that waits, so that no torch is needed


@pytest.fixture
def stand_in(tmp_path):
    """A `python` that has torch, says so, and whose training child does nothing, for ever."""
    file = tmp_path / "python"
    file.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\nexec {sys.executable} -c "{WAITS}" {tmp_path}\n')
    file.chmod(0o755)
    return str(file)


class Going:
    """A run in a thread of the test, with a right of way."""

    def __init__(self, way, python, folder):
        self.permission = Permission(act=Act.RUN)
        self.reports = []
        self.stop = threading.Event()
        self._marker = str(folder).encode()
        self._thread = threading.Thread(target=self._run, args=(way, python, folder))
        self._thread.start()
        until(way.exists)
        self.child = until(self._find)

    def _run(self, way, python, folder):
        run(
            folder,
            clock=SystemClock(),
            stop=self.stop,
            permit=lambda _cpu_s, _paused: self.permission,
            tell=self.reports.append,
            way=way,
            python=python,
        )

    def _find(self):
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if self._marker in line and b"signal.pause" in line and not line.startswith(b"/bin/sh"):
                    return int(entry.name)
        return None

    def end(self):
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        assert not Path(f"/proc/{self.child}").exists()


@pytest.fixture
def going(way, stand_in, tmp_path):
    going = Going(way, stand_in, tmp_path)
    yield going
    going.end()


def test_a_run_gives_way_and_one_that_its_budget_paused_does_not_go_on_when_the_way_is_free(going, inspect):
    say = inspect()
    _keep(say, True, lambda: state(going.child) == "T")
    _keep(say, False, lambda: state(going.child) == "S")

    going.permission = Permission(act=Act.PAUSE, reason="hot: 80 °C")
    until(lambda: going.reports[-1].state is RunState.PAUSED and state(going.child) == "T")
    for judging in (True, False):
        say(judging)
    reports = len(going.reports)
    until(lambda: len(going.reports) > reports)
    assert state(going.child) == "T"

    going.permission = Permission(act=Act.RUN)
    until(lambda: state(going.child) == "S")


def test_where_parts_are_judged_without_a_pause_training_stands_still_and_says_so(going, inspect):
    say = inspect()
    _keep(say, True, lambda: going.reports and "no room: parts were being judged" in going.reports[-1].reason)
    assert going.reports[-1].state is RunState.PAUSED
    assert state(going.child) == "T"

    _keep(say, False, lambda: going.reports[-1].state is RunState.RUNNING)


def test_a_cancel_ends_a_child_that_stands_still_because_a_part_is_judged(going, inspect):
    say = inspect()
    _keep(say, True, lambda: state(going.child) == "T")
    going.end()
