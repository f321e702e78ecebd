"""Watches for a cancel while a run goes on: of the second in which it takes effect, a tenth at most is spent here."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from edge_agent.clock import Clock
from edge_agent.processes.finetuning.request import Request, asked_ns, unserved

LOOK_S = 0.1


class CancelWatch:
    """Sets `stop` when the process is to end (`ending`), or when somebody cancels; `request` is that wish."""

    def __init__(self, state_dir: Path, ending: threading.Event, clock: Clock) -> None:
        self.stop = threading.Event()
        self.request: Request | None = None
        self._state_dir = state_dir
        self._ending = ending
        self._clock = clock
        self._over = threading.Event()
        self._seen_ns = asked_ns(state_dir)
        self._thread = threading.Thread(target=self._run, name="cancel-watch", daemon=True)

    def __enter__(self) -> CancelWatch:  # noqa: PYI034 - Self is of Python 3.11
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def is_cancelled(self) -> bool:
        """Whether `stop` was set because a person does not want the run any more."""
        return self.request is not None

    def _run(self) -> None:
        while not self._over.is_set():
            if self._ending.is_set() or self._is_asked():
                self.stop.set()
                return
            self._clock.wait(self._over, LOOK_S)

    def _is_asked(self) -> bool:
        at_ns = asked_ns(self._state_dir)
        if at_ns == self._seen_ns:
            return False
        self._seen_ns = at_ns
        request = unserved(self._state_dir)
        if request is None or request.action != "cancel":
            return False
        self.request = request
        return True
