"""A network camera whose ONVIF service says which camera it is, asked beside the stream.

    open --> a thread asks, again and again until there is an answer or `close`
      `----> the stream opens and runs, whether ONVIF answers or not

A camera that was just switched on may stream before its ONVIF service is up: hence again and again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_agent.capture.source import Picture, Source
from edge_agent.clock import Clock
from edge_agent.errors import CameraError
from edge_agent.records import CameraIdentity

log = logging.getLogger(__name__)

FIRST_RETRY_S = 2.0
MOST_RETRY_S = 60.0


class IdentifiedSource:
    """`source`, with the identity that `ask` finds out. `ask` raises CameraError while there is no answer."""

    def __init__(self, source: Source, ask: Callable[[], CameraIdentity], clock: Clock) -> None:
        self.live = source.live
        self.description = source.description
        self._source = source
        self._ask = ask
        self._clock = clock
        self._question: _Question | None = None

    @property
    def identity(self) -> CameraIdentity | None:
        return self._question.answer if self._question is not None else None

    @property
    def decoding(self) -> str | None:
        return self._source.decoding

    @property
    def unheld(self) -> tuple[str, ...]:
        return self._source.unheld

    def open(self) -> None:
        self._end()
        self._question = _Question(self.description, self._ask, self._clock)
        self._source.open()

    def read(self) -> Picture | None:
        return self._source.read()

    def close(self) -> None:
        self._end()
        self._source.close()

    def _end(self) -> None:
        if self._question is not None:
            self._question.over.set()
            self._question = None


class _Question:
    """Asked in a thread of its own. An answer that comes after the connection it was asked for is nobody's."""

    def __init__(self, description: str, ask: Callable[[], CameraIdentity], clock: Clock) -> None:
        self.answer: CameraIdentity | None = None
        self.over = threading.Event()
        self._description = description
        self._ask = ask
        threading.Thread(target=self._run, args=(clock,), name="onvif", daemon=True).start()

    def _run(self, clock: Clock) -> None:
        wait_s = FIRST_RETRY_S
        while not self._answered() and not clock.wait(self.over, wait_s):
            wait_s = min(2 * wait_s, MOST_RETRY_S)

    def _answered(self) -> bool:
        try:
            self.answer = self._ask()
        except CameraError as error:
            log.warning("source=%s onvif=unanswered reason=%s", self._description, error)
        return self.answer is not None
