"""The outbox's side of the uplink: what to send next, and writing down in groups what became of it.

A fault of the disk loses nothing here: what was delivered and could not be deleted is remembered and written later; a
crash in between means that it is delivered again, under the same id.
"""

from __future__ import annotations

import contextlib
import functools
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from edge_agent.clock import Clock
from edge_agent.errors import CorruptStoreError, StorageFullError, StorageReadOnlyError, TransientError
from edge_agent.sync.alarms import Condition, Listener
from edge_agent.sync.messages import Message
from edge_agent.sync.outbox import OutboxReader
from edge_agent.sync.outbox_table import OutboxStats, QueuedMessage

FETCH_ROWS = 200
# One delete costs a flush to disk (4 to 12 ms, 9.5 kB measured), so they are written in groups; a crash in between
# means that a group is delivered twice.
GROUP_ROWS = 500
GROUP_WAIT_S = 1.0
RETRY_S = 1.0
SUBJECT = "sync"

T = TypeVar("T")


class Delivery:
    """Rows on their way out. `look` says that there may be new ones."""

    def __init__(self, outbox: OutboxReader, clock: Clock, listener: Listener) -> None:
        self._outbox = outbox
        self._clock = clock
        self._listener = listener
        self._ready: deque[QueuedMessage] = deque()
        self._more = True
        self._delivered: dict[int, None] = {}
        self._refused: dict[int, str] = {}
        self._due_mono_s = 0.0
        self._retry_mono_s = 0.0
        self._fault: str | None = None

    def look(self) -> None:
        """The bell rang, or it is time to look anyway."""
        self._more = True

    def restart(self) -> None:
        """A new connection: everything that was not acknowledged is to be sent again."""
        self._ready.clear()
        self._outbox.rewind()
        self._more = True

    def next(self) -> QueuedMessage | None:
        """The next row to send, None when there is none now."""
        while True:
            if not self._ready and self._more and self._clock.mono_s() >= self._retry_mono_s:
                rows = self._attempt(lambda: self._outbox.pending(FETCH_ROWS))
                self._more = rows is None or len(rows) == FETCH_ROWS
                self._ready.extend(rows or ())
            if not self._ready:
                return None
            row = self._ready.popleft()
            if row.seq not in self._refused and row.seq not in self._delivered:
                return row

    def put_back(self, seq: int, message: Message) -> None:
        """It could not be sent after all; it comes first next time."""
        self._ready.appendleft(QueuedMessage(seq=seq, message=message, queued_utc_s=self._clock.utc_s()))

    def delivered(self, seq: int) -> None:
        """The broker has taken it."""
        if not self._delivered:
            self._due_mono_s = self._clock.mono_s() + GROUP_WAIT_S
        self._delivered[seq] = None

    def refused(self, seq: int, reason: str) -> None:
        """The broker will not take it."""
        self._refused[seq] = reason

    def nothing_parked(self) -> bool:
        """Whether no refused row waits for a person; False when the disk does not answer."""
        return not self._refused and self._attempt(self._outbox.nothing_parked) is True

    def retained(self) -> list[Message]:
        """State to be said again; empty when the disk does not answer."""
        return self._attempt(self._outbox.retained) or []

    def add(self, message: Message) -> bool:
        """Queue a message of sync's own; False when the disk does not take it."""
        self._more = True
        return self._attempt(lambda: self._outbox.add([message])) is not None

    def settle(self, *, now: bool) -> None:
        """Write down what became of rows: a full group, one that is due, or, with `now`, whatever there is."""
        if self._clock.mono_s() < self._retry_mono_s:
            return
        due = now or len(self._delivered) >= GROUP_ROWS or self._clock.mono_s() >= self._due_mono_s
        if self._delivered and due:
            seqs = list(self._delivered)
            if self._attempt(functools.partial(self._outbox.acknowledge, seqs)) is not None:
                self._delivered = {}
        for seq, reason in list(self._refused.items()):
            if self._attempt(functools.partial(self._outbox.park, seq, reason)) is None:
                break
            self._refused.pop(seq, None)

    @property
    def unsettled(self) -> int:
        """Rows whose fate is not written down yet."""
        return len(self._delivered) + len(self._refused)

    def stats(self) -> OutboxStats | None:
        """Counts, None when the disk does not answer."""
        return self._attempt(self._outbox.stats)

    def _attempt(self, action: Callable[[], T]) -> T | None:
        """What `action` gives, or None when the disk does not let it; then nothing is tried for a while."""
        try:
            result = action()
        except StorageFullError as error:
            self._fail("disk-full", str(error))
        except StorageReadOnlyError as error:
            self._fail("state-read-only", str(error))
        except TransientError as error:
            self._fail("outbox-fault", str(error))
        except CorruptStoreError as error:
            self._fail("outbox-fault", str(error))
            self._begin_afresh(str(error))
        else:
            self._report(None, "")
            return result
        return None

    def _begin_afresh(self, words: str) -> None:
        # Row numbers begin again in a fresh file: what we remember of the old one must not touch it.
        self._ready.clear()
        self._delivered, self._refused = {}, {}
        with contextlib.suppress(TransientError):
            target = self._outbox.begin_afresh()
            if target is not None:
                text = f"{words}; kept as {target.name}, a fresh one was begun"
                self._listener(Condition(code="outbox-corrupt", subject=SUBJECT, active=True, text=text))

    def _fail(self, code: str, text: str) -> None:
        self._retry_mono_s = self._clock.mono_s() + RETRY_S
        self._report(code, text)

    def _report(self, code: str | None, text: str) -> None:
        if self._fault is not None and self._fault != code:
            self._listener(Condition(code=self._fault, subject=SUBJECT, active=False, text="written again"))
        if code is not None and self._fault != code:
            self._listener(Condition(code=code, subject=SUBJECT, active=True, text=text))
        self._fault = code
