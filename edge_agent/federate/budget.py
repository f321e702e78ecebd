"""How much a gateway may send, and when: bytes a day, a token bucket, quiet hours, metered links. Pure.

Two clocks: the day and the quiet hours are wall time, the bucket runs on monotonic time. Nothing here is about alarms
and inspections, which go first; it holds back what can wait: contributions and models.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from edge_agent.errors import ConfigError

DAY_S = 24 * 3600
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """Minutes of the local day from `start` (inclusive) to `end` (exclusive) in which nothing is sent; over midnight
    where start > end.
    """

    start_min: int
    end_min: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`bytes_per_day` None: no limit. `metered_bytes_per_day` counts instead while the link is metered; 0: nothing goes
    over such a link. The bucket holds `burst_bytes` and fills with `bytes_per_s`.

    Raises:
        ConfigError: a limit is negative, or the bucket could never let anything pass.
    """

    bytes_per_day: int | None = None
    metered_bytes_per_day: int | None = 0
    bytes_per_s: float = 1_000_000.0
    burst_bytes: int = 1_000_000
    quiet: tuple[QuietHours, ...] = ()

    def __post_init__(self) -> None:
        limits = (self.bytes_per_day, self.metered_bytes_per_day)
        rates = (self.bytes_per_s, self.burst_bytes)
        if any(limit is not None and limit < 0 for limit in limits) or not all(
            math.isfinite(rate) and rate > 0 for rate in rates
        ):
            raise ConfigError(f"budget: limits {limits}, bucket {rates}; expected limits from 0, a bucket above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was sent on local day `day` (days since 1970), and what the bucket held at `mono_s`. Write `day` and
    `used_bytes` down; after a restart the bucket begins empty, so that restarting gives nothing away.
    """

    day: int
    used_bytes: int
    tokens: float
    mono_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """The moment that is decided for. `utc_offset_s` is the plant's, for its day and quiet hours."""

    utc_s: float
    mono_s: float
    utc_offset_s: int = 0
    metered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether it may go now. If not, `wait_s` is when to ask again (at the earliest), and `reason` why, for the status.
    `wait_s` None: not before somebody changes something.
    """

    wait_s: float | None
    reason: str

    @property
    def allowed(self) -> bool:
        """Whether it may go now."""
        return self.wait_s == 0.0


def quiet_hours(text: str) -> QuietHours:
    """`22:00-06:00` as minutes.

    Raises:
        ConfigError: it is not written like that.
    """
    found = _HOURS.fullmatch(text)
    if not found:
        raise ConfigError(f"quiet hours {text[:40]!r}, expected HH:MM-HH:MM, for example 22:00-06:00")
    first_h, first_min, last_h, last_min = map(int, found.groups())
    hours = QuietHours(start_min=first_h * 60 + first_min, end_min=last_h * 60 + last_min)
    if hours.start_min == hours.end_min:
        raise ConfigError(f"quiet hours {text}: they begin when they end; a gateway that never sends cannot take part")
    return hours


def usage_of(now: Now, *, day: int | None = None, used_bytes: int = 0) -> Usage:
    """At a start: `day` and `used_bytes` as they were written down, if they were."""
    today = _day(now)
    kept = day is not None and day >= today
    return Usage(
        day=day if day and kept else today, used_bytes=used_bytes if kept else 0, tokens=0.0, mono_s=now.mono_s
    )


def answer(budget: Budget, usage: Usage, size_bytes: int, now: Now) -> Answer:
    """Whether `size_bytes` may go now. More than the bucket holds goes when it is full, and leaves it in debt."""
    if wait_s := max((_quiet_s(hours, now) for hours in budget.quiet), default=0.0):
        return Answer(wait_s=wait_s, reason=f"quiet hours for another {wait_s / 60:.0f} min")
    limit = budget.metered_bytes_per_day if now.metered else budget.bytes_per_day
    what = "on a metered link" if now.metered else "a day"
    used_bytes = _used(usage, now)
    if limit is not None and size_bytes > limit:
        return Answer(wait_s=None, reason=f"{size_bytes} bytes are more than {limit} {what}; raise the budget")
    if limit is not None and used_bytes + size_bytes > limit:
        wait_s = DAY_S - (now.utc_s + now.utc_offset_s) % DAY_S
        return Answer(wait_s=wait_s, reason=f"{used_bytes} of {limit} bytes {what} are used, {size_bytes} are waiting")
    lacking = min(size_bytes, budget.burst_bytes) - _tokens(budget, usage, now)
    # A millionth of a byte is rounding, and waiting for it could take no time at all.
    if lacking > 1e-6:
        wait_s = lacking / budget.bytes_per_s
        return Answer(wait_s=wait_s, reason=f"rate: {budget.bytes_per_s:.0f} bytes/s, {wait_s:.1f} s to go")
    return Answer(wait_s=0.0, reason="may go now")


def spend(budget: Budget, usage: Usage, size_bytes: int, now: Now) -> Usage:
    """What was really sent is counted, allowed or not."""
    return Usage(
        day=max(_day(now), usage.day),
        used_bytes=_used(usage, now) + size_bytes,
        tokens=_tokens(budget, usage, now) - size_bytes,
        mono_s=max(now.mono_s, usage.mono_s),
    )


def _used(usage: Usage, now: Now) -> int:
    """A clock that was set back does not give the day anew."""
    return usage.used_bytes if usage.day >= _day(now) else 0


def _tokens(budget: Budget, usage: Usage, now: Now) -> float:
    earned = max(0.0, now.mono_s - usage.mono_s) * budget.bytes_per_s
    return min(float(budget.burst_bytes), usage.tokens + earned)


def _day(now: Now) -> int:
    return math.floor((now.utc_s + now.utc_offset_s) / DAY_S)


def _quiet_s(hours: QuietHours, now: Now) -> float:
    """How long these hours still last; 0 outside them."""
    second = (now.utc_s + now.utc_offset_s) % DAY_S
    start_s, end_s = hours.start_min * 60, hours.end_min * 60
    inside = start_s <= second < end_s if start_s < end_s else second >= start_s or second < end_s
    return (end_s - second) % DAY_S if inside else 0.0
