"""Payloads, models and server states as files named by their sha256, and rows of a matrix beside them.

A file is there before the ledger speaks of it, and goes after the ledger has stopped to: a crash in between leaves a
file that nobody speaks of, which `sweep` takes away.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent import storage
from edge_agent.errors import CorruptStoreError


class Payloads:
    """The files under `root`, two levels deep."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def place(self, content: bytes) -> str:
        """Keep these bytes; durable on return. Returns their sha256.

        Raises:
            StorageFullError, StorageReadOnlyError, TransientError.
        """
        digest = hashlib.sha256(content).hexdigest()
        storage.place_files({self._path(digest): content})
        return digest

    def read(self, digest: str) -> bytes:
        """The bytes with this sha256.

        Raises:
            CorruptStoreError: they are not there, or others are.
            TransientError.
        """
        path = self._path(digest)
        with storage.storage_faults(path):
            try:
                content = path.read_bytes()
            except FileNotFoundError as error:
                raise CorruptStoreError(f"{path}: the ledger speaks of it and it is not there; restore it") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise CorruptStoreError(f"{path}: damaged, its sha256 is not its name; restore it from a backup")
        return content

    def sweep(self, kept: Container[str]) -> int:
        """Take away what is not in `kept`; returns how many files went.

        Raises:
            StorageReadOnlyError, TransientError.
        """
        gone = 0
        for path in self._files():
            if path.name not in kept:
                storage.remove_file(path)
                gone += 1
        return gone

    def _files(self) -> Iterator[Path]:
        yield from sorted(self.root.glob("[0-9a-f][0-9a-f]/*")) + sorted(self.root.glob("[0-9a-f][0-9a-f]/.*.new"))

    def _path(self, digest: str) -> Path:
        return self.root / digest[:2] / digest


class RowFile:
    """Rows [N, P] in a scratch file, written one by one and read by tiles; worth nothing after a crash.

    Read with pread and not through a memory map, whose pages would count as ours while we walk over all of them.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.count, self.size = 0, size
        self._path = path
        with storage.storage_faults(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)

    def append(self, vector: NDArray[Any]) -> None:
        """One more row, kept as float32.

        Raises:
            StorageFullError, TransientError.
        """
        with storage.storage_faults(self._path):
            content = np.ascontiguousarray(vector, np.float32).data.cast("B")
            start = self.count * self.size * 4
            while content:
                written = os.pwrite(self._file, content, start)
                content, start = content[written:], start + written
        self.count += 1

    def tile(self, start: int, end: int) -> NDArray[np.float32]:
        """Columns of every row; see `aggregate.robust.Rows`."""
        result = np.empty((self.count, end - start), np.float32)
        with storage.storage_faults(self._path):
            for number, row in enumerate(result):
                os.preadv(self._file, [row.data], (number * self.size + start) * 4)
        return result

    def close(self) -> None:
        """Take the file away."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)
