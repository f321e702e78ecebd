"""The inbox: commands that sync accepted, for inspect to carry out; each once, whatever is sent or killed again.

    (new) -> accepted -> executing -> successful | failed
                      -> successful | failed | rejected

sync writes `accepted` and tells the sender of every state it has not told yet; inspect advances. An id is kept for 24
hours, so a command that comes again is answered with its state and not carried out again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_agent import storage
from edge_agent.clock import Clock
from edge_agent.errors import BadCommandError
from edge_agent.sync.commands import Command
from edge_agent.sync.payloads import AckState

KEPT_S = 24 * 3600.0
KEPT_ROWS_MIN = 1000  # a clock that jumps a day ahead must not make us forget what we just did
WAITING_MAX = 200  # inspect is dead or stuck: better refuse than pile up

TRANSITIONS: Mapping[AckState, frozenset[AckState]] = {
    "accepted": frozenset({"executing", "successful", "failed", "rejected"}),
    "executing": frozenset({"successful", "failed"}),
    "successful": frozenset(),
    "failed": frozenset(),
    "rejected": frozenset(),
}

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE command (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
        by TEXT NOT NULL, args TEXT NOT NULL, expires_utc_s REAL, received_utc_s REAL NOT NULL,
        state TEXT NOT NULL, reason TEXT, result TEXT, told TEXT);
    CREATE INDEX command_by_state ON command (state, seq);
    CREATE INDEX command_untold ON command (seq) WHERE told IS NOT state
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The state of one command, to be told to its sender."""

    id: str
    type: str
    state: AckState
    reason: str | None
    result: Any


class Inbox:
    """One process's view of inbox.db; both sides use it, each its own methods."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open, and begin if need be.

        Raises:
            CorruptStoreError, TransientError.
        """
        self._path = path
        self._clock = clock
        self._connection = storage.open_database(path, MIGRATIONS)

    def close(self) -> None:
        self._connection.close()

    # sync's side

    def accept(self, command: Command) -> bool:
        """Note a command; False when its id is known, in which case its state is told once more.

        Raises:
            BadCommandError: too many wait already.
            TransientError, CorruptStoreError: nothing was noted; the broker will bring it again.
        """
        with storage.transaction(self._connection, self._path) as connection:
            self._forget_old(connection)
            if connection.execute("UPDATE command SET told = NULL WHERE id = ?", (command.id,)).rowcount:
                return False
            waiting = connection.execute("SELECT COUNT(*) FROM command WHERE state = 'accepted'").fetchone()[0]
            if waiting >= WAITING_MAX:
                raise BadCommandError(f"{waiting} commands wait already; is the inspect process running?")
            connection.execute(
                "INSERT INTO command (id, type, by, args, expires_utc_s, received_utc_s, state)"
                " VALUES (?, ?, ?, ?, ?, ?, 'accepted')",
                (
                    command.id,
                    command.type,
                    command.by,
                    json.dumps(command.args),
                    command.expires_utc_s,
                    self._clock.utc_s(),
                ),
            )
            return True

    def untold(self) -> list[Progress]:
        """States that the sender does not know yet, oldest first.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, type, state, reason, result FROM command WHERE told IS NOT state ORDER BY seq LIMIT 100"
            ).fetchall()
        return [
            Progress(
                id=row["id"],
                type=row["type"],
                state=row["state"],
                reason=row["reason"],
                result=None if row["result"] is None else json.loads(row["result"]),
            )
            for row in rows
        ]

    def told(self, progress: Progress) -> None:
        """The state is in the outbox now.

        Raises:
            TransientError, CorruptStoreError: it will be told twice, which does no harm.
        """
        with storage.transaction(self._connection, self._path) as connection:
            connection.execute("UPDATE command SET told = ? WHERE id = ?", (progress.state, progress.id))

    # inspect's side

    def waiting(self) -> list[Command]:
        """Commands to carry out, oldest first; those that expired while they waited are rejected here.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._reading() as connection:
            rows = connection.execute("SELECT * FROM command WHERE state = 'accepted' ORDER BY seq").fetchall()
        now_utc_s = self._clock.utc_s()
        ready: list[Command] = []
        for row in rows:
            if row["expires_utc_s"] is not None and now_utc_s > row["expires_utc_s"]:
                self.advance(row["id"], "rejected", reason="expired before it could be carried out")
                continue
            ready.append(
                Command(
                    id=row["id"],
                    type=row["type"],
                    by=row["by"],
                    args=json.loads(row["args"]),
                    expires_utc_s=row["expires_utc_s"],
                )
            )
        return ready

    def advance(self, identity: str, state: AckState, *, reason: str | None = None, result: Any = None) -> None:
        """Move a command on; ring sync's bell afterwards.

        Raises:
            BadCommandError: no such command, or no such way from its state.
            TransientError, CorruptStoreError.
        """
        with storage.transaction(self._connection, self._path) as connection:
            row = connection.execute("SELECT state FROM command WHERE id = ?", (identity,)).fetchone()
            if row is None:
                raise BadCommandError(f"command {identity!r} is not in the inbox")
            if state not in TRANSITIONS[row["state"]]:
                raise BadCommandError(f"command {identity!r} is {row['state']} and cannot become {state}")
            connection.execute(
                "UPDATE command SET state = ?, reason = ?, result = ? WHERE id = ?",
                (state, reason, None if result is None else json.dumps(result), identity),
            )

    def fail_interrupted(self) -> int:
        """At start: what was being carried out when the process ended has failed; returns how many.

        Raises:
            TransientError, CorruptStoreError.
        """
        with storage.transaction(self._connection, self._path) as connection:
            return connection.execute(
                "UPDATE command SET state = 'failed', reason = 'the process ended while carrying it out'"
                " WHERE state = 'executing'"
            ).rowcount

    @contextlib.contextmanager
    def _reading(self) -> Iterator[storage.Connection]:
        with storage.storage_faults(self._path):
            yield self._connection

    def _forget_old(self, connection: storage.Connection) -> None:
        connection.execute(
            "DELETE FROM command WHERE received_utc_s < ? AND told IS state"
            " AND seq <= (SELECT MAX(seq) FROM command) - ?",
            (self._clock.utc_s() - KEPT_S, KEPT_ROWS_MIN),
        )
