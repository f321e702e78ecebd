"""Commands in the inspect process: each carried out once, each told through its states."""

import pytest

from edge_agent.errors import BadCommandError, StorageFullError
from edge_agent.processes.orders import EXECUTORS, Orders
from edge_agent.sync.commands import COMMANDS, Command
from edge_agent.sync.inbox import Inbox
from tests.fakes.clock import FakeClock


class Floor:
    """Remembers what was done to it; `refusing` says no to everything."""

    def __init__(self, refusing=None):
        self.done = []
        self.waiting = []
        self.refusing = refusing

    def _do(self, *what):
        if self.refusing is not None:
            raise self.refusing
        self.done.append(what)

    def set_threshold(self, camera, value):
        self._do("threshold", camera, value)

    def set_paused(self, camera, *, paused):
        self._do("paused", camera, paused)

    def relearn_pictures(self, camera):
        self._do("relearn", camera)

    def trigger(self, camera, part, recipe):
        self._do("trigger", camera, part, recipe)

    def counters(self):
        self._do("counters")
        return {"cameras": {}}

    def acknowledge_alarm(self, code, subject):
        self._do("ack", code, subject)
        return subject == "known"

    def activate_model(self, name, digest, done, *, by):
        self._do("activate", name, digest)
        self.waiting.append(done)

    def roll_back_model(self, name, done, *, by):
        self._do("rollback", name)
        self.waiting.append(done)


@pytest.fixture
def inbox(tmp_path):
    inbox = Inbox(tmp_path / "inbox.db", FakeClock())
    yield inbox
    inbox.close()


def send(inbox, kind, args, identity="c1"):
    inbox.accept(Command(id=identity, type=kind, by="op", args=args, expires_utc_s=None))


def states(inbox):
    return [(progress.id, progress.state, progress.reason) for progress in inbox.untold()]


def test_every_type_of_command_that_is_accepted_has_an_executor():
    assert set(EXECUTORS) == set(COMMANDS)


def test_a_command_is_carried_out_once_however_often_the_inbox_is_looked_at(inbox):
    floor = Floor()
    orders = Orders(inbox, floor, ring=lambda: None)
    send(inbox, "threshold", {"camera": "press-3", "value": 0.7})

    for _ in range(3):
        orders.step()
        send(inbox, "threshold", {"camera": "press-3", "value": 0.7})

    assert floor.done == [("threshold", "press-3", 0.7)]
    assert states(inbox) == [("c1", "successful", None)]


def test_a_trigger_asks_for_a_picture_of_its_part(inbox):
    send(inbox, "trigger", {"camera": "top", "part": "A-17", "recipe": "lid"}, "c1")
    send(inbox, "trigger", {"camera": "top"}, "c2")
    floor = Floor()

    Orders(inbox, floor, lambda: None).step()

    assert floor.done == [("trigger", "top", "A-17", "lid"), ("trigger", "top", None, None)]


def test_what_does_not_apply_here_is_rejected_with_the_reason(inbox):
    orders = Orders(inbox, Floor(refusing=BadCommandError("no camera 'x' here")), ring=lambda: None)
    send(inbox, "pause", {"camera": "x"})

    orders.step()

    assert states(inbox) == [("c1", "rejected", "no camera 'x' here")]


def test_what_the_disk_refuses_has_failed_and_may_be_sent_again_under_another_id(inbox):
    orders = Orders(inbox, Floor(refusing=StorageFullError("no space left")), ring=lambda: None)
    send(inbox, "threshold", {"camera": "press-3", "value": 0.7})

    orders.step()

    assert states(inbox) == [("c1", "failed", "no space left")]


def test_a_model_command_is_executing_until_the_background_says_how_it_went(inbox):
    floor = Floor()
    orders = Orders(inbox, floor, ring=lambda: None)
    send(inbox, "model", {"action": "activate", "name": "surface", "digest": "ab" * 32}, "c1")
    send(inbox, "model", {"action": "rollback", "name": "surface"}, "c2")

    orders.step()
    during = [state for _, state, _ in states(inbox)]
    floor.waiting[0](None)
    floor.waiting[1]("model 'surface' has no previous bundle")

    assert during == ["executing", "executing"]
    assert states(inbox) == [("c1", "successful", None), ("c2", "failed", "model 'surface' has no previous bundle")]


def test_a_rollback_whose_beginning_cannot_be_written_down_is_not_begun(tmp_path):
    class Full(Inbox):
        full = True

        def advance(self, identity, state, *, reason=None, result=None):
            if self.full:
                raise StorageFullError("no space left")
            super().advance(identity, state, reason=reason, result=result)

    inbox, floor = Full(tmp_path / "inbox.db", FakeClock()), Floor()
    orders = Orders(inbox, floor, ring=lambda: None)
    send(inbox, "model", {"action": "rollback", "name": "surface"})

    orders.step()
    assert floor.done == []
    inbox.full = False
    orders.step()
    orders.step()

    assert floor.done == [("rollback", "surface")]
    inbox.close()


def test_what_an_earlier_process_was_doing_when_it_died_has_failed_and_is_not_done_again(inbox):
    floor = Floor()
    send(inbox, "model", {"action": "rollback", "name": "surface"})
    Orders(inbox, Floor(), ring=lambda: None).step()
    rung = []
    orders = Orders(inbox, floor, ring=lambda: rung.append(1))

    orders.begin()
    orders.step()

    assert floor.done == []
    assert states(inbox)[0][1] == "failed"
    assert rung
