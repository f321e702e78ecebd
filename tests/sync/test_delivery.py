"""The outbox's side of the uplink when the disk misbehaves: nothing delivered is forgotten, nothing is deleted unsent."""

import sqlite3

import pytest

from edge_agent.sync.delivery import GROUP_WAIT_S, RETRY_S, Delivery
from edge_agent.sync.messages import Message, Priority
from edge_agent.sync.outbox import OutboxReader
from tests.fakes.clock import FakeClock


def message(number):
    return Message(topic_tail="insp/a", payload=b"%d" % number, qos=1, retain=False, priority=Priority.PASS)


class Desk:
    """A delivery on a real outbox, with the conditions it reported."""

    def __init__(self, path):
        self.clock = FakeClock()
        self.reader = OutboxReader(path, self.clock)
        self.conditions = []
        self.delivery = Delivery(
            self.reader, self.clock, lambda condition: self.conditions.append((condition.code, condition.active))
        )

    def take_all(self):
        rows = []
        while (row := self.delivery.next()) is not None:
            rows.append(row)
        return rows


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "outbox.db")
    desk.reader.add([message(number) for number in range(10)])
    yield desk
    desk.reader.close()


def test_rows_come_once_and_again_after_a_restart_unless_they_were_delivered(desk):
    rows = desk.take_all()
    assert [row.message.payload for row in rows] == [b"%d" % number for number in range(10)]
    assert desk.take_all() == []
    for row in rows[:4]:
        desk.delivery.delivered(row.seq)

    desk.delivery.restart()  # before the deliveries were written down

    assert [row.message.payload for row in desk.take_all()] == [b"%d" % number for number in range(4, 10)]


def test_deliveries_are_written_down_in_groups(desk):
    for row in desk.take_all():
        desk.delivery.delivered(row.seq)
    desk.delivery.settle(now=False)
    assert desk.reader.stats().queued == 10

    desk.clock.advance(GROUP_WAIT_S)
    desk.delivery.settle(now=False)

    assert desk.reader.stats().queued == 0
    assert desk.delivery.unsettled == 0


def test_while_another_process_holds_the_database_deliveries_are_remembered_and_written_later(
    desk, tmp_path, monkeypatch
):
    rows = desk.take_all()
    for row in rows:
        desk.delivery.delivered(row.seq)
    desk.reader._database.connection().execute("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    desk.delivery.settle(now=True)

    assert desk.delivery.unsettled == 10
    assert desk.conditions == [("outbox-fault", True)]
    other.execute("ROLLBACK")
    other.close()
    desk.delivery.settle(now=True)
    assert desk.delivery.unsettled == 10  # not yet: a failing disk is not asked all the time
    desk.clock.advance(RETRY_S)
    desk.delivery.settle(now=True)
    assert desk.delivery.unsettled == 0
    assert desk.reader.stats().delivered == 10
    assert desk.conditions == [("outbox-fault", True), ("outbox-fault", False)]


def test_a_damaged_outbox_is_moved_aside_and_old_row_numbers_touch_nothing_in_the_fresh_one(desk, tmp_path):
    rows = desk.take_all()
    desk.reader.close()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"outbox.db{suffix}").unlink(missing_ok=True)
    (tmp_path / "outbox.db").write_bytes(b"not a database at all" * 500)
    for row in rows:
        desk.delivery.delivered(row.seq)

    desk.delivery.settle(now=True)

    assert desk.conditions == [("outbox-fault", True), ("outbox-corrupt", True)]
    assert any(".damaged-" in file.name for file in tmp_path.iterdir())
    desk.clock.advance(RETRY_S)
    desk.reader.add([message(100)])
    desk.delivery.settle(now=True)
    desk.delivery.look()
    assert [row.message.payload for row in desk.take_all()] == [b"100"]


def test_a_refused_row_is_parked_and_does_not_come_again(desk):
    first, *_ = desk.take_all()
    assert desk.delivery.nothing_parked()
    desk.delivery.refused(first.seq, "Not authorized (135)")
    desk.delivery.settle(now=True)
    desk.delivery.restart()

    assert len(desk.take_all()) == 9
    assert not desk.delivery.nothing_parked()
    assert desk.reader.stats().parked_now == 1
