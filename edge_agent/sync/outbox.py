"""The outbox: the only queue between what happens here and the broker.

    inspect --put--> Backlog (memory) --group commit--> outbox.db --pending--> sync --PUBACK--> acknowledge

`put` never waits for the disk: a writer thread commits what has gathered, alarms at once. What is committed survives
kill -9 and power cuts (WAL, synchronous=FULL) until it is acknowledged, evicted by rule and counted, or parked.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent import storage
from edge_agent.clock import Clock
from edge_agent.errors import CorruptStoreError, StorageFullError, StorageReadOnlyError, TransientError
from edge_agent.sync import outbox_table as table
from edge_agent.sync.alarms import Condition, Listener
from edge_agent.sync.backlog import Backlog, Entry
from edge_agent.sync.messages import URGENT, Message, Priority
from edge_agent.sync.outbox_file import Database
from edge_agent.sync.outbox_table import OutboxLimits, OutboxStats, Outcome, QueuedMessage

# 50 ms: 20 commits/s at most. Measured on an ext4 VM disk: 9.5 kB written per row when each is committed, 1.3 kB by 20.
COMMIT_WINDOW_S = 0.05
COMMIT_ROWS_MAX = 5000
# 4 MiB stay for the next outage; 1 MiB at a time goes back to the file system.
FREE_PAGES_KEPT, PAGES_GIVEN_BACK = 1024, 256
MEMORY_BYTES = 16 * 1024 * 1024
RETRY_FIRST_S, RETRY_CAP_S = 0.25, 10.0
CLOCK_JUMP_S = 60.0
SUBJECT = "outbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOptions:
    """How long a message may wait for its group, and what disk and memory may hold."""

    window_s: float = COMMIT_WINDOW_S
    limits: OutboxLimits = field(default_factory=OutboxLimits)
    memory_bytes: int = MEMORY_BYTES


class OutboxWriter:
    """The way in: used by the process that makes messages. One thread of its own does all that touches the disk."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        listener: Listener,
        ring: Callable[[], None] = lambda: None,
        options: WriterOptions | None = None,
    ) -> None:
        """`ring` tells the reader that something new is there; `listener` is told of faults, from the writer thread."""
        self._options = options or WriterOptions()
        self._clock = clock
        self._ring = ring
        self._committer = _Committer(Database(path, clock), clock, listener, self._options.limits)
        self._backlog = Backlog(self._options.memory_bytes)
        self._changed = threading.Condition()
        self._hurry = threading.Event()
        self._ticket = self._durable_ticket = 0
        self._closing = False
        self._crash: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, name="outbox-writer", daemon=True)
        self._thread.start()

    def put(self, message: Message, on_durable: Callable[[], None] | None = None) -> None:
        """Hand in a message; never waits for the disk.

        `on_durable` is called from the writer thread once the message is committed, and never if it is dropped. With
        it the message does not wait for its group: somebody waits for it.

        Raises:
            RuntimeError: the writer thread died of an exception in a callback; the process should end.
        """
        with self._changed:
            self._raise_crash()
            self._ticket += 1
            self._backlog.add(Entry(ticket=self._ticket, message=message, on_durable=on_durable))
            if message.priority in URGENT or on_durable is not None:
                self._hurry.set()
            self._changed.notify_all()

    def is_alive(self) -> bool:
        """Whether the writer thread runs; without it nothing becomes durable."""
        return self._thread.is_alive()

    def flush(self, timeout_s: float) -> bool:
        """Commit now what was put so far; False when that did not succeed in time.

        Raises:
            RuntimeError: the writer thread died.
        """
        self._hurry.set()
        with self._changed:
            upto = self._ticket
            done = self._changed.wait_for(lambda: self._durable_ticket >= upto or self._crash is not None, timeout_s)
            self._raise_crash()
            return done

    def close(self, timeout_s: float = 5.0) -> int:
        """Commit what is there and end the thread; returns how many messages could not be committed."""
        self.flush(timeout_s)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._hurry.set()
        self._thread.join(timeout_s)
        return len(self._backlog)

    def _raise_crash(self) -> None:
        if self._crash is not None:
            raise RuntimeError(f"the outbox writer thread died: {self._crash!r}") from self._crash

    def _guarded(self) -> None:
        # A dead thread must not look alive: what killed it is raised again at the next put or flush.
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            with self._changed:
                self._crash = error
                self._changed.notify_all()
        finally:
            self._committer.close()

    def _work(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: len(self._backlog) or self._closing)
                if self._closing and (failures or not self._backlog):
                    break
            self._clock.wait(self._hurry, _pause_s(failures) if failures else self._options.window_s)
            self._hurry.clear()
            failures = 0 if self._commit() else failures + 1

    def _commit(self) -> bool:
        """One group; True when it is durable."""
        with self._changed:
            batch = self._backlog.take(COMMIT_ROWS_MAX)
            more = len(self._backlog) > 0
            upto = batch[-1].ticket if more else self._ticket
            losses = {
                Outcome.DROPPED: Counter(self._backlog.dropped),
                Outcome.REPLACED: Counter(self._backlog.replaced),
            }
        done = self._committer.commit([entry.message for entry in batch], losses)
        with self._changed:
            if done:
                self._backlog.dropped -= losses[Outcome.DROPPED]
                self._backlog.replaced -= losses[Outcome.REPLACED]
                self._durable_ticket = upto
            else:
                self._backlog.give_back(batch)
            self._changed.notify_all()
        if done:
            for entry in batch:
                if entry.on_durable is not None:
                    entry.on_durable()
            self._ring()
            if more:
                self._hurry.set()
        return done


def _pause_s(failures: int) -> float:
    return float(min(RETRY_CAP_S, RETRY_FIRST_S * 2 ** min(failures - 1, 16)))


class _Committer:
    """The disk side of the writer, on the writer's thread: commits groups, reports faults and their end."""

    def __init__(self, database: Database, clock: Clock, listener: Listener, limits: OutboxLimits) -> None:
        self._database = database
        self._clock = clock
        self._listener = listener
        self._limits = limits
        self._fault: str | None = None
        self._evicting = False
        self._checked = False
        self._clock_offset_s = clock.utc_s() - clock.mono_s()

    def commit(self, batch: Sequence[Message], losses: dict[Outcome, Counter[Priority]]) -> bool:
        """Make `batch` durable; False, with the fault reported, when that is not possible now."""
        try:
            if not self._checked:
                self._database.check()
                self._checked = True
            evicted = self._write(batch, losses)
            # Another process may have moved the file aside between our opening and our commit.
            while self._database.is_moved():
                evicted = self._write(batch, losses)
        except StorageFullError as error:
            self._report("disk-full", str(error))
        except StorageReadOnlyError as error:
            self._report("state-read-only", str(error))
        except TransientError as error:
            self._report("outbox-fault", str(error))
        except CorruptStoreError as error:
            self._begin_afresh(error)
        else:
            self._report(None, "")
            self._report_eviction(evicted)
            return True
        return False

    def _write(self, batch: Sequence[Message], losses: dict[Outcome, Counter[Priority]]) -> int:
        utc_s = self._clock.utc_s()
        offset_s = utc_s - self._clock.mono_s()
        jump_s = offset_s - self._clock_offset_s
        with self._database.transaction() as connection:
            if abs(jump_s) > CLOCK_JUMP_S:
                table.shift_time(connection, jump_s)
            table.insert(connection, batch, utc_s)
            for outcome, counts in losses.items():
                table.count(connection, outcome, counts)
            evicted = table.evict(connection, self._limits, utc_s)
        self._clock_offset_s = offset_s
        return evicted

    def _begin_afresh(self, error: CorruptStoreError) -> None:
        try:
            target = self._database.set_aside()
        except TransientError as second:
            self._report("outbox-fault", f"{error}; moving it aside failed too: {second}")
            return
        if target is not None:
            text = f"{error}; kept as {target.name}, a fresh one was begun"
            self._listener(Condition(code="outbox-corrupt", subject=SUBJECT, active=True, text=text))

    def _report(self, code: str | None, text: str) -> None:
        if self._fault not in (None, code):
            self._listener(Condition(code=self._fault or "", subject=SUBJECT, active=False, text="written again"))
        if code is not None and code != self._fault:
            self._listener(Condition(code=code, subject=SUBJECT, active=True, text=text))
        self._fault = code

    def _report_eviction(self, evicted: int) -> None:
        # It is over when a commit needed no eviction and the queue has drained below nine tenths of its limit.
        if evicted and not self._evicting:
            self._evicting = True
            text = f"limits: {self._limits.max_bytes} bytes, {self._limits.max_age_s:.0f} s"
            self._listener(Condition(code="outbox-evicting", subject=SUBJECT, active=True, text=text))
        elif self._evicting and not evicted:
            with contextlib.suppress(TransientError, CorruptStoreError), storage.storage_faults(self._database.path):
                if table.stats(self._database.connection()).queued_bytes < self._limits.max_bytes * 9 // 10:
                    self._evicting = False
                    self._listener(Condition(code="outbox-evicting", subject=SUBJECT, active=False, text="room again"))

    def close(self) -> None:
        self._database.close()


class OutboxReader:
    """The way out: used by the sync process. Every fault of the disk is raised; nothing is forgotten by one."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._database = Database(path, clock)
        self._clock = clock
        self._handed_out: dict[Priority, int] = dict.fromkeys(Priority, 0)

    def pending(self, limit: int) -> list[QueuedMessage]:
        """The next `limit` messages not handed out since `rewind`, by class and then in order.

        Raises:
            TransientError, CorruptStoreError.
        """
        if self._database.is_moved():
            self.rewind()
        rows: list[QueuedMessage] = []
        with self._reading() as connection:
            for priority in Priority:
                if len(rows) < limit:
                    found = table.after(connection, priority, self._handed_out[priority], limit - len(rows))
                    if found:
                        self._handed_out[priority] = found[-1].seq
                        rows += found
        return rows

    def rewind(self) -> None:
        """Hand out again what was not acknowledged: the connection was lost."""
        self._handed_out = dict.fromkeys(Priority, 0)

    def acknowledge(self, seqs: Sequence[int]) -> int:
        """Delete a group that the broker has taken; returns how many were still there.

        Raises:
            TransientError, CorruptStoreError: they are still there; call again.
        """
        with self._database.transaction() as connection:
            gone = table.remove(connection, seqs, Outcome.DELIVERED)
        # After an outage the file is as long as the queue ever was; a gateway's disk has better uses for it.
        storage.give_back_pages(
            self._database.connection(), self._database.path, at_least=FREE_PAGES_KEPT, at_most=PAGES_GIVEN_BACK
        )
        return gone

    def park(self, seq: int, reason: str) -> bool:
        """Set a message aside for a person: the broker will not take it; False when it is gone already.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.transaction() as connection:
            return table.park(connection, seq, reason, self._clock.utc_s())

    def nothing_parked(self) -> bool:
        """Whether no message is set aside.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._reading() as connection:
            return table.nothing_parked(connection)

    def requeue_parked(self) -> int:
        """Try again what was parked; returns how many.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.transaction() as connection:
            return table.requeue_parked(connection, self._clock.utc_s())

    def add(self, messages: Sequence[Message]) -> int:
        """Queue messages of the sync process itself (acknowledgements), committed on return; returns how many.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._database.transaction() as connection:
            table.insert(connection, messages, self._clock.utc_s())
        return len(messages)

    def retained(self) -> list[Message]:
        """What to say again on every connect.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._reading() as connection:
            return table.retained(connection)

    def stats(self) -> OutboxStats:
        """Counts by class.

        Raises:
            TransientError, CorruptStoreError.
        """
        with self._reading() as connection:
            return table.stats(connection)

    def begin_afresh(self) -> Path | None:
        """After CorruptStoreError: move the file aside; returns where to, None when the writer did so already."""
        self.rewind()
        return self._database.set_aside()

    def close(self) -> None:
        self._database.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[storage.Connection]:
        with storage.storage_faults(self._database.path):
            yield self._database.connection()
