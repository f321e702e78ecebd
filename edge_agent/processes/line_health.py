"""Whether a way to the line works: its loss and its return, told once each, become an alarm and its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_agent.sync.alarms import Condition

log = logging.getLogger(__name__)


class LineHealth:
    """Called as `note(active, text)` as often as one likes, from any thread. `code` is an alarm's."""

    def __init__(self, code: str, subject: str, note: Callable[[Condition], None]) -> None:
        self.lost = False
        self.reason = ""
        self._code = code
        self._subject = subject
        self._note = note
        self._lock = threading.Lock()
        self._told: bool | None = None
        self._ended = False

    def __call__(self, active: bool, text: str) -> None:
        with self._lock:
            if self._ended:
                return  # a thread that was left behind in a driver comes back
            self.lost, self.reason = active, text if active else ""
            if self._told is active:
                return
            self._told = active
            if not active:  # a loss is told by the alarm desk
                log.info("%s=%s event=works reason=%s", self._code.removesuffix("-lost"), self._subject, text)
            self._note(Condition(code=self._code, subject=self._subject, active=active, text=text))

    def end(self) -> None:
        """Nobody is left to say that it is over: an alarm ends here, and nothing more is heard."""
        self(active=False, text="stopped")
        with self._lock:
            self._ended = True
