"""The demo hears its verdicts the way an operator does: over MQTT, from the broker."""

from __future__ import annotations

import json
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edge_agent.clock import Clock
from edge_agent.errors import BrokerError
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.mqtt import Connection, Lost, Publication, Received, Subscribed

CONNECT_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One inspection as it stood on the wire."""

    id: str
    camera: str
    part: str | None
    verdict: str
    label: str | None
    score: float | None
    reason: str | None
    where: dict[str, float] | None
    latency_ms: float | None


@dataclass(slots=True)
class Verdicts:
    """What was heard so far, each inspection once: QoS 1 may deliver twice."""

    heard: dict[str, Heard] = field(default_factory=dict)
    repeated: int = 0

    def take(self, payload: bytes) -> None:
        value: dict[str, Any] = json.loads(payload)
        if value["id"] in self.heard:
            self.repeated += 1
            return
        self.heard[value["id"]] = Heard(
            id=value["id"],
            camera=value["camera"],
            part=value["part"],
            verdict=value["verdict"],
            label=value["label"],
            score=value["score"],
            reason=value["reason"],
            where=value["where"],
            latency_ms=value["latency_ms"]["total"] if value["latency_ms"] else None,
        )


class Watcher:
    """A subscriber of its own, with a session of its own."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Connect and subscribe.

        Raises:
            BrokerError: not within ten seconds.
        """
        self.verdicts = Verdicts()
        will = Publication(topic="demo/watcher", payload=b"", qos=0, retain=False)
        options = MqttOptions(url=url, client_id="demo-watcher", session_expiry_s=0)
        self._connection = Connection(options, will, clock, wake=lambda: None)
        self._connection.open()
        self._subscribed = False
        deadline_s = clock.mono_s() + CONNECT_DEADLINE_S
        self._until(lambda: self._connection.connected, clock, deadline_s)
        self._connection.subscribe(["demo/#"])
        self._until(lambda: self._subscribed, clock, deadline_s)

    def step(self, timeout_s: float) -> None:
        """Take what comes within `timeout_s`.

        Raises:
            BrokerError: the connection was lost.
        """
        reading, writing = self._connection.sockets()
        select.select(reading, writing, [], timeout_s)
        for event in self._connection.pump():
            if isinstance(event, Received) and "/insp/" in event.topic:
                self.verdicts.take(event.payload)
            elif isinstance(event, Subscribed):
                self._subscribed = True
            elif isinstance(event, Lost):
                raise BrokerError(f"the demo's own connection to the broker was lost: {event.reason}")

    def close(self) -> None:
        self._connection.close()

    def _until(self, condition: Callable[[], bool], clock: Clock, deadline_s: float) -> None:
        while not condition():
            if clock.mono_s() > deadline_s:
                raise BrokerError(f"no answer from the demo's broker within {CONNECT_DEADLINE_S:.0f} s")
            self.step(0.05)
