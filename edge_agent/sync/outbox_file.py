"""outbox.db on disk: opened, checked, moved aside when it is damaged, looked at by people while the daemon runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edge_agent import storage
from edge_agent.clock import Clock, rfc3339
from edge_agent.errors import CorruptStoreError, TransientError
from edge_agent.sync import outbox_table as table


class Database:
    """outbox.db as this process has it open; notices when another process moved it aside and began a fresh one."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._connection: storage.Connection | None = None
        self._inode: int | None = None

    def connection(self) -> storage.Connection:
        """The open connection, opened or re-opened as needed.

        Raises:
            CorruptStoreError, TransientError (StorageFullError, StorageReadOnlyError).
        """
        if self._connection is not None and self.is_moved():
            self.close()
        if self._connection is None:
            self._connection = storage.open_database(self.path, table.MIGRATIONS)
            self._inode = self._inode_now()
        return self._connection

    def is_moved(self) -> bool:
        """Whether the file that we have open no longer is the one at our path."""
        return self._inode != self._inode_now()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def check(self) -> None:
        """Look for damage, as slow as the file is large.

        Raises:
            CorruptStoreError, TransientError.
        """
        with storage.storage_faults(self.path):
            words = table.is_sound(self.connection())
        if words is not None:
            raise CorruptStoreError(f"{self.path}: damaged database ({words})")

    def set_aside(self) -> Path | None:
        """Move the damaged file away, so that the next use begins a fresh one; None when another process just did.

        Raises:
            TransientError (StorageFullError, StorageReadOnlyError).
        """
        moved = self._connection is not None and self.is_moved()
        self.close()
        if moved:
            return None
        stamp = rfc3339(self._clock.utc_s()).replace(":", "")
        target = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        with storage.storage_faults(self.path):
            for suffix in ("-wal", "-shm", ""):  # the database last: while it is there, its log belongs to it
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + suffix).rename(target.with_name(target.name + suffix))
        return target

    @contextlib.contextmanager
    def transaction(self) -> Iterator[storage.Connection]:
        """One write transaction; on any fault the connection is closed, and the next use opens it again."""
        try:
            with storage.transaction(self.connection(), self.path) as connection:
                yield connection
        except (TransientError, CorruptStoreError):
            self.close()
            raise

    def _inode_now(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except OSError:
            return None


@contextlib.contextmanager
def inspect_outbox(path: Path) -> Iterator[storage.Connection]:
    """Read-only, for a person's eyes, while the daemon runs or does not.

    Raises:
        TransientError: there is no outbox yet, or it cannot be read.
    """
    connection = storage.open_database(path, (), read_only=True)
    try:
        with storage.storage_faults(path):
            yield connection
    finally:
        connection.close()
