"""Which version two sides speak, and whose memory is newer. Pure.

A coordinator speaks the current version of the protocol and the one before it, so that it can be updated first and the
gateways one by one.

Its database may be a restored backup, older than what it promised. So every gateway remembers the highest mark it was
shown, (epoch, round), and says it when it joins. A coordinator that is behind such a mark offers nothing until a person
begins a new epoch; a gateway takes no offer below its mark. Both say why.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_agent.errors import RefusedError

NEWEST = 1
OLDEST = max(1, NEWEST - 1)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Mark:
    """How far a coordinator has come in a task: rounds count up within an epoch, an epoch begins by hand."""

    epoch: int
    number: int

    def __str__(self) -> str:
        return f"epoch {self.epoch}, round {self.number}"


def negotiate(oldest: int, newest: int) -> int:
    """The newest version that both sides speak; the other side speaks `oldest` to `newest`.

    Raises:
        RefusedError: none; the message says which side to update.
    """
    if newest < OLDEST:
        raise RefusedError(f"speaks version {oldest} to {newest}, expected at least {OLDEST}: update the gateway")
    if oldest > NEWEST or oldest > newest:
        raise RefusedError(f"speaks version {oldest} to {newest}, expected at most {NEWEST}: update the coordinator")
    return min(newest, NEWEST)


def check_coordinator(ours: Mark, seen: Mark | None, gateway: str) -> None:
    """At the coordinator: is our database at least as new as what `gateway` was shown?

    Raises:
        RefusedError: it is older.
    """
    if seen is not None and seen > ours:
        raise RefusedError(
            f"{gateway} was shown {seen}, this database is at {ours}: it is older than its gateways, probably a "
            f"restored backup. `edge-coordinator renew` begins epoch {seen.epoch + 1}; nothing is offered until then"
        )


def check_offer(offered: Mark, seen: Mark | None) -> None:
    """At the gateway: may an offer with this mark be taken? Its own round may be offered again.

    Raises:
        RefusedError: it is below what was seen: an old message, or a coordinator with an older database.
    """
    if seen is not None and offered < seen:
        raise RefusedError(
            f"offer of {offered}, and {seen} was already seen: an old message, or a coordinator with an older database"
        )


def renewed(ours: Mark, highest_seen: Mark | None) -> Mark:
    """The mark with which a new epoch begins: above everything that anybody was shown, and no number comes twice."""
    seen = highest_seen or ours
    return Mark(epoch=max(ours.epoch, seen.epoch) + 1, number=max(ours.number, seen.number))
