"""One camera's triggers and pictures brought together, in three threads: the line's, the camera's, and a watch.

line --fire--> pending --claim or wait--> camera's thread          watch: nobody came in time --lose--> HOLD
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.clock import Clock
from edge_agent.line.pending import Pending, Terms
from edge_agent.records import HoldReason, Trigger

# Hears of a trigger that gets no picture, and why; must not block.
Lose = Callable[[Trigger, HoldReason, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCounts:
    """fired = claimed + lost (by reason) + waiting. `last_mono_s` is when the last trigger came."""

    fired: int = 0
    claimed: int = 0
    waiting: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    last_mono_s: float | None = None
    last_part: str | None = None


class TriggerGate:
    """Implements capture's `Gate`. `lose` is called without a lock held, from whichever thread found out."""

    def __init__(self, terms: Terms, clock: Clock, lose: Lose) -> None:
        self._clock = clock
        self._lose = lose
        self._changed = threading.Condition()
        self._pending = Pending(terms=terms)
        self._closed = False
        self._fired = self._claimed = 0
        self._lost: Counter[str] = Counter()
        self._last: Trigger | None = None

    def start(self) -> None:
        """Watch over those who wait, until `close`."""
        threading.Thread(target=self._watch, name="trigger-watch", daemon=True).start()

    def fire(self, trigger: Trigger) -> None:
        """A part is there: the next picture that counts is its."""
        with self._changed:
            self._fired += 1
            self._last = trigger
            closed, surplus = self._closed, None
            if not closed:
                self._pending, surplus = self._pending.added(trigger)
                self._changed.notify_all()
        if closed:
            self._give_up((trigger,), HoldReason.STOPPING, "stopping")
        elif surplus is not None:
            self._give_up((surplus,), HoldReason.OVERLOAD, "too many triggers wait for their pictures")

    def miss(self, trigger: Trigger, why: str) -> None:
        """A part was there, and it is known already that no picture will show it."""
        with self._changed:
            self._fired += 1
            self._last = trigger
        self._give_up((trigger,), HoldReason.NO_PICTURE, why)

    def claim(self, captured_mono_s: float) -> Trigger | None:
        """The trigger that the picture of this moment belongs to, None when nobody asked for it."""
        with self._changed:
            if not self._pending.waiting:
                return None
            self._pending, claim = self._pending.claimed(captured_mono_s)
            self._claimed += claim.trigger is not None
        self._give_up(claim.late, HoldReason.LATE, "its picture came too late")
        return claim.trigger

    def wait(self, stop: threading.Event, timeout_s: float) -> Trigger | None:
        """The next trigger whose delay is over, which takes the next picture of a file; None when none came."""
        until_s = self._clock.mono_s() + timeout_s
        with self._changed:
            while not stop.is_set():
                now_s = self._clock.mono_s()
                ready_s = self._pending.ready_s()
                if ready_s is not None and ready_s <= now_s:
                    first = self._pending.waiting[0]
                    self._pending = Pending(terms=self._pending.terms, waiting=self._pending.waiting[1:])
                    self._claimed += 1
                    return first
                wait_s = min(until_s, ready_s if ready_s is not None else until_s) - now_s
                if until_s <= now_s:
                    return None
                self._changed.wait(wait_s)
        return None

    def expire(self) -> float | None:
        """Give up those whose time is over; seconds until the next one's is, None while none waits."""
        now_s = self._clock.mono_s()
        with self._changed:
            self._pending, gone = self._pending.expired(now_s)
            due_s = self._pending.due_s
        self._give_up(gone, HoldReason.NO_PICTURE, "no picture came in time")
        return None if due_s is None else max(0.0, due_s - now_s)

    def close(self) -> None:
        """Nobody waits any longer: what waited is lost (STOPPING), and so is what still comes."""
        with self._changed:
            self._closed = True
            gone, self._pending = self._pending.waiting, Pending(terms=self._pending.terms)
            self._changed.notify_all()
        self._give_up(gone, HoldReason.STOPPING, "stopping")

    @property
    def counts(self) -> GateCounts:
        with self._changed:
            last = self._last
            return GateCounts(
                fired=self._fired,
                claimed=self._claimed,
                waiting=len(self._pending.waiting),
                lost=dict(self._lost),
                last_mono_s=None if last is None else last.mono_s,
                last_part=None if last is None else last.part,
            )

    def _give_up(self, gone: tuple[Trigger, ...], reason: HoldReason, why: str) -> None:
        for trigger in gone:
            with self._changed:
                self._lost[reason.value] += 1
            self._lose(trigger, reason, why)

    def _watch(self) -> None:
        while True:
            left_s = self.expire()
            with self._changed:
                if self._closed:
                    return
                # One that came meanwhile is no older than those seen: it is looked at in time either way.
                if left_s is not None or not self._pending.waiting:
                    self._changed.wait(left_s)
