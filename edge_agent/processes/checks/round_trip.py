"""One message to the broker and back, on a connection of its own, with what the broker said on the way.

connect -> subscribe to our commands and to one topic of our own -> publish there -> PUBACK -> delivered to us
"""

from __future__ import annotations

import contextlib
import select
import socket
from dataclasses import dataclass, replace

from edge_agent.clock import Clock, rfc3339
from edge_agent.records import ulid
from edge_agent.sync.broker import MqttOptions
from edge_agent.sync.mqtt import (
    FAILURE,
    Connected,
    Connection,
    Event,
    Lost,
    Publication,
    Published,
    Subscribed,
)
from edge_agent.sync.payloads import AckPayload, encode
from edge_agent.sync.topics import Branch

EXPIRY_S = 60
POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """How far it came. `lost` is the broker's or the network's reason; None codes: no answer within the time."""

    lost: str | None = None
    connected: bool = False
    subscribed: tuple[int, ...] | None = None
    published: int | None = None
    published_reason: str = ""
    delivered_s: float | None = None

    @property
    def complete(self) -> bool:
        """Nothing more can come."""
        answered = self.subscribed is not None and self.published is not None
        refused = self.published is not None and self.published >= FAILURE
        return self.lost is not None or (answered and (refused or self.delivered_s is not None))


def round_trip(options: MqttOptions, branch: Branch, clock: Clock, limit_s: float) -> Trip:
    """Try it. `options` must have a client id of its own, or the running daemon is thrown off the broker."""
    number = ulid(clock.utc_s())
    topic = branch.topic(f"ack/check/{number}")
    body = AckPayload(
        ts=rfc3339(clock.utc_s()), id=number, type="check", state="successful", reason="edge-agent check", result=None
    )
    message = Publication(topic=topic, payload=encode(body), qos=1, retain=False, expiry_s=EXPIRY_S)
    # MQTT 3.1.1 keeps our session for ever: leave no subscription to commands in it.
    filters = (branch.command_filter(), topic) if options.protocol == 5 else (topic,)
    inner, outer = socket.socketpair()
    with inner, outer:
        # The Will is only sent if this check is killed half way; an empty one is not retained and says nothing.
        will = replace(message, payload=b"")
        passing = replace(options, session_expiry_s=0, will_delay_s=0)
        connection = Connection(passing, will, clock, wake=lambda: _ring(outer))
        connection.open()
        try:
            trip = Trip()
            # Connection has its own time-out; a second more, so that its reason is the one we hear.
            begun_s = clock.mono_s()
            until_s = begun_s + options.connect_timeout_s + 1
            while not trip.complete and clock.mono_s() < until_s:
                for event in connection.pump():
                    trip = _after(trip, event, topic, clock.mono_s() - begun_s)
                    if isinstance(event, Connected):
                        until_s = clock.mono_s() + limit_s
                        connection.subscribe(filters)
                    elif isinstance(event, Subscribed):
                        begun_s = clock.mono_s()
                        connection.publish(message)
                _wait(connection, inner)
            return trip
        finally:
            connection.close()


def _ring(bell: socket.socket) -> None:
    # The dialling thread may come too late: then nobody listens any more.
    with contextlib.suppress(OSError):
        bell.send(b"\0")


def _wait(connection: Connection, bell: socket.socket) -> None:
    readable, writable = connection.sockets()
    ready, _, _ = select.select([bell, *readable], writable, [], 0 if connection.has_buffered() else POLL_S)
    if bell in ready:
        bell.recv(64)


def _after(trip: Trip, event: Event, topic: str, seconds: float) -> Trip:
    if isinstance(event, Lost):
        return replace(trip, lost=event.reason)
    if isinstance(event, Connected):
        return replace(trip, connected=True)
    if isinstance(event, Subscribed):
        return replace(trip, subscribed=event.codes)
    if isinstance(event, Published):
        return replace(trip, published=event.code, published_reason=event.reason)
    # What is left is Received: perhaps a command to the gateway, which is the daemon's to obey.
    return replace(trip, delivered_s=seconds) if event.topic == topic else trip
