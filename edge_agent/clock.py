"""Time as a thing that is handed in: wall time for people, monotonic time for durations, waits that end at once.

Nothing else in the package reads the time or sleeps, so tests need no sleeping and a clock jump is one method call.
"""

from __future__ import annotations

import datetime
import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the package knows of time."""

    def utc_s(self) -> float:
        """Seconds since 1970-01-01 UTC; may jump, never used for durations."""

    def mono_s(self) -> float:
        """Seconds since some fixed start; never jumps."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait until `stop` is set (True) or `seconds` have passed (False)."""


class SystemClock:
    """The machine's clocks."""

    def utc_s(self) -> float:
        return time.time()

    def mono_s(self) -> float:
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        return stop.wait(seconds)


def rfc3339(utc_s: float) -> str:
    """RFC 3339 UTC with milliseconds: `2026-11-24T09:58:42.120Z`."""
    moment = datetime.datetime.fromtimestamp(utc_s, tz=datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
