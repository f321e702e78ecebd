"""Every durable write goes through here: replaced files, SQLite databases, the lock on a state directory.

This is the only module that imports sqlite3 or calls fsync, so that a fault harness has one place to break.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from edge_agent.errors import (
    AlreadyRunningError,
    CorruptStoreError,
    EdgeAgentError,
    StorageFullError,
    StorageReadOnlyError,
    TransientError,
)

Connection = sqlite3.Connection
Row = sqlite3.Row

# WAL pages of 4 KiB between checkpoints (SQLite's default), and the size the log is cut back to afterwards.
WAL_CHECKPOINT_PAGES = 1000
WAL_LIMIT_BYTES = 8 * 1024 * 1024

# From so many files on, one flush of the whole file system costs less than one for each of them.
SYNC_TOGETHER_FILES = 8


def storage_error(error: OSError | sqlite3.Error, where: Path) -> EdgeAgentError:
    """Our word for a foreign storage fault: full, read-only, corrupt, or else transient."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "is full" in text:
        return StorageFullError(f"{where}: no space left to write ({text}); free disk space or lower the limits")
    if number in (errno.EROFS, errno.EACCES, errno.EPERM) or "readonly" in text or "unable to open" in text:
        return StorageReadOnlyError(f"{where}: cannot be written ({text}); check the mount and the owner")
    if "malformed" in text or "not a database" in text:
        return CorruptStoreError(f"{where}: damaged database ({text})")
    return TransientError(f"{where}: {text}")


@contextlib.contextmanager
def storage_faults(where: Path) -> Iterator[None]:
    """Turn OSError and sqlite3.Error inside the block into our families.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError, CorruptStoreError.
    """
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise storage_error(error, where) from error


def sync_directory(directory: Path) -> None:
    """Make a rename or a new name in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes, *, durable: bool = True, mode: int = 0o640) -> None:
    """Put `content` at `path` so that a reader or a crash sees the old bytes or the new ones, never a part.

    `durable=False` leaves out the two fsyncs: for snapshots in a runtime directory that mean nothing after a crash.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: nothing was changed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with storage_faults(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "wb") as file:
                _give_to_owner(descriptor, path.parent)
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_directory(path.parent)


def _give_to_owner(descriptor: int, directory: Path) -> None:
    """What root writes in a folder belongs to the folder's owner: else the service could not read what a person asked
    of it from a root shell, and would do nothing without a word.
    """
    if os.geteuid() == 0:
        owner = directory.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def sync_file_system(directory: Path) -> None:
    """Make everything durable that was written to the file system of `directory`, whoever wrote it: syncfs(2).

    One flush of the disk instead of one for each file and folder: 64 small files in 57 folders took 9 ms, and 560 ms
    with fsync for each (ext4 on a virtual disk).
    """
    import ctypes  # noqa: PLC0415 - the sync process uses this module, never this function, and must stay small

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)


def place_files(contents: Mapping[Path, bytes], *, mode: int = 0o640) -> None:
    """Put new files where none are, all of them durable on return.

    What is at a path already stays: for content-addressed names, where the same name means the same bytes. After a
    fault or a crash each file is whole or absent, and files named `.NAME.new` may be left over.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: some may have been placed, none in part.
    """
    folders = {folder for path in contents for folder in (path.parent, path.parent.parent)}
    together = len(contents) >= SYNC_TOGETHER_FILES
    coming: dict[Path, Path] = {}
    with storage_faults(next(iter(contents), Path())):
        try:
            for path, content in contents.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.exists():
                    continue
                temporary = path.with_name(f".{path.name}.new")
                coming[temporary] = path
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                    if not together:
                        file.flush()
                        os.fsync(file.fileno())
            if together:
                sync_file_system(next(iter(folders)))
            for temporary, path in coming.items():
                temporary.rename(path)
        except OSError:
            for temporary in coming:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            raise
        if together:
            sync_file_system(next(iter(folders)))
        else:
            for folder in folders:
                sync_directory(folder)


def append_line(path: Path, line: bytes, *, older: Path, limit_bytes: int, mode: int = 0o640) -> None:
    """Add `line`, which ends in a newline, at the end of `path`; durable on return. Any number of processes may.

    A last line without its end is what a writer left that was killed: nobody was told that it was written, and it is
    cut off. Where the file would grow beyond `limit_bytes` it first becomes `older`, in place of what was there.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: the line is not there.
    """
    with storage_faults(path):
        while not _appended(path, line, older, limit_bytes, mode):
            pass


def _appended(path: Path, line: bytes, older: Path, limit_bytes: int, mode: int) -> bool:
    """Whether the line is there; False when the file was full and has become the older one."""
    descriptor = _open_locked(path, mode)
    try:
        size_bytes = _cut_to_whole_lines(descriptor)
        if size_bytes and size_bytes + len(line) > limit_bytes:
            path.rename(older)
            return False
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size_bytes)
            raise
        if not size_bytes:
            sync_directory(path.parent)
        return True
    finally:
        os.close(descriptor)


def _open_locked(path: Path, mode: int) -> int:
    """The file at `path`, locked: whoever waited while it was renamed takes the one that is there now."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
        try:
            _give_to_owner(descriptor, path.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except FileNotFoundError:  # renamed, and nobody has made a new one yet
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _cut_to_whole_lines(descriptor: int) -> int:
    """Cut off what stands behind the last newline; returns the bytes that are left."""
    size_bytes = end = os.fstat(descriptor).st_size
    whole_bytes = 0
    while end > 0 and not whole_bytes:
        start = max(0, end - 65_536)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        whole_bytes = start + found + 1 if found >= 0 else 0
        end = start
    if whole_bytes < size_bytes:
        os.ftruncate(descriptor, whole_bytes)
    return whole_bytes


def remove_file(path: Path) -> None:
    """Take `path` away so that it stays away after a power cut; no fault where there is none.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError: it may still be there.
    """
    with storage_faults(path):
        path.unlink(missing_ok=True)
        sync_directory(path.parent)


def open_database(path: Path, migrations: tuple[str, ...], *, read_only: bool = False) -> Connection:
    """A SQLite connection in WAL mode with synchronous=FULL: what commit() returned for survives a power cut.

    `migrations[i]` brings the schema from version i to i + 1 (`PRAGMA user_version`), each in one transaction.
    Readers of another process open with `read_only=True`; they never create or migrate.

    Raises:
        CorruptStoreError: the file is damaged, or newer than this program knows.
        StorageFullError, StorageReadOnlyError, TransientError.
    """
    with storage_faults(path):
        if read_only:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)
            connection.row_factory = Row
            return connection
        connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = Row
            if connection.execute("PRAGMA page_count").fetchone()[0] == 0:
                # Possible only while the file is empty: pages that become free can later be given back to the disk.
                connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint={WAL_CHECKPOINT_PAGES}")
            connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
            _migrate(connection, path, migrations)
        except BaseException:
            connection.close()
            raise
        return connection


def _migrate(connection: Connection, path: Path, migrations: tuple[str, ...]) -> None:
    # Two processes may open the same door at once: the version is read again inside the write transaction.
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > len(migrations):
                raise CorruptStoreError(
                    f"{path}: schema version {version} is newer than {len(migrations)}, the newest this program knows"
                )
            if version == len(migrations):
                connection.execute("COMMIT")
                return
            for statement in migrations[version].split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version={version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def give_back_pages(connection: Connection, where: Path, *, at_least: int, at_most: int) -> int:
    """Shorten the file by up to `at_most` free pages once it has `at_least` of them; returns how many went.

    A few at a time: it is a write like any other, and holds other writers up while it lasts.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError, CorruptStoreError.
    """
    with storage_faults(where):
        free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
        if free < at_least:
            return 0
        # Not execute(): the statement has no columns, so Python's sqlite3 takes one step of it, which frees one page.
        connection.executescript(f"PRAGMA incremental_vacuum({at_most})")
        return free - int(connection.execute("PRAGMA freelist_count").fetchone()[0])


@contextlib.contextmanager
def transaction(connection: Connection, where: Path) -> Iterator[Connection]:
    """One write transaction: all of it is durable after the block, or none of it happened.

    Raises:
        StorageFullError, StorageReadOnlyError, TransientError, CorruptStoreError.
    """
    with storage_faults(where):
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            # SQLite itself rolls back on a full disk; a second ROLLBACK would hide the first error.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def lock_file(path: Path, owner: str) -> IO[str]:
    """Take the lock that makes us the only `owner` here; hold the returned file open as long as it is needed.

    The kernel frees a flock when its process dies, whatever killed it, so no stale lock is ever left behind.

    Raises:
        AlreadyRunningError: another process holds it; the message names its pid.
        StorageReadOnlyError, StorageFullError, TransientError: the lock file cannot be made.
    """
    with storage_faults(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        pid = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunningError(
            f"{path.parent}: already in use by another {owner} (pid {pid}); stop it or choose another state directory"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def free_bytes(path: Path) -> int:
    """Bytes that an unprivileged process may still write on the file system of `path`."""
    numbers = os.statvfs(path)
    return numbers.f_bavail * numbers.f_frsize
