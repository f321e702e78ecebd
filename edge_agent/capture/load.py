"""Which pictures become parts, when there may be more of them than can be judged. Pure.

every n-th -> at most so many a second -> a full lane: the newest wins, or the source waits
"""

from __future__ import annotations

import enum


class Load(str, enum.Enum):
    """What happens to a frame that comes while others still wait to be judged."""

    AUTO = "auto"
    LATEST = "latest"  # the oldest that waits makes room and is a HOLD
    ALL = "all"  # the source waits: every picture is judged

    def waits(self, *, live: bool) -> bool:
        """Whether the source waits for the judge. A live camera cannot: its driver would drop pictures uncounted."""
        return not live if self is Load.AUTO else self is Load.ALL


class EveryNth:
    """The first picture, then each `nth`."""

    def __init__(self, nth: int) -> None:
        self._nth = nth
        self._passed = 0

    @property
    def wants_next(self) -> bool:
        """Whether the next picture is one to take."""
        return self._passed % self._nth == 0

    def take(self) -> bool:
        """Whether this picture is wanted; it is passed either way."""
        wanted = self.wants_next
        self._passed += 1
        return wanted


class RateLimit:
    """At most `fps` frames a second, None for all: a token bucket of two, so that a camera which itself runs at the
    limit loses none of its frames to jitter.
    """

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self._tokens = 2.0
        self._last_s: float | None = None

    def take(self, mono_s: float) -> bool:
        """Whether the picture of this moment is wanted."""
        if self._fps is None:
            return True
        self._refill(mono_s, self._fps)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def wait_s(self, mono_s: float) -> float:
        """Seconds until the next picture is wanted; 0 for now."""
        if self._fps is None:
            return 0.0
        self._refill(mono_s, self._fps)
        return max(0.0, (1.0 - self._tokens) / self._fps)

    def _refill(self, mono_s: float, fps: float) -> None:
        if self._last_s is not None:
            self._tokens = min(2.0, self._tokens + (mono_s - self._last_s) * fps)
        self._last_s = mono_s
