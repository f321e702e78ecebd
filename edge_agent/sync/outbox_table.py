"""The tables of outbox.db and what is done to them; every function that writes runs inside the caller's transaction.

message   waits to be sent; seq never comes twice, so an acknowledgement can never hit a newer row
retained  the last retained payload of every topic, to be said again on every connect
parked    what the broker refused: kept for a person, bounded, counted
tally     rows, bytes and outcomes by class, kept in the same transactions, so counting needs no scan
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge_agent import storage
from edge_agent.sync.messages import EVICTION_ORDER, Message, Priority

PARKED_ROWS_MAX = 10_000
_COLUMNS = "topic, payload, qos, retain, priority, slot, content_type, expiry_s"

_MESSAGE_FIELDS = """
    topic TEXT NOT NULL, payload BLOB NOT NULL, qos INTEGER NOT NULL, retain INTEGER NOT NULL,
    priority INTEGER NOT NULL, slot TEXT, content_type TEXT NOT NULL, expiry_s INTEGER
"""

MIGRATIONS: tuple[str, ...] = (
    f"""
    CREATE TABLE message (seq INTEGER PRIMARY KEY AUTOINCREMENT, {_MESSAGE_FIELDS},
        queued_utc_s REAL NOT NULL, size_bytes INTEGER NOT NULL);
    CREATE INDEX message_by_priority ON message (priority, seq);
    CREATE UNIQUE INDEX message_by_slot ON message (slot) WHERE slot IS NOT NULL;
    CREATE TABLE retained ({_MESSAGE_FIELDS}, PRIMARY KEY (topic)) WITHOUT ROWID;
    CREATE TABLE parked (seq INTEGER PRIMARY KEY, {_MESSAGE_FIELDS},
        queued_utc_s REAL NOT NULL, parked_utc_s REAL NOT NULL, reason TEXT NOT NULL);
    CREATE TABLE tally (priority INTEGER PRIMARY KEY, queued INTEGER NOT NULL DEFAULT 0,
        queued_bytes INTEGER NOT NULL DEFAULT 0, delivered INTEGER NOT NULL DEFAULT 0,
        replaced INTEGER NOT NULL DEFAULT 0, evicted INTEGER NOT NULL DEFAULT 0,
        parked INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0);
    INSERT INTO tally (priority) VALUES {", ".join(f"({int(priority)})" for priority in Priority)}
    """,  # noqa: S608 - constants
)


class Outcome(str, enum.Enum):
    """How a row leaves the queue; the names are columns of `tally`."""

    DELIVERED = "delivered"
    REPLACED = "replaced"
    EVICTED = "evicted"
    PARKED = "parked"
    DROPPED = "dropped"  # in memory, while the disk was full: it never was a row


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """A row of the queue. `seq` is its name for acknowledging."""

    seq: int
    message: Message
    queued_utc_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """What the queue may hold: bytes as counted by `Message.size_bytes`, and seconds since it was queued."""

    max_bytes: int = 256 * 1024 * 1024
    max_age_s: float = 14 * 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassStats:
    """Counts of one priority class; all but `queued` and `queued_bytes` since the database was begun."""

    queued: int
    queued_bytes: int
    delivered: int
    replaced: int
    evicted: int
    parked: int
    dropped: int
    oldest_utc_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicStats:
    """What waits under one topic."""

    topic_tail: str
    queued: int
    queued_bytes: int
    oldest_utc_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStats:
    """The queue at one moment; `parked_now` rows wait for a person."""

    by_class: Mapping[Priority, ClassStats]
    parked_now: int
    oldest_utc_s: float | None

    @property
    def queued(self) -> int:
        return sum(counts.queued for counts in self.by_class.values())

    @property
    def queued_bytes(self) -> int:
        return sum(counts.queued_bytes for counts in self.by_class.values())

    @property
    def delivered(self) -> int:
        return sum(counts.delivered for counts in self.by_class.values())

    @property
    def lost(self) -> int:
        """Evicted, or dropped in memory: what nobody will ever receive."""
        return sum(counts.evicted + counts.dropped for counts in self.by_class.values())


def insert(connection: storage.Connection, messages: Sequence[Message], utc_s: float) -> None:
    """Append `messages`; of the same slot, the newest stays."""
    added_rows: Counter[Priority] = Counter()
    added_bytes: Counter[Priority] = Counter()
    for message in messages:
        values = _values(message)
        if message.slot is not None:
            older = connection.execute("SELECT seq FROM message WHERE slot = ?", (message.slot,)).fetchone()
            if older is not None:
                remove(connection, [older["seq"]], Outcome.REPLACED)
        connection.execute(
            f"INSERT INTO message ({_COLUMNS}, queued_utc_s, size_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
            (*values, utc_s, message.size_bytes),
        )
        added_rows[message.priority] += 1
        added_bytes[message.priority] += message.size_bytes
        if message.retain:
            _keep_retained(connection, message, values)
    connection.executemany(
        "UPDATE tally SET queued = queued + ?, queued_bytes = queued_bytes + ? WHERE priority = ?",
        [(rows, added_bytes[priority], int(priority)) for priority, rows in added_rows.items()],
    )


def _keep_retained(connection: storage.Connection, message: Message, values: tuple[object, ...]) -> None:
    if message.payload:
        connection.execute(f"INSERT OR REPLACE INTO retained ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608 - a constant
    else:
        connection.execute("DELETE FROM retained WHERE topic = ?", (message.topic_tail,))


_COUNT = {
    outcome: f"UPDATE tally SET {outcome.value} = {outcome.value} + ? WHERE priority = ?"  # noqa: S608 - a constant
    for outcome in Outcome
}
_LEAVE = "UPDATE tally SET queued = queued - ?, queued_bytes = queued_bytes - ? WHERE priority = ?"


def remove(connection: storage.Connection, seqs: Sequence[int], outcome: Outcome) -> int:
    """Delete those of `seqs` that are still there and count them as `outcome`; returns how many."""
    # One statement for the whole group: SQLite walks the row ids, we do not.
    chosen = (json.dumps(sorted(seqs)),)
    groups = connection.execute(
        "SELECT priority, COUNT(*) AS number, SUM(size_bytes) AS bytes FROM message"
        " WHERE seq IN (SELECT value FROM json_each(?)) GROUP BY priority",
        chosen,
    ).fetchall()
    connection.execute("DELETE FROM message WHERE seq IN (SELECT value FROM json_each(?))", chosen)
    connection.executemany(_LEAVE, [(row["number"], row["bytes"], row["priority"]) for row in groups])
    count(connection, outcome, {Priority(row["priority"]): row["number"] for row in groups})
    return sum(row["number"] for row in groups)


def count(connection: storage.Connection, outcome: Outcome, counts: Mapping[Priority, int]) -> None:
    """Count what left before it ever was a row."""
    connection.executemany(_COUNT[outcome], [(number, int(priority)) for priority, number in counts.items() if number])


def evict(connection: storage.Connection, limits: OutboxLimits, utc_s: float) -> int:
    """Make the queue fit its limits, least important and oldest first, alarms never; returns how many rows went."""
    went = 0
    oldest_allowed_utc_s = utc_s - limits.max_age_s
    total = connection.execute("SELECT SUM(queued_bytes) FROM tally").fetchone()[0]
    # A little more than needed, so that a full queue does not evict on every commit.
    surplus = total - limits.max_bytes * 95 // 100 if total > limits.max_bytes else 0
    for priority in EVICTION_ORDER:
        step = 1  # most commits evict nothing and need to see one row only
        while True:
            rows = connection.execute(
                "SELECT seq, size_bytes, queued_utc_s FROM message WHERE priority = ? ORDER BY seq LIMIT ?",
                (int(priority), step),
            ).fetchall()
            chosen: list[int] = []
            for row in rows:
                if surplus <= 0 and row["queued_utc_s"] >= oldest_allowed_utc_s:
                    break
                chosen.append(row["seq"])
                surplus -= row["size_bytes"]
            if chosen:
                went += remove(connection, chosen, Outcome.EVICTED)
            if not rows or len(chosen) < len(rows):
                break
            step = 1000
    return went


def shift_time(connection: storage.Connection, seconds: float) -> None:
    """After a jump of the wall clock: what waits keeps its age."""
    connection.execute("UPDATE message SET queued_utc_s = queued_utc_s + ?", (seconds,))


def park(connection: storage.Connection, seq: int, reason: str, utc_s: float) -> bool:
    """Set one row aside for a person; False when it is gone. The oldest beyond `PARKED_ROWS_MAX` are evicted."""
    connection.execute(
        f"INSERT OR IGNORE INTO parked (seq, {_COLUMNS}, queued_utc_s, parked_utc_s, reason)"  # noqa: S608 - a constant
        f" SELECT seq, {_COLUMNS}, queued_utc_s, ?, ? FROM message WHERE seq = ?",
        (utc_s, reason, seq),
    )
    found = remove(connection, [seq], Outcome.PARKED) > 0
    surplus = connection.execute("SELECT COUNT(*) FROM parked").fetchone()[0] - PARKED_ROWS_MAX
    if surplus > 0:
        gone = connection.execute("SELECT seq, priority FROM parked ORDER BY seq LIMIT ?", (surplus,)).fetchall()
        connection.executemany("DELETE FROM parked WHERE seq = ?", [(row["seq"],) for row in gone])
        count(connection, Outcome.EVICTED, Counter(Priority(row["priority"]) for row in gone))
    return found


def nothing_parked(connection: storage.Connection) -> bool:
    """Whether no message is set aside."""
    return connection.execute("SELECT 1 FROM parked LIMIT 1").fetchone() is None


def requeue_parked(connection: storage.Connection, utc_s: float) -> int:
    """Put parked rows back into the queue, as new rows, except state that is out of date; returns how many."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM parked ORDER BY seq").fetchall()  # noqa: S608 - a constant
    latest = dict(connection.execute("SELECT topic, payload FROM retained").fetchall())
    current = [row for row in rows if not row["retain"] or latest.get(row["topic"], b"") == row["payload"]]
    insert(connection, [_message(row) for row in current], utc_s)
    connection.execute("DELETE FROM parked")
    return len(current)


def after(connection: storage.Connection, priority: Priority, seq: int, limit: int) -> list[QueuedMessage]:
    """Up to `limit` rows of one class, oldest first, that come after `seq`."""
    rows = connection.execute(
        f"SELECT seq, {_COLUMNS}, queued_utc_s FROM message WHERE priority = ? AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - a constant
        (int(priority), seq, limit),
    )
    return [QueuedMessage(seq=row["seq"], message=_message(row), queued_utc_s=row["queued_utc_s"]) for row in rows]


def retained(connection: storage.Connection) -> list[Message]:
    """The last retained payload of every topic for which nothing newer waits in the queue."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM retained WHERE topic NOT IN (SELECT topic FROM message WHERE retain)"  # noqa: S608 - a constant
        " ORDER BY priority, topic"
    )
    return [_message(row) for row in rows]


def stats(connection: storage.Connection) -> OutboxStats:
    """Counts, from the tally: cheap at any length of the queue."""
    by_class = {
        Priority(row["priority"]): ClassStats(
            **{name: row[name] for name in ("queued", "queued_bytes", *(outcome.value for outcome in Outcome))},
            oldest_utc_s=row["oldest_utc_s"],
        )
        for row in connection.execute(
            "SELECT *, (SELECT queued_utc_s FROM message WHERE message.priority = tally.priority ORDER BY seq LIMIT 1)"
            " AS oldest_utc_s FROM tally ORDER BY priority"
        )
    }
    ages = [counts.oldest_utc_s for counts in by_class.values() if counts.oldest_utc_s is not None]
    parked_now = connection.execute("SELECT COUNT(*) FROM parked").fetchone()[0]
    return OutboxStats(by_class=by_class, parked_now=parked_now, oldest_utc_s=min(ages, default=None))


def topics(connection: storage.Connection) -> list[TopicStats]:
    """What waits by topic; reads the whole queue."""
    rows = connection.execute(
        "SELECT topic, COUNT(*) AS queued, SUM(size_bytes) AS bytes, MIN(queued_utc_s) AS oldest FROM message"
        " GROUP BY topic ORDER BY queued DESC, topic"
    )
    return [
        TopicStats(topic_tail=row["topic"], queued=row["queued"], queued_bytes=row["bytes"], oldest_utc_s=row["oldest"])
        for row in rows
    ]


def parked_by_reason(connection: storage.Connection) -> list[tuple[str, str, int]]:
    """(topic tail, reason, rows) of what is parked."""
    rows = connection.execute(
        "SELECT topic, reason, COUNT(*) AS number FROM parked GROUP BY topic, reason ORDER BY topic"
    )
    return [(row["topic"], row["reason"], row["number"]) for row in rows]


def is_sound(connection: storage.Connection) -> str | None:
    """None when SQLite finds no damage, else its words."""
    words: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if words == "ok" else words


def _values(message: Message) -> tuple[object, ...]:
    return (
        message.topic_tail,
        message.payload,
        message.qos,
        int(message.retain),
        int(message.priority),
        message.slot,
        message.content_type,
        message.expiry_s,
    )


def _message(row: storage.Row) -> Message:
    return Message(
        topic_tail=row["topic"],
        payload=bytes(row["payload"]),
        qos=row["qos"],
        retain=bool(row["retain"]),
        priority=Priority(row["priority"]),
        slot=row["slot"],
        content_type=row["content_type"],
        expiry_s=row["expiry_s"],
    )
