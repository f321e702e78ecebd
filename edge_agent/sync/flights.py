"""What was sent and is not acknowledged: a window, and how a message that kills connections is found. Pure.

A broker may close the connection over a message (too large: MQTT 5 reason 149; with mosquitto's message_size_limit a
plain protocol error, 130) rather than refuse it. Sent again after each reconnect it would block all others for ever
(6 disconnects in 6 s were measured). So after such a loss messages go one at a time, and one that was alone in flight
when the connection broke again is named.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edge_agent.sync.messages import Message

# A broker that says why leaves no doubt; a bare loss may be the network, five in a row over one message are not.
STRIKES_MAX = 5
SUSPICIOUS_STRIKES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A message on its way. `seq` is its row in the outbox, None when it never was a row."""

    message: Message
    seq: int | None


class Flights:
    """Messages in flight on one connection after another, by message id."""

    def __init__(self) -> None:
        self._flying: dict[int, Flight] = {}
        self._window = 0
        self._one_by_one = 0  # so many answers are still to come before the window opens again
        self._strikes: Counter[tuple[str, int | None]] = Counter()

    def __len__(self) -> int:
        return len(self._flying)

    @property
    def free(self) -> int:
        """How many more may be sent now."""
        return max(0, min(self._window, 1 if self._one_by_one else self._window) - len(self._flying))

    def begin(self, window: int) -> None:
        """A new connection that takes `window` messages at a time."""
        self._flying.clear()
        self._window = window

    def add(self, mid: int, flight: Flight) -> None:
        self._flying[mid] = flight

    def land(self, mid: int) -> Flight | None:
        """The broker answered, well or badly; None when the number is not ours."""
        flight = self._flying.pop(mid, None)
        if flight is not None:
            self._one_by_one = max(0, self._one_by_one - 1)
            self._strikes.pop(_key(flight), None)
        return flight

    def lose(self, *, over_a_message: bool) -> Flight | None:
        """The connection is gone; the message that is to blame, once that is known.

        `over_a_message`: the broker's reason says that a packet of ours was at fault.
        """
        flying = list(self._flying.values())
        self._flying.clear()
        self._window = 0
        if not flying:
            return None
        # Brokers answer in order, so a message that is at fault is the oldest one without an answer, again and again.
        key = _key(flying[0])
        self._strikes[key] += 1
        if len(flying) > 1:
            if over_a_message or self._strikes[key] >= SUSPICIOUS_STRIKES:
                self._one_by_one = max(self._one_by_one, len(flying))
            return None
        if over_a_message or self._strikes[key] >= STRIKES_MAX:
            del self._strikes[key]
            self._one_by_one = max(0, self._one_by_one - 1)
            return flying[0]
        self._one_by_one = max(self._one_by_one, 1)
        return None


def _key(flight: Flight) -> tuple[str, int | None]:
    return flight.message.topic_tail, flight.seq
