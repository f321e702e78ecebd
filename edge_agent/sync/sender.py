"""The sender: fills the window with what is most urgent, and learns from the broker's answers.

First what we say for ourselves (status, standing state, our own alarms), then the outbox, class by class.
"""

from __future__ import annotations

import logging
from collections import deque

from edge_agent.clock import Clock
from edge_agent.sync.alarms import Condition, Listener
from edge_agent.sync.delivery import Delivery
from edge_agent.sync.flights import Flight, Flights
from edge_agent.sync.messages import Message
from edge_agent.sync.mqtt import (
    FAILURE,
    NOT_AUTHORIZED,
    QUOTA_EXCEEDED,
    Connected,
    Connection,
    Lost,
    Publication,
    Published,
)
from edge_agent.sync.topics import Branch

log = logging.getLogger(__name__)

QUOTA_PAUSE_S = 5.0
PROBE_S = 600.0
# Fixed header, topic length, packet id and properties of a PUBLISH of ours are well below this.
PACKET_OVERHEAD_BYTES = 128
# DISCONNECT reasons that blame a packet of ours: malformed, protocol error, topic, size, format, retain, QoS.
BLAMING_CODES = frozenset({129, 130, 144, 149, 153, 154, 155})


class Sender:
    """What goes out on the present connection. `published` counts successes since start."""

    def __init__(self, branch: Branch, delivery: Delivery, listener: Listener, clock: Clock, *, in_flight: int) -> None:
        self._branch = branch
        self._delivery = delivery
        self._listener = listener
        self._clock = clock
        self._in_flight = in_flight
        self._flights = Flights()
        self._own = _Own()
        self._limits: Connected | None = None
        self._denied: dict[str, float] = {}  # subject: when to try again
        self._pause_mono_s = 0.0
        self.published = 0

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    @property
    def said_everything(self) -> bool:
        """Whether all that we say for ourselves has been answered."""
        return not self._own.waiting and not self._flights

    def say(self, message: Message) -> None:
        """Say something past the outbox, which may be what it is about; if retained, again at every connect."""
        self._own.say(message, now=self._limits is not None)

    def begin(self, limits: Connected, hello: Message) -> None:
        """A new connection: who we are, our own standing state, the standing state of others, then the outbox."""
        self._limits = limits
        self._flights.begin(min(self._in_flight, limits.receive_maximum))
        self._delivery.restart()
        self._own.begin([hello, *self._own.standing(), *self._delivery.retained()])

    def fill(self, connection: Connection) -> None:
        """Send as much as the window takes."""
        while connection.connected and self._flights.free:
            if self._own.waiting:
                self._send(connection, Flight(message=self._own.next(), seq=None))
                continue
            if self._clock.mono_s() < self._pause_mono_s:
                return
            row = self._delivery.next()
            if row is None:
                return
            self._send(connection, Flight(message=row.message, seq=row.seq))

    def answer(self, published: Published) -> None:
        """The broker's word on one publication."""
        flight = self._flights.land(published.mid)
        if flight is None:
            return
        if published.code < FAILURE:
            self.published += 1
            if flight.seq is not None:
                self._delivery.delivered(flight.seq)
            elif not flight.message.payload:
                self._own.drop(flight.message)  # emptied now; no need to empty it again
            self._allow(flight.message.topic_tail)
        elif published.code == QUOTA_EXCEEDED:
            # The broker is full, not unwilling: the same again, later.
            self._pause_mono_s = self._clock.mono_s() + QUOTA_PAUSE_S
            if flight.seq is None:
                self._own.again(flight.message)
            else:
                self._delivery.put_back(flight.seq, flight.message)
        else:
            self._refuse(flight, published.code, f"{published.reason} ({published.code})")

    def lost(self, loss: Lost) -> None:
        """The connection is gone; if a message is to blame, it is parked."""
        self._limits = None
        culprit = self._flights.lose(over_a_message=loss.code in BLAMING_CODES)
        if culprit is not None:
            self._refuse(culprit, loss.code, f"the broker closes the connection over it: {loss.reason}")

    def _send(self, connection: Connection, flight: Flight) -> None:
        message, limits = flight.message, self._limits
        if limits is None:
            return
        if self._is_denied(message.topic_tail):
            self._refuse(flight, None, "its topic was denied before")
            return
        topic = self._branch.topic(message.topic_tail)
        size_bytes = len(message.payload) + len(topic) + PACKET_OVERHEAD_BYTES
        if limits.max_packet_bytes is not None and size_bytes > limits.max_packet_bytes:
            text = f"{size_bytes} bytes, the broker takes {limits.max_packet_bytes} (its max_packet_size)"
            self._refuse(flight, None, text)
            return
        mid = connection.publish(
            Publication(
                topic=topic,
                payload=message.payload,
                qos=message.qos,
                retain=message.retain and limits.retain_available,
                content_type=message.content_type,
                expiry_s=message.expiry_s,
            )
        )
        self._flights.add(mid, flight)

    def _refuse(self, flight: Flight, code: int | None, reason: str) -> None:
        message = flight.message
        subject = topic_subject(message.topic_tail)
        if flight.seq is None:
            self._own.drop(message)
        else:
            self._delivery.refused(flight.seq, reason)
        if code == NOT_AUTHORIZED:
            self.deny(message.topic_tail)
        elif not self._is_denied(message.topic_tail):
            log.warning("topic=%s event=refused reason=%s", message.topic_tail, reason)
            text = f"{message.topic_tail}: {reason}"
            self._listener(Condition(code="message-parked", subject=subject, active=True, text=text))

    def deny(self, tail: str) -> None:
        """The broker's ACL forbids this topic; it is tried again after a while, or when a person has it tried."""
        subject = topic_subject(tail)
        self._denied[subject] = self._clock.mono_s() + PROBE_S
        text = f"the broker's ACL forbids {self._branch.prefix}{tail}"
        self._listener(Condition(code="broker-denied", subject=subject, active=True, text=text))

    def _is_denied(self, tail: str) -> bool:
        # Publishing to a denied topic is not harmless: mosquitto 2.0.11 closes the connection after its refusal.
        until_mono_s = self._denied.get(topic_subject(tail))
        if until_mono_s is None or self._clock.mono_s() >= until_mono_s:
            return False
        if self._delivery.nothing_parked():  # a person had them all sent again
            self._denied = dict.fromkeys(self._denied, self._clock.mono_s())
            return False
        return True

    def _allow(self, tail: str) -> None:
        subject = topic_subject(tail)
        if self._denied.pop(subject, None) is not None:
            self._listener(Condition(code="broker-denied", subject=subject, active=False, text="accepted again"))


class _Own:
    """What the sync process says for itself: a queue, and what of it stands until it is replaced or emptied."""

    def __init__(self) -> None:
        self.waiting: deque[Message] = deque()
        self._standing: dict[str, Message] = {}

    def say(self, message: Message, *, now: bool) -> None:
        if message.retain:
            self._standing[message.topic_tail] = message
        if now:
            self.waiting.append(message)

    def standing(self) -> list[Message]:
        return list(self._standing.values())

    def begin(self, messages: list[Message]) -> None:
        self.waiting = deque(messages)

    def next(self) -> Message:
        return self.waiting.popleft()

    def again(self, message: Message) -> None:
        self.waiting.appendleft(message)

    def drop(self, message: Message) -> None:
        if self._standing.get(message.topic_tail) == message:
            del self._standing[message.topic_tail]


def topic_subject(tail: str) -> str:
    """What an alarm about a topic is about: the topic, but for the kinds that have a new one for every message."""
    kind = tail.split("/", 1)[0]
    return kind if kind in ("ack", "alarm", "cmd") else tail.replace("/", ".")
