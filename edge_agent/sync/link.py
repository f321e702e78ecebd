"""The link: a connection as a thing that comes back. Opens, loses, waits a random while, opens again, for ever."""

from __future__ import annotations

import logging
import random
import select
from collections.abc import Callable
from typing import Any

from edge_agent.clock import Clock
from edge_agent.sync.broker import MqttOptions, parse_url
from edge_agent.sync.doorbell import Doorbell
from edge_agent.sync.mqtt import Connection, Event, Publication

log = logging.getLogger(__name__)

# Full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"): a plant's gateways must not return as one.
BACKOFF_FIRST_S, BACKOFF_CAP_S, BACKOFF_FACTOR = 1.0, 30.0, 1.5


class Link:
    """At most one connection at a time. `will` is asked for at each attempt; `wake` is called from another thread."""

    def __init__(
        self,
        options: MqttOptions,
        clock: Clock,
        jitter: random.Random,
        *,
        will: Callable[[], Publication],
        wake: Callable[[], None],
    ) -> None:
        self.address = parse_url(options.url)
        self._options = options
        self._clock = clock
        self._jitter = jitter
        self._will = will
        self._wake = wake
        self._failures = 0
        self._open_mono_s = 0.0
        self.connection: Connection | None = None
        self.reason = "not tried yet"
        self.since_utc_s = clock.utc_s()

    @property
    def connected(self) -> bool:
        return self.connection is not None and self.connection.connected

    def pump(self) -> list[Event]:
        """Events of the connection; opens one when it is time."""
        if self.connection is None:
            if self._clock.mono_s() < self._open_mono_s:
                return []
            self.connection = Connection(self._options, self._will(), self._clock, wake=self._wake)
            self.connection.open()
        return self.connection.pump()

    def up(self) -> None:
        """CONNACK came."""
        self.reason, self.since_utc_s = "", self._clock.utc_s()

    def progress(self) -> None:
        """The broker works with us, not only lets us in: the next loss is a first one."""
        self._failures = 0

    def down(self, reason: str) -> None:
        """The connection is lost; wait before the next, a random part of a growing while."""
        if self.reason != reason:
            log.warning("broker=lost reason=%s", reason)
        if not self.reason:
            self.since_utc_s = self._clock.utc_s()
        if self.connection is not None:
            self.connection.close()
        self.connection, self.reason = None, reason
        ceiling_s = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * BACKOFF_FACTOR ** min(self._failures, 10))
        self._failures += 1
        self._open_mono_s = self._clock.mono_s() + self._jitter.uniform(0, ceiling_s)

    def wait(self, bell: Doorbell, timeout_s: float) -> bool:
        """Until the bell rings (True), the connection has something to do, or it is time to look."""
        if self.connection is None:
            readable: list[Any] = []
            writable: list[Any] = []
            timeout_s = min(timeout_s, max(0.0, self._open_mono_s - self._clock.mono_s()))
        else:
            readable, writable = self.connection.sockets()
            if self.connection.has_buffered():
                timeout_s = 0.0
        select.select([bell, *readable], writable, [], timeout_s)
        return bell.clear()
