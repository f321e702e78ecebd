"""The uplink: one loop that connects, says who we are, sends what the outbox holds, and takes commands.

    offline --open--> dialling --Connected--> online --Lost--> offline (full jitter) ...
                               --Lost-------> offline

Every connect: subscribe, status online, standing state, then the outbox from its oldest unacknowledged row. A row is
deleted on a PUBACK that says success; a refused one is parked and reported. Killing anything at any moment repeats
messages, under the same ids, and loses none that was committed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge_agent.clock import Clock
from edge_agent.sync.command_desk import CommandDesk
from edge_agent.sync.delivery import Delivery
from edge_agent.sync.doorbell import Doorbell
from edge_agent.sync.link import Link
from edge_agent.sync.messages import Message, StatusState, status_message
from edge_agent.sync.mqtt import FAILURE, Connected, Event, Lost, Publication, Published, Received, Subscribed
from edge_agent.sync.sender import Sender
from edge_agent.sync.topics import Branch

log = logging.getLogger(__name__)

LOOK_S = 1.0  # a ring may be missed
GOODBYE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who speaks: the version of the program, and the ULID of this run of it."""

    version: str
    session: str

    def status(self, state: StatusState, reason: str, utc_s: float) -> Message:
        return status_message(state, session=self.session, version=self.version, reason=reason, utc_s=utc_s)


def will(branch: Branch, identity: Identity, utc_s: float) -> Publication:
    """What the broker says for us when we are gone without a goodbye."""
    message = identity.status("offline", "connection lost", utc_s)
    return Publication(topic=branch.topic(message.topic_tail), payload=message.payload, qos=1, retain=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkHealth:
    """The uplink at one moment. `reason` is the last loss in words, empty when all is well.

    `published` counts since start, `lost` (evicted or dropped) since the outbox was begun. Queue figures are None when
    the disk does not answer.
    """

    connected: bool
    since_utc_s: float
    broker: str
    reason: str
    published: int
    in_flight: int
    queued: int | None
    queued_bytes: int | None
    oldest_age_s: float | None
    parked: int | None
    lost: int | None


class Uplink:
    """Wires link, sender and commands together; `step` does one turn and never waits."""

    def __init__(
        self,
        *,
        link: Link,
        sender: Sender,
        delivery: Delivery,
        desk: CommandDesk,
        branch: Branch,
        identity: Identity,
        clock: Clock,
    ) -> None:
        self._link = link
        self._sender = sender
        self._delivery = delivery
        self._desk = desk
        self._branch = branch
        self._identity = identity
        self._clock = clock
        self._looked_mono_s = float("-inf")

    def step(self, *, rung: bool = False) -> None:
        """One turn: events, commands, sending, writing down. `rung`: inspect says that there is something new."""
        if rung or self._clock.mono_s() - self._looked_mono_s >= LOOK_S:
            self._looked_mono_s = self._clock.mono_s()
            self._delivery.look()
            self._desk.tell()
        for event in self._link.pump():
            self._on(event)
        connection = self._link.connection
        if connection is not None and connection.connected:
            self._sender.fill(connection)
        self._delivery.settle(now=False)

    def wait(self, bell: Doorbell) -> bool:
        """Until there is something to do, for a second at most; True when the bell rang."""
        return self._link.wait(bell, LOOK_S)

    def close(self, bell: Doorbell) -> None:
        """Say that we stop on purpose, wait a little for the answer, write down what was delivered."""
        if self._link.connected:
            self._sender.say(self._identity.status("stopped", "stopped on purpose", self._clock.utc_s()))
            until_mono_s = self._clock.mono_s() + GOODBYE_S
            while not self._sender.said_everything and self._clock.mono_s() < until_mono_s:
                self.step()
                if self._link.connection is None:  # lost while saying goodbye
                    break
                self._link.wait(bell, LOOK_S / 10)
        self._delivery.settle(now=True)
        if self._link.connection is not None:
            self._link.connection.close()

    def health(self) -> UplinkHealth:
        """For `edge-agent status` and the service manager."""
        stats = self._delivery.stats()
        oldest_utc_s = None if stats is None else stats.oldest_utc_s
        return UplinkHealth(
            connected=self._link.connected,
            since_utc_s=self._link.since_utc_s,
            broker=self._link.address.text,
            reason=self._link.reason,
            published=self._sender.published,
            in_flight=self._sender.in_flight,
            queued=None if stats is None else stats.queued,
            queued_bytes=None if stats is None else stats.queued_bytes,
            oldest_age_s=None if oldest_utc_s is None else max(0.0, self._clock.utc_s() - oldest_utc_s),
            parked=None if stats is None else stats.parked_now,
            lost=None if stats is None else stats.lost,
        )

    def _on(self, event: Event) -> None:
        match event:
            case Connected():
                self._link.up()
                log.info("broker=%s event=connected session_present=%s", self._link.address.text, event.session_present)
                # Subscribed whatever the broker remembers: one killed before it saved remembers wrongly.
                if self._link.connection is not None:
                    self._link.connection.subscribe([self._branch.command_filter()])
                self._sender.begin(event, self._identity.status("online", "connected", self._clock.utc_s()))
            case Published():
                self._link.progress()
                self._sender.answer(event)
            case Subscribed():
                if any(code >= FAILURE for code in event.codes):
                    self._sender.deny("cmd")
            case Received():
                tail = self._branch.tail(event.topic)
                if tail is not None:
                    self._desk.receive(tail, event.payload, retained=event.retained)
            case Lost():
                self._sender.lost(event)
                self._link.down(event.reason)
