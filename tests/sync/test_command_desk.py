import json
import sqlite3

import pytest

from edge_agent.sync.command_desk import CommandDesk
from edge_agent.sync.inbox import Inbox
from tests.fakes.clock import FakeClock

PAUSE = b'{"v":1,"by":"anna"}'


class Desk:
    def __init__(self, path):
        self.clock = FakeClock()
        self.inbox = Inbox(path, self.clock)
        self.sent = []
        self.takes = True
        self.rings = 0
        self.alarms = {("outbox-corrupt", "outbox")}
        self.desk = CommandDesk(
            self.inbox, self.clock, send=self.send, ring=self.ring, acknowledge_alarm=self.acknowledge
        )

    def send(self, message):
        if self.takes:
            self.sent.append((message.topic_tail, json.loads(message.payload)))
        return self.takes

    def ring(self):
        self.rings += 1

    def acknowledge(self, code, subject):
        return (code, subject) in self.alarms

    def states(self):
        return [(tail, payload["state"]) for tail, payload in self.sent]


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "inbox.db")
    yield desk
    desk.inbox.close()


def test_an_accepted_command_is_noted_answered_and_rung(desk):
    desk.desk.receive("cmd/pause/c-1", PAUSE, retained=False)

    assert desk.states() == [("ack/pause/c-1", "accepted")]
    assert [command.id for command in desk.inbox.waiting()] == ["c-1"]
    assert desk.rings == 1


def test_an_alarm_of_the_sync_process_itself_is_acknowledged_here_and_others_are_left_to_inspect(desk):
    for number, subject in enumerate(("outbox", "press-3")):
        payload = json.dumps({"v": 1, "by": "anna", "args": {"code": "outbox-corrupt", "subject": subject}}).encode()
        desk.desk.receive(f"cmd/alarm-ack/c-{number}", payload, retained=False)

    assert desk.states() == [("ack/alarm-ack/c-0", "successful"), ("ack/alarm-ack/c-1", "accepted")]
    assert [command.id for command in desk.inbox.waiting()] == ["c-1"]


def test_an_answer_that_cannot_be_queued_now_is_given_later(desk):
    desk.takes = False
    desk.desk.receive("cmd/pause/c-1", PAUSE, retained=False)
    assert desk.sent == []
    desk.takes = True

    desk.desk.tell()
    desk.desk.tell()

    assert desk.states() == [("ack/pause/c-1", "accepted")]


def test_a_result_too_large_for_a_message_is_left_out_and_said_to_be(desk):
    desk.desk.receive("cmd/counters/c-1", PAUSE, retained=False)
    desk.inbox.advance("c-1", "successful", result={"much": "x" * 200_000})

    desk.desk.tell()

    _, payload = desk.sent[-1]
    assert (payload["state"], payload["result"]) == ("successful", None)
    assert "at most" in payload["reason"]


@pytest.mark.parametrize(
    ("tail", "payload"), [("cmd/pause/c-1", b""), ("cmd/pause", PAUSE), ("insp/a", PAUSE), ("cmd/pause/c 1", PAUSE)]
)
def test_what_is_no_command_or_cannot_be_answered_changes_nothing(desk, tail, payload):
    desk.desk.receive(tail, payload, retained=False)

    assert desk.sent == []
    assert desk.inbox.waiting() == []


def test_when_the_inbox_cannot_be_written_the_sender_is_told_to_send_again(desk, tmp_path):
    desk.inbox._connection.execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    desk.desk.receive("cmd/pause/c-1", PAUSE, retained=False)
    other.execute("ROLLBACK")
    other.close()

    assert desk.states() == [("ack/pause/c-1", "rejected")]
    assert "send it again" in desk.sent[0][1]["reason"]
    desk.desk.receive("cmd/pause/c-1", PAUSE, retained=False)
    assert desk.states()[-1] == ("ack/pause/c-1", "accepted")
