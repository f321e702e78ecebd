"""A clock that stands still until it is told to move; waiting on it takes no time."""

import threading


class FakeClock:
    """Implements edge_agent.clock.Clock. `wait` moves the clock by what was asked for and returns at once."""

    def __init__(self, utc_s: float = 1_790_000_000.0, mono_s: float = 1000.0) -> None:
        self._utc_s = utc_s
        self._mono_s = mono_s
        self._lock = threading.Lock()

    def utc_s(self) -> float:
        return self._utc_s

    def mono_s(self) -> float:
        return self._mono_s

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        if not stop.is_set():
            self.advance(seconds)
        return stop.is_set()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            self._utc_s += seconds
            self._mono_s += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back; monotonic time knows nothing of it."""
        with self._lock:
            self._utc_s += seconds
