"""Verdicts on their way to the line, numbered when they are handed in; never waits, never grows without end.

Verdicts of triggered parts are told one after another: the PLC waits for each. Of a camera that runs freely only the
newest is of use. Whatever is left out shows as a gap in the numbers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.clock import Clock
from edge_agent.line.signals import next_sequence
from edge_agent.records import Inspection

# At a part a second this is a minute that the PLC could not be told; the parts are gone by then.
MOST_QUEUED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A verdict and its number."""

    sequence: int
    inspection: Inspection


@dataclass(slots=True, kw_only=True, eq=False)
class _Lane:
    """One camera's verdicts; touched only under the queue's lock."""

    sequence: int = 0
    waiting: deque[Numbered] = field(default_factory=deque)
    shown_until_s: float = 0.0
    awaited: dict[str, float] = field(default_factory=dict)  # id -> since when its commit is awaited, oldest first

    def settle(self, identity: str) -> None:
        """This verdict is durable. Those before it are too, or were dropped for want of room and never will be."""
        if identity not in self.awaited:  # a newer one than those we kept
            self.awaited.clear()
        while self.awaited:
            first = next(iter(self.awaited))
            del self.awaited[first]
            if first == identity:
                break


class VerdictQueue:
    """`show_s`: how long each verdict stands before the next may follow. Thread-safe."""

    def __init__(self, cameras: Iterable[str], clock: Clock, *, show_s: float) -> None:
        self.missed = 0  # left out for want of room
        self._clock = clock
        self._show_s = show_s
        self._changed = threading.Condition()
        self._lanes = {camera: _Lane() for camera in cameras}
        self._kicked = False

    def put(self, inspection: Inspection) -> None:
        """Hand in a verdict; one of a camera that is not told of here is left alone."""
        lane = self._lanes.get(inspection.camera)
        if lane is None:
            return
        with self._changed:
            lane.settle(inspection.id)
            lane.sequence = next_sequence(lane.sequence)
            if lane.waiting and lane.waiting[-1].inspection.trigger is None:
                lane.waiting.pop()
            elif len(lane.waiting) == MOST_QUEUED:
                lane.waiting.popleft()
                self.missed += 1
            lane.waiting.append(Numbered(sequence=lane.sequence, inspection=inspection))
            self._changed.notify_all()

    def expect(self, inspection: Inspection) -> None:
        """This verdict will be handed in once it is durable."""
        lane = self._lanes.get(inspection.camera)
        if lane is None:
            return
        with self._changed:
            if len(lane.awaited) < MOST_QUEUED:
                lane.awaited[inspection.id] = self._clock.mono_s()

    def awaited_s(self) -> float:
        """For how long the oldest verdict has been waiting to become durable; 0 when none is."""
        with self._changed:
            oldest = [next(iter(lane.awaited.values())) for lane in self._lanes.values() if lane.awaited]
            return self._clock.mono_s() - min(oldest) if oldest else 0.0

    def wait(self, timeout_s: float) -> None:
        """Until a verdict may be told, `kick`, or the time is over."""
        until_s = self._clock.mono_s() + timeout_s
        with self._changed:
            while not self._kicked:
                now_s = self._clock.mono_s()
                ready_s = min((lane.shown_until_s for lane in self._lanes.values() if lane.waiting), default=until_s)
                left_s = min(ready_s, until_s) - now_s
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._kicked = False

    def kick(self) -> None:
        """End a `wait`: something else is to be looked at."""
        with self._changed:
            self._kicked = True
            self._changed.notify_all()

    def take(self) -> dict[str, Numbered]:
        """The next verdict of each camera that may be told now."""
        now_s = self._clock.mono_s()
        with self._changed:
            found = {}
            for camera, lane in self._lanes.items():
                if lane.waiting and lane.shown_until_s <= now_s:
                    found[camera] = lane.waiting.popleft()
                    lane.shown_until_s = now_s + self._show_s
            return found

    def forget(self) -> dict[str, int]:
        """Nobody can be told: drop what waits; the newest number of each camera."""
        with self._changed:
            for lane in self._lanes.values():
                self.missed += len(lane.waiting)
                lane.waiting.clear()
                lane.shown_until_s = 0.0
            return {camera: lane.sequence for camera, lane in self._lanes.items()}
