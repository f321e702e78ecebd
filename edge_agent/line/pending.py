"""Triggers that wait for their pictures, as a frozen record: which picture is whose, and who gets none. Pure.

    trigger --delay--> a picture counts from here ... until here (timeout) --> nobody came: no-picture
                            first such picture: claimed          a picture after it: late

Each trigger ends in exactly one of the three.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_agent.records import Trigger

# Parts between sensor and camera are few; more than this is a trigger line that rattles.
MOST_WAITING = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A picture counts from `delay_s` after the trigger, and has to come within `timeout_s` from then on."""

    delay_s: float = 0.0
    timeout_s: float = 1.0
    most: int = MOST_WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a picture means to those who wait: the one it belongs to, and those for whom it comes too late."""

    trigger: Trigger | None
    late: tuple[Trigger, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The triggers that wait, oldest first. Every method gives the record that follows, and what became of whom."""

    terms: Terms
    waiting: tuple[Trigger, ...] = ()

    @property
    def due_s(self) -> float | None:
        """When the oldest gives up, None when none waits."""
        return self._last_s(self.waiting[0]) if self.waiting else None

    def ready_s(self) -> float | None:
        """From when on a picture counts for the oldest, None when none waits."""
        return self._first_s(self.waiting[0]) if self.waiting else None

    def added(self, trigger: Trigger) -> tuple[Pending, Trigger | None]:
        """One more waits; the oldest has to go when they are too many."""
        waiting = (*self.waiting, trigger)
        crowded = len(waiting) > self.terms.most
        return replace(self, waiting=waiting[1:] if crowded else waiting), waiting[0] if crowded else None

    def claimed(self, captured_s: float) -> tuple[Pending, Claim]:
        """A picture of this moment came."""
        late = tuple(trigger for trigger in self.waiting if captured_s > self._last_s(trigger))
        left = tuple(trigger for trigger in self.waiting if captured_s <= self._last_s(trigger))
        owner = next((trigger for trigger in left if captured_s >= self._first_s(trigger)), None)
        # By identity: two triggers may be equal in every field, and each is a part.
        waiting = tuple(trigger for trigger in left if trigger is not owner)
        return replace(self, waiting=waiting), Claim(trigger=owner, late=late)

    def expired(self, now_s: float) -> tuple[Pending, tuple[Trigger, ...]]:
        """Those who waited long enough by now."""
        gone = tuple(trigger for trigger in self.waiting if now_s > self._last_s(trigger))
        return replace(self, waiting=tuple(t for t in self.waiting if now_s <= self._last_s(t))), gone

    def _first_s(self, trigger: Trigger) -> float:
        return trigger.mono_s + self.terms.delay_s

    def _last_s(self, trigger: Trigger) -> float:
        return trigger.mono_s + self.terms.delay_s + self.terms.timeout_s
