"""May the fine-tuning child run now? Asked once a second; the answer is RUN, PAUSE (the process is stopped, nothing is
lost) or END. Pure: readings and budget in, a ruling with its reason out.

    window closed, CPU time spent             -> END     (a later window goes on from the checkpoint)
    hot, short of memory, inspection behind   -> PAUSE   until the reading is well below its limit again
"""

from __future__ import annotations

import datetime
import enum
from dataclasses import dataclass

# What stopped it must be better by so much before it goes on: a fan that just manages would stop it every second.
COOLER_C = 5.0
MORE_MEMORY_SHARE = 1.1


class Act(str, enum.Enum):
    RUN = "run"
    PAUSE = "pause"
    END = "end"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Hours of the day, local time, in which training may run; 22:00 to 05:00 crosses midnight. None: always."""

    begin: datetime.time
    end: datetime.time

    def holds(self, moment: datetime.time) -> bool:
        if self.begin <= self.end:
            return self.begin <= moment < self.end
        return moment >= self.begin or moment < self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What training may cost. Limits that are None are not watched.

    `frames_share` is the share of the captured frames of the last seconds that inspection must have judged.
    """

    window: Window | None = None
    cpu_s: float | None = None
    pause_c: float | None = None
    available_bytes: int | None = None
    power_w: float | None = None
    frames_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The machine at one moment; None where it does not say."""

    time_of_day: datetime.time
    cpu_s: float = 0.0
    hottest_c: float | None = None
    available_bytes: int | None = None
    power_w: float | None = None
    frames_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What the child may do, and why it may not run; empty when it may."""

    act: Act
    reason: str = ""


def permit(budget: Budget, reading: Reading, *, paused: bool) -> Permission:
    """The permission for the next second. `paused`: it stands still now, so the limits are the stricter ones."""
    ended = _ended(budget, reading)
    if ended:
        return Permission(act=Act.END, reason=ended)
    reasons = tuple(filter(None, _too_much(budget, reading, paused=paused)))
    return Permission(act=Act.PAUSE, reason="; ".join(reasons)) if reasons else Permission(act=Act.RUN)


def _ended(budget: Budget, reading: Reading) -> str:
    if budget.window is not None and not budget.window.holds(reading.time_of_day):
        return f"its window, {budget.window.begin:%H:%M} to {budget.window.end:%H:%M}, is closed"
    if budget.cpu_s is not None and reading.cpu_s >= budget.cpu_s:
        return f"{reading.cpu_s:.0f} s of CPU time are spent, {budget.cpu_s:.0f} s were granted"
    return ""


def _too_much(budget: Budget, reading: Reading, *, paused: bool) -> tuple[str, ...]:
    hottest = None if budget.pause_c is None else budget.pause_c - (COOLER_C if paused else 0.0)
    least = None if budget.available_bytes is None else budget.available_bytes * (MORE_MEMORY_SHARE if paused else 1.0)
    return (
        _above(reading.hottest_c, hottest, "°C", "hot"),
        _above(reading.power_w, budget.power_w, "W", "power"),
        _below(reading.available_bytes, least, "bytes of memory available"),
        _below(reading.frames_share, budget.frames_share, "of the frames judged"),
    )


def _above(found: float | None, limit: float | None, unit: str, what: str) -> str:
    # Written so that a reading that is no number pauses.
    if found is None or limit is None or found < limit:
        return ""
    return f"{what}: {found:.0f} {unit}, the limit is {limit:.0f} {unit}"


def _below(found: float | None, limit: float | None, what: str) -> str:
    if found is None or limit is None or found >= limit:
        return ""
    return f"{found:.4g} {what}, {limit:.4g} are wanted"
