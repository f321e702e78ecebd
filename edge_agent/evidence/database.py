"""evidence.db and the pictures beside it, opened together: neither is taken for whole when the other is missing.

A damaged database is never replaced by an empty one, as the outbox is: its labels are people's work, and beside an
empty one every picture would look like a leftover. It is refused, inspection goes on without evidence, and
`edge-agent evidence repair` saves what can be read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edge_agent import storage
from edge_agent.errors import CorruptStoreError, TransientError
from edge_agent.evidence.pictures import Pictures
from edge_agent.evidence.tables import MIGRATIONS

NAME = "evidence.db"
REPAIR = "`edge-agent evidence repair` keeps what can be read"


class Database:
    """The store of one process: its connection, opened on first use, after a fault, and after a repair by another."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        self.root = root
        self.path = root / NAME
        self.pictures = Pictures(root)
        self._read_only = read_only
        self._connection: storage.Connection | None = None
        self._inode: int | None = None

    def connection(self) -> storage.Connection:
        """The open connection.

        Raises:
            CorruptStoreError: the database is damaged, or it is there without its pictures or they without it.
            TransientError (StorageFullError, StorageReadOnlyError).
        """
        if self._connection is not None and self._inode != self._inode_now():
            self.close()
        if self._connection is None:
            self._connection = self._open()
            self._inode = self._inode_now()
        return self._connection

    def check(self) -> None:
        """Look for damage, as slow as the file is large.

        Raises:
            CorruptStoreError, TransientError.
        """
        with self.reading() as connection:
            words = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if words != "ok":
                raise CorruptStoreError(f"{self.path}: damaged database ({words})")

    @contextlib.contextmanager
    def reading(self) -> Iterator[storage.Connection]:
        """The connection for reading; a fault closes it."""
        with self._faults(), storage.storage_faults(self.path):
            yield self.connection()

    @contextlib.contextmanager
    def writing(self) -> Iterator[storage.Connection]:
        """One write transaction, which is also the lock of the picture files; a fault closes the connection."""
        with self._faults(), storage.transaction(self.connection(), self.path) as connection:
            yield connection

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except TransientError:
            self.close()
            raise
        except CorruptStoreError as error:
            self.close()
            if REPAIR in str(error):
                raise
            raise CorruptStoreError(f"{error}; {REPAIR}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _inode_now(self) -> int | None:
        try:
            return self.path.stat().st_ino
        except OSError:
            return None

    def _open(self) -> storage.Connection:
        if self._read_only:
            if not self.path.exists():
                raise TransientError(
                    f"{self.path}: no evidence yet; the daemon, or `edge-agent evidence import`, begins it"
                )
            return storage.open_database(self.path, (), read_only=True)
        if not self.path.exists():
            if self.pictures.any():
                raise CorruptStoreError(f"{self.path}: pictures without their database; {REPAIR}")
            self.pictures.make_folders()
        elif not self.pictures.have_folders():
            raise CorruptStoreError(
                f"{self.root}: a database without its folder of pictures; is a disk not mounted? else {REPAIR}"
            )
        return storage.open_database(self.path, MIGRATIONS)
