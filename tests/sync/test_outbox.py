"""Laws of the outbox: nothing committed is lost without being counted, the dear outlives the cheap, no crash forgets."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent import storage
from edge_agent.clock import SystemClock
from edge_agent.errors import BadMessageError
from edge_agent.sync import outbox_table as table
from edge_agent.sync.messages import EVICTION_ORDER, MAX_PAYLOAD_BYTES, Message, Priority
from edge_agent.sync.outbox import OutboxReader, OutboxWriter, WriterOptions
from edge_agent.sync.outbox_table import OutboxLimits, Outcome
from tests.fakes.clock import FakeClock

DEADLINE_S = 20.0
ROOT = Path(__file__).parents[2]


def message(payload=b"x", priority=Priority.PASS, slot=None, tail="insp/a", retain=False):
    return Message(topic_tail=tail, payload=payload, qos=1, retain=retain, priority=priority, slot=slot)


class Conditions:
    """A listener that one can wait on."""

    def __init__(self):
        self.seen = []
        self._changed = threading.Condition()

    def __call__(self, condition):
        with self._changed:
            self.seen.append((condition.code, condition.active))
            self._changed.notify_all()

    def wait_for(self, code, *, active):
        with self._changed:
            assert self._changed.wait_for(lambda: (code, active) in self.seen, DEADLINE_S), self.seen


@pytest.fixture
def conditions():
    return Conditions()


@contextlib.contextmanager
def writer_at(path, conditions, clock=None, **options):
    writer = OutboxWriter(path, clock or SystemClock(), listener=conditions, options=WriterOptions(**options))
    try:
        yield writer
    finally:
        writer.close(1.0)


@contextlib.contextmanager
def reader_at(path, clock=None):
    reader = OutboxReader(path, clock or SystemClock())
    try:
        yield reader
    finally:
        reader.close()


def payloads(rows):
    return [row.message.payload for row in rows]


# Rules of the tables, against a model

moves = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.sampled_from(Priority), st.integers(0, 200), st.sampled_from([None, None, "s1", "s2"])
        ),
        st.tuples(st.just("deliver"), st.integers(1, 5)),
        st.tuples(st.just("park"), st.integers(1, 2)),
        st.tuples(st.just("requeue")),
        st.tuples(st.just("restart")),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 400.0])),
    ),
    max_size=50,
)
LIMITS = OutboxLimits(max_bytes=1500, max_age_s=1000.0)


class Model:
    """Rows as plain lists, by the same rules said in another way."""

    def __init__(self):
        self.rows = []  # [seq, priority, slot, size, queued]
        self.counts = Counter()

    def put(self, seq, message, now):
        if message.slot is not None:
            same = [row for row in self.rows if row[2] == message.slot]
            self.counts["replaced"] += len(same)
            self.rows = [row for row in self.rows if row[2] != message.slot]
        self.rows.append([seq, message.priority, message.slot, message.size_bytes, now])

    def evict(self, now):
        too_old = [row for row in self.rows if row[1] is not Priority.ALARM and row[4] < now - LIMITS.max_age_s]
        total = sum(row[3] for row in self.rows)
        surplus = total - LIMITS.max_bytes * 95 // 100 if total > LIMITS.max_bytes else 0
        for priority in EVICTION_ORDER:
            for row in [row for row in self.rows if row[1] is priority]:
                if surplus > 0 or row in too_old:
                    surplus -= row[3]
                    self.rows.remove(row)
                    self.counts["evicted"] += 1
                else:
                    break

    def order(self):
        return [row[0] for row in sorted(self.rows, key=lambda row: (row[1], row[0]))]


@settings(max_examples=60, deadline=None)
@given(moves)
def test_the_queue_holds_what_the_model_holds_and_every_message_is_accounted_for(ops):
    with tempfile.TemporaryDirectory() as directory:
        path, clock, model = Path(directory) / "outbox.db", FakeClock(), Model()
        connection = storage.open_database(path, table.MIGRATIONS)
        parked, put = 0, 0
        for op in ops:
            if op[0] == "put":
                slot = None if op[3] is None else f"{op[3]}-{op[1].name}"
                new = message(b"x" * op[2], op[1], slot)
                with storage.transaction(connection, path):
                    table.insert(connection, [new], clock.utc_s())
                    seq = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()[0]
                    table.evict(connection, LIMITS, clock.utc_s())
                put += 1
                model.put(seq, new, clock.utc_s())
                model.evict(clock.utc_s())
            elif op[0] == "deliver":
                chosen = model.order()[: op[1]]
                with storage.transaction(connection, path):
                    assert table.remove(connection, [*chosen, 10**9], Outcome.DELIVERED) == len(chosen)
                model.counts["delivered"] += len(chosen)
                model.rows = [row for row in model.rows if row[0] not in chosen]
            elif op[0] == "park":
                for seq in model.order()[: op[1]]:
                    with storage.transaction(connection, path):
                        assert table.park(connection, seq, "no", clock.utc_s())
                    model.rows = [row for row in model.rows if row[0] != seq]
                    model.counts["parked"] += 1
                    parked += 1
            elif op[0] == "requeue":
                waiting = [
                    (row["seq"], row["priority"], row["slot"], len(row["payload"]))
                    for row in connection.execute("SELECT * FROM parked ORDER BY seq")
                ]
                assert len(waiting) == parked
                with storage.transaction(connection, path):
                    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'message'").fetchone()
                    assert table.requeue_parked(connection, clock.utc_s()) == parked
                for number, (_, priority, slot, size) in enumerate(waiting, start=1):
                    model.put(last[0] + number, message(b"x" * size, Priority(priority), slot), clock.utc_s())
                put, parked = put + parked, 0
            elif op[0] == "restart":
                connection.close()
                connection = storage.open_database(path, table.MIGRATIONS)
            else:
                clock.advance(op[1])

            found = [row.seq for priority in Priority for row in table.after(connection, priority, 0, 1000)]
            stats = table.stats(connection)
            assert found == model.order()
            assert stats.queued == len(model.rows)
            assert stats.queued_bytes == sum(row[3] for row in model.rows)
            for name in ("replaced", "evicted", "delivered", "parked"):
                assert sum(getattr(counts, name) for counts in stats.by_class.values()) == model.counts[name]
            assert put == stats.queued + sum(model.counts.values())
        assert table.is_sound(connection) is None
        connection.close()


def test_alarms_are_never_evicted_whatever_else_has_to_go(tmp_path, conditions):
    limits = OutboxLimits(max_bytes=20_000, max_age_s=3600.0)
    with writer_at(tmp_path / "outbox.db", conditions, limits=limits) as writer:
        for number in range(50):
            writer.put(message(b"%d" % number, Priority.ALARM, tail="alarm/a"))
            for priority in EVICTION_ORDER:
                writer.put(message(b"y" * 400, priority))
        assert writer.flush(DEADLINE_S)
    with reader_at(tmp_path / "outbox.db") as reader:
        alarms = [row for row in reader.pending(1000) if row.message.priority is Priority.ALARM]
        stats = reader.stats()

    assert payloads(alarms) == [b"%d" % number for number in range(50)]
    assert stats.queued_bytes <= limits.max_bytes
    evicted = [stats.by_class[priority].evicted for priority in EVICTION_ORDER]
    assert evicted == sorted(evicted, reverse=True)
    assert evicted[0] == 50
    assert ("outbox-evicting", True) in conditions.seen


def test_the_alarm_of_eviction_ends_when_there_is_room_again(tmp_path, conditions):
    path = tmp_path / "outbox.db"
    with writer_at(path, conditions, limits=OutboxLimits(max_bytes=10_000)) as writer:
        for _ in range(100):
            writer.put(message(b"x" * 200))
        assert writer.flush(DEADLINE_S)
        conditions.wait_for("outbox-evicting", active=True)
        with reader_at(path) as reader:
            reader.acknowledge([row.seq for row in reader.pending(1000)])

        writer.put(message())
        assert writer.flush(DEADLINE_S)

        conditions.wait_for("outbox-evicting", active=False)


def test_old_messages_go_and_old_alarms_stay(tmp_path, conditions):
    clock = FakeClock()
    with writer_at(tmp_path / "outbox.db", conditions, clock, limits=OutboxLimits(max_age_s=100.0)) as writer:
        writer.put(message(b"old", Priority.DEFECT))
        writer.put(message(b"alarm", Priority.ALARM))
        assert writer.flush(DEADLINE_S)
        clock.advance(101)
        writer.put(message(b"new", Priority.DEFECT))
        assert writer.flush(DEADLINE_S)
    with reader_at(tmp_path / "outbox.db", clock) as reader:
        assert payloads(reader.pending(10)) == [b"alarm", b"new"]


def test_a_jump_of_the_wall_clock_makes_nothing_old(tmp_path, conditions):
    clock = FakeClock(utc_s=3600.0)  # a gateway without a clock of its own starts in 1970
    with writer_at(tmp_path / "outbox.db", conditions, clock, limits=OutboxLimits(max_age_s=1000.0)) as writer:
        writer.put(message(b"before"))
        assert writer.flush(DEADLINE_S)
        clock.jump(1.7e9)
        writer.put(message(b"after"))
        assert writer.flush(DEADLINE_S)
    with reader_at(tmp_path / "outbox.db", clock) as reader:
        rows = reader.pending(10)

    assert payloads(rows) == [b"before", b"after"]
    assert clock.utc_s() - rows[0].queued_utc_s < 1000


# Writer


def test_put_does_not_wait_for_the_disk_and_the_callback_comes_after_the_commit(tmp_path, conditions):
    path = tmp_path / "outbox.db"
    seen = []
    with writer_at(path, conditions, window_s=0.0) as writer:

        def durable():
            with reader_at(path) as reader:
                seen.append(payloads(reader.pending(10)))

        writer.put(message(b"a"), on_durable=durable)
        assert writer.flush(DEADLINE_S)
        writer.put(message(b"b"))
        assert writer.flush(DEADLINE_S)

    assert seen == [[b"a"]]


def test_an_alarm_does_not_wait_for_its_group(tmp_path, conditions):
    with writer_at(tmp_path / "outbox.db", conditions, window_s=3600.0) as writer:
        done = threading.Event()
        writer.put(message(b"part"))
        writer.put(message(b"alarm", Priority.ALARM), on_durable=done.set)

        assert done.wait(DEADLINE_S)


def test_what_somebody_waits_for_does_not_wait_for_its_group(tmp_path, conditions):
    with writer_at(tmp_path / "outbox.db", conditions, window_s=3600.0) as writer:
        done = threading.Event()
        writer.put(message(b"part"), on_durable=done.set)

        assert done.wait(DEADLINE_S)


def test_the_newest_of_a_slot_is_the_only_one_and_goes_out_as_a_new_row(tmp_path, conditions):
    path = tmp_path / "outbox.db"
    with writer_at(path, conditions) as writer, reader_at(path) as reader:
        writer.put(message(b"1", Priority.STATE, slot="sum/a"))
        assert writer.flush(DEADLINE_S)
        first = reader.pending(10)
        writer.put(message(b"2", Priority.STATE, slot="sum/a"))
        assert writer.flush(DEADLINE_S)

        reader.acknowledge([row.seq for row in first])

        assert payloads(reader.pending(10)) == [b"2"]


def test_an_exception_in_a_callback_surfaces_at_the_next_put(tmp_path, conditions):
    writer = OutboxWriter(tmp_path / "outbox.db", SystemClock(), listener=conditions)
    writer.put(message(), on_durable=lambda: 1 / 0)
    writer._thread.join(DEADLINE_S)

    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        writer.put(message())


def test_an_oversize_payload_is_refused_at_the_door():
    message(b"x" * MAX_PAYLOAD_BYTES)
    with pytest.raises(BadMessageError, match="at most 131072"):
        message(b"x" * (MAX_PAYLOAD_BYTES + 1))


def test_the_dear_goes_out_before_the_old(tmp_path, conditions):
    with writer_at(tmp_path / "outbox.db", conditions) as writer:
        for priority in reversed(Priority):
            for number in (1, 2):
                writer.put(message(f"{priority.name} {number}".encode(), priority))
        assert writer.flush(DEADLINE_S)
    with reader_at(tmp_path / "outbox.db") as reader:
        assert payloads(reader.pending(100)) == [
            f"{priority.name} {number}".encode() for priority in Priority for number in (1, 2)
        ]


def test_what_is_handed_out_comes_again_only_after_a_rewind(tmp_path, conditions):
    path = tmp_path / "outbox.db"
    with writer_at(path, conditions) as writer, reader_at(path) as reader:
        for number in range(5):
            writer.put(message(b"%d" % number))
        assert writer.flush(DEADLINE_S)

        assert payloads(reader.pending(3)) == [b"0", b"1", b"2"]
        assert payloads(reader.pending(3)) == [b"3", b"4"]
        assert reader.pending(3) == []
        reader.rewind()
        assert payloads(reader.pending(9)) == [b"0", b"1", b"2", b"3", b"4"]


def test_retained_state_is_kept_until_it_is_emptied_and_not_repeated_while_something_newer_waits(tmp_path, conditions):
    path = tmp_path / "outbox.db"
    with writer_at(path, conditions) as writer, reader_at(path) as reader:
        writer.put(message(b"state", Priority.STATE, slot="info", tail="info", retain=True))
        writer.put(message(b"on", Priority.ALARM, tail="alarm/x", retain=True))
        assert writer.flush(DEADLINE_S)
        assert reader.retained() == []
        reader.acknowledge([row.seq for row in reader.pending(10)])
        assert [(kept.topic_tail, kept.payload) for kept in reader.retained()] == [
            ("alarm/x", b"on"),
            ("info", b"state"),
        ]

        writer.put(message(b"", Priority.ALARM, tail="alarm/x", retain=True))
        assert writer.flush(DEADLINE_S)
        reader.acknowledge([row.seq for row in reader.pending(10)])

        assert [kept.topic_tail for kept in reader.retained()] == ["info"]


def test_parked_messages_are_kept_for_a_person_bounded_and_go_out_again_when_asked(tmp_path, conditions, monkeypatch):
    path = tmp_path / "outbox.db"
    monkeypatch.setattr(table, "PARKED_ROWS_MAX", 3)
    with writer_at(path, conditions) as writer, reader_at(path) as reader:
        for number in range(5):
            writer.put(message(b"%d" % number))
        assert writer.flush(DEADLINE_S)
        for row in reader.pending(10):
            reader.park(row.seq, "Not authorized (135)")
        stats = reader.stats()
        assert (stats.queued, stats.parked_now, stats.lost) == (0, 3, 2)

        assert reader.requeue_parked() == 3

        assert payloads(reader.pending(10)) == [b"2", b"3", b"4"]


# Faults, for real

CHILD = """
import sys, threading
from pathlib import Path
from edge_agent.clock import SystemClock
from edge_agent.sync.messages import Message, Priority
from edge_agent.sync.outbox import OutboxWriter, WriterOptions
writer = OutboxWriter(Path(sys.argv[1]), SystemClock(), listener=print, options=WriterOptions(window_s=0.001))
number = 0
while True:
    text = b"%d" % number
    def durable(text=text):
        sys.stdout.buffer.write(text + b"\\n")
        sys.stdout.buffer.flush()
    priority = Priority.ALARM if number % 7 == 0 else Priority.PASS
    writer.put(Message(topic_tail="insp/a", payload=text, qos=1, retain=False, priority=priority), on_durable=durable)
    number += 1
    if number % 10 == 0:
        writer.flush(5)
"""


@pytest.mark.parametrize("after", [1, 57, 400])
def test_what_was_said_to_be_durable_is_there_after_kill_9(tmp_path, after):
    path = tmp_path / "outbox.db"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
    said = [child.stdout.readline() for _ in range(after)]
    child.send_signal(signal.SIGKILL)
    said += child.stdout.readlines()
    child.wait(DEADLINE_S)
    child.stdout.close()

    with reader_at(path) as reader:
        there = set(payloads(reader.pending(10**6)))

    # The last line may have been cut by the kill.
    assert {line.strip() for line in said if line.endswith(b"\n")} <= there


@contextlib.contextmanager
def small_disk():
    """A directory on a disk of 1 MiB: a real one where we may mount, else files that the kernel keeps from growing."""
    with tempfile.TemporaryDirectory() as directory:
        mounted = (
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], capture_output=True, check=False
            ).returncode
            == 0
        )
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, before[1]))
        ballast = Path(directory) / "ballast"

        def free():
            ballast.unlink(missing_ok=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

        if mounted:
            ballast.write_bytes(b"x" * 600_000)
        try:
            yield Path(directory), free
        finally:
            free()
            if mounted:
                subprocess.run(["umount", "--lazy", directory], check=True)


def test_on_a_full_disk_messages_wait_in_memory_the_least_important_go_and_all_is_well_again_when_there_is_room(
    conditions,
):
    with small_disk() as (directory, free):
        path = directory / "outbox.db"
        with writer_at(path, conditions, memory_bytes=60_000) as writer:
            number = 0
            full = False
            while not full and number < 5000:
                writer.put(message(b"%05d" % number + b"x" * 1000))
                writer.flush(0.2) if number % 50 == 0 else None
                number += 1
                full = any(active for _, active in conditions.seen)
            assert full
            for extra in range(100):
                writer.put(message(b"fill" + b"x" * 1000))
                if extra % 10 == 0:
                    writer.put(message(b"alarm %d" % extra, Priority.ALARM))
            code = conditions.seen[0][0]
            assert code in {"disk-full", "outbox-fault"}

            free()
            conditions.wait_for(code, active=False)
            assert writer.flush(DEADLINE_S)
        with reader_at(path) as reader:
            rows = reader.pending(10**5)
            stats = reader.stats()

        assert payloads(rows)[:10] == [b"alarm %d" % extra for extra in range(0, 100, 10)]
        assert stats.by_class[Priority.PASS].dropped > 0
        assert stats.queued + stats.lost == number + 110


@contextlib.contextmanager
def unwritable():
    """A directory that this process may not write to, even when the tests run as root."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield Path(directory)
        finally:
            os.seteuid(user)
            Path(directory).chmod(0o755)


def test_in_a_read_only_directory_messages_wait_in_memory_and_the_fault_is_named(conditions):
    with unwritable() as directory, writer_at(directory / "outbox.db", conditions) as writer:
        writer.put(message(b"kept"))

        conditions.wait_for("state-read-only", active=True)
        assert not writer.flush(0.05)

        user = os.geteuid()
        os.seteuid(os.getuid())
        directory.chmod(0o777)
        os.seteuid(user)
        assert writer.flush(DEADLINE_S)
        conditions.wait_for("state-read-only", active=False)
        with reader_at(directory / "outbox.db") as reader:
            assert payloads(reader.pending(10)) == [b"kept"]


@pytest.mark.parametrize("damage", ["garbage", "middle", "truncated"])
def test_a_damaged_outbox_is_moved_aside_and_a_fresh_one_begun(tmp_path, conditions, damage):
    path = tmp_path / "outbox.db"
    with writer_at(path, Conditions()) as writer:
        for _ in range(500):
            writer.put(message(b"x" * 200))
        assert writer.flush(DEADLINE_S)
    content = path.read_bytes()
    if damage == "garbage":
        content = b"not a database" * 1000
    elif damage == "middle":
        content = content[:8192] + b"\xff" * 40_000 + content[48_192:]
    else:
        content = content[: len(content) // 2]
    path.write_bytes(content)

    with writer_at(path, conditions) as writer:
        writer.put(message(b"new"))
        assert writer.flush(DEADLINE_S)
        with reader_at(path) as reader:
            assert payloads(reader.pending(10)) == [b"new"]

    assert conditions.seen == [("outbox-corrupt", True)]
    kept = [file for file in tmp_path.iterdir() if ".damaged-" in file.name]
    assert any(file.read_bytes() == content for file in kept)


def test_a_reader_notices_that_the_writer_began_a_fresh_file(tmp_path, conditions):
    path = tmp_path / "outbox.db"
    with writer_at(path, conditions) as writer, reader_at(path) as reader:
        for number in range(3):
            writer.put(message(b"old %d" % number))
        assert writer.flush(DEADLINE_S)
        assert len(reader.pending(10)) == 3
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).rename(path.with_name(f"aside{suffix}"))

        writer.put(message(b"new"))
        assert writer.flush(DEADLINE_S)

        assert payloads(reader.pending(10)) == [b"new"]


def test_the_file_shrinks_again_after_an_outage_has_drained(tmp_path, conditions):
    path = tmp_path / "outbox.db"
    with writer_at(path, conditions) as writer:
        for _ in range(40_000):
            writer.put(message(b"x" * 300))
        assert writer.flush(60)
    full = path.stat().st_size

    with reader_at(path) as reader:
        while rows := reader.pending(1000):
            reader.acknowledge([row.seq for row in rows])

    assert path.stat().st_size < full / 2
