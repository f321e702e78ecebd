"""What waits in memory to be committed: bounded in bytes, latest-wins slots, the least important goes first. Pure.

In ordinary times it holds what came within one commit window. When the disk is full it is all there is.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edge_agent.sync.messages import EVICTION_ORDER, Message, Priority

# Alarms too, but last of all: memory is finite even if alarms flap for days on a full disk.
_DROP_ORDER = (*EVICTION_ORDER, Priority.ALARM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A message in the order it was handed in; `on_durable` is called once it is committed."""

    ticket: int
    message: Message
    on_durable: Callable[[], None] | None


class Backlog:
    """Messages by class. `dropped` and `replaced` count, by class, what left without being taken."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._classes: dict[Priority, dict[str | int, Entry]] = {priority: {} for priority in Priority}
        self._bytes = 0
        self.dropped: Counter[Priority] = Counter()
        self.replaced: Counter[Priority] = Counter()

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._classes.values())

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def add(self, entry: Entry) -> None:
        """Take one more; a message of the same slot is replaced, and room is made if there is too little."""
        entries = self._classes[entry.message.priority]
        key = entry.message.slot or entry.ticket
        older = entries.pop(key, None)
        if older is not None:
            self._bytes -= older.message.size_bytes
            self.replaced[older.message.priority] += 1
        entries[key] = entry
        self._bytes += entry.message.size_bytes
        if self._bytes > self._limit_bytes:
            self._make_room()

    def take(self, limit: int) -> list[Entry]:
        """Up to `limit` entries, in the order they were handed in."""
        ordered = heapq.merge(*(entries.items() for entries in self._classes.values()), key=lambda item: item[1].ticket)
        chosen = [item for item, _ in zip(ordered, range(limit), strict=False)]
        for key, entry in chosen:
            del self._classes[entry.message.priority][key]
            self._bytes -= entry.message.size_bytes
        return [entry for _, entry in chosen]

    def give_back(self, entries: Iterable[Entry]) -> None:
        """Return what was taken and could not be committed; what replaced it meanwhile stays."""
        returned: dict[Priority, dict[str | int, Entry]] = {priority: {} for priority in Priority}
        for entry in entries:
            priority, key = entry.message.priority, entry.message.slot or entry.ticket
            if key in self._classes[priority]:
                self.replaced[priority] += 1
                continue
            returned[priority][key] = entry
            self._bytes += entry.message.size_bytes
        for priority, older in returned.items():
            self._classes[priority] = {**older, **self._classes[priority]}
        if self._bytes > self._limit_bytes:
            self._make_room()

    def _make_room(self) -> None:
        for priority in _DROP_ORDER:
            entries = self._classes[priority]
            while entries and self._bytes > self._limit_bytes:
                oldest = entries.pop(next(iter(entries)))
                self._bytes -= oldest.message.size_bytes
                self.dropped[priority] += 1
