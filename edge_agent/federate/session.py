"""What a gateway does in a round, as a table: a session for each task, its state a row, so that a reboot resumes. Pure.

    IDLE --offer--> OFFERED --begun--> LEARNING --learned--> UPLOADING --receipt--> RECEIPTED --cleared--> IDLE
                       |                  |failed               |
                       +--declined--------+--> IDLE             +--a newer offer waits for the receipt; one of another
                                                                   base ends the upload: it would be refused

A contribution that is late is still sent: the coordinator answers it, counts it in the next round if it fits its base,
and then that round needs no other from here. What is no longer wanted is said, never silently dropped.

A step takes an event and gives the next session and what is to be done; write the session before doing it. `resume`
says what is to be done after a restart.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from edge_agent.sync.fleet_payloads import ContributionPayload, OfferPayload, ReceiptPayload

# How long after the deadline a contribution waits for its receipt: a plant may be cut off for a week.
RECEIPT_WAIT_S = 14 * 24 * 3600.0


class Phase(str, enum.Enum):
    """Where a session is."""

    IDLE = "idle"
    OFFERED = "offered"
    LEARNING = "learning"
    UPLOADING = "uploading"
    RECEIPTED = "receipted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`last_round` and `last_offer` are of the newest round that was answered with a receipt. `waiting` is an offer
    that came while another contribution was on its way.
    """

    task: str
    phase: Phase = Phase.IDLE
    offer: OfferPayload | None = None
    waiting: OfferPayload | None = None
    contribution: ContributionPayload | None = None
    receipt: ReceiptPayload | None = None
    last_round: int = 0
    last_offer: str | None = None


# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """`fl/offer` came, at `utc_s` by this gateway's clock."""

    offer: OfferPayload
    utc_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Learning for offer `offer` has begun."""

    offer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The contribution is on disk, bytes, residual and manifest in one transaction."""

    contribution: ContributionPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Nothing can be given to offer `offer`: too few samples, no base, no room, no torch; or learning failed."""

    offer: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipted:
    """`fl/receipt` came, and its signature is the coordinator's."""

    receipt: ReceiptPayload


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """The bytes of the contribution are off the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticked:
    """Time has passed: now it is `utc_s`."""

    utc_s: float


Event: TypeAlias = Offered | Begun | Learned | Failed | Receipted | Cleared | Ticked


# --- what is to be done ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Say on `fl/up` that nothing will come for this offer, with figure `last_round` so that a coordinator that was set
    back to an older database can catch up.
    """

    offer: OfferPayload
    reason: str
    last_round: int


class Do(enum.Enum):
    """LEARN for the session's offer, then hand in Begun and Learned or Failed. STOP learning. UPLOAD: say the
    contribution on `fl/up` and serve its transfer. DISCARD the bytes of a contribution that nobody will count, with its
    residual (the one before it stands). CLEAR the bytes of one that was counted, and keep its residual. Hand in Cleared
    after either.
    """

    LEARN = "learn"
    STOP = "stop"
    UPLOAD = "upload"
    DISCARD = "discard"
    CLEAR = "clear"


Action: TypeAlias = Decline | Do
Step: TypeAlias = tuple[Session, tuple[Action, ...]]


def step(session: Session, event: Event) -> Step:
    """What follows from `event`; every event has an answer in every phase."""
    return _TABLE[session.phase][type(event)](session, event)


def resume(session: Session) -> Step:
    """After a restart: what was under way goes on. Learning begins anew (it resumes from its own checkpoint)."""
    if session.phase is Phase.LEARNING:
        return replace(session, phase=Phase.OFFERED), (Do.LEARN,)
    if session.phase is Phase.RECEIPTED and session.receipt is not None:
        return session, (_after(session.receipt),)
    return session, {Phase.OFFERED: (Do.LEARN,), Phase.UPLOADING: (Do.UPLOAD,)}.get(session.phase, ())


# --- offers ---------------------------------------------------------------------------------------------------------


def _take(session: Session, event: Offered) -> Step:
    offer = event.offer
    if offer.id in {session.last_offer, session.offer.id if session.offer else None}:
        return session, ()  # a repeat of what was answered, or is in hand
    if offer.task != session.task:
        return session, (_decline(session, offer, f"task {offer.task}, this session is for {session.task}"),)
    if offer.round <= session.last_round:
        reason = (
            f"round {offer.round} was answered here already, the last one is {session.last_round}; the coordinator's "
            "database is older than what this gateway contributed: let it go on with a later round"
        )
        return session, (_decline(session, offer, reason),)
    if event.utc_s > offer.deadline_utc_s:
        late_s = event.utc_s - offer.deadline_utc_s
        return session, (_decline(session, offer, f"came {late_s:.0f} s after its deadline {offer.deadline}"),)
    return replace(session, phase=Phase.OFFERED, offer=offer, contribution=None, receipt=None), (Do.LEARN,)


def _take_newer(session: Session, event: Offered) -> Step:
    """In OFFERED and LEARNING: the newer offer counts, a round that was closed takes nothing in time any more."""
    if _older(event.offer, session.offer):
        return session, ()
    taken, actions = _take(replace(session, offer=None), event)
    if taken.phase is not Phase.OFFERED or taken.offer is not event.offer:
        return session, actions
    return taken, (Do.STOP, *actions)


def _wait(session: Session, event: Offered) -> Step:
    """In UPLOADING and RECEIPTED: the receipt comes first. Against another base it can only be a refusal."""
    assert session.offer is not None  # noqa: S101 - these phases have one
    if _older(event.offer, session.waiting or session.offer):
        return session, ()
    if session.phase is Phase.UPLOADING and event.offer.base != session.offer.base:
        taken, actions = _take(replace(session, offer=None), event)
        if taken.offer is not event.offer:
            return session, actions
        return replace(taken, waiting=None), (Do.DISCARD, *actions)
    return replace(session, waiting=event.offer), ()


def _older(offer: OfferPayload, than: OfferPayload | None) -> bool:
    return than is not None and (offer.id == than.id or offer.task != than.task or offer.round < than.round)


def _decline(session: Session, offer: OfferPayload, reason: str) -> Decline:
    return Decline(offer=offer, reason=reason, last_round=session.last_round)


# --- learning and sending -------------------------------------------------------------------------------------------


def _begun(session: Session, event: Begun) -> Step:
    mine = session.offer is not None and event.offer == session.offer.id
    return (replace(session, phase=Phase.LEARNING), ()) if mine else (session, ())


def _learned(session: Session, event: Learned) -> Step:
    """Only what was made for the offer in hand, against its base, is sent."""
    found, offer = event.contribution, session.offer
    if offer is None or (found.offer, found.base, found.state) != (offer.id, offer.base, "ready"):
        return session, (Do.DISCARD,)
    return replace(session, phase=Phase.UPLOADING, contribution=found), (Do.UPLOAD,)


def _learned_again(session: Session, event: Learned) -> Step:
    """While one is on its way: the same one is in hand already, another is of no use."""
    same = session.contribution is not None and event.contribution.id == session.contribution.id
    return session, () if same else (Do.DISCARD,)


def _discard(session: Session, _event: Learned) -> Step:
    return session, (Do.DISCARD,)


def _failed(session: Session, event: Failed) -> Step:
    offer = session.offer
    if offer is None or event.offer != offer.id:
        return session, ()
    return _idle(session), (_decline(session, offer, event.reason),)


def _upload_failed(session: Session, event: Failed) -> Step:
    """The bytes are gone or damaged: nothing can be sent, and what waits is taken up."""
    declined, actions = _failed(session, event)
    return (_next(declined), (Do.DISCARD, *actions, *_learn(declined))) if actions else (session, ())


def _begin_expired(session: Session, event: Ticked) -> Step:
    """In OFFERED: learning has not even begun at the deadline."""
    offer = session.offer
    if offer is None or event.utc_s <= offer.deadline_utc_s:
        return session, ()
    return _idle(session), (Do.STOP, _decline(session, offer, f"not begun by the deadline {offer.deadline}"))


def _upload_expired(session: Session, event: Ticked) -> Step:
    """In UPLOADING: no coordinator answered for weeks."""
    offer = session.offer
    if offer is None or event.utc_s <= offer.deadline_utc_s + RECEIPT_WAIT_S:
        return session, ()
    idle = _idle(session)
    return _next(idle), (Do.DISCARD, *_learn(idle))


# --- receipts -------------------------------------------------------------------------------------------------------


def _receipted(session: Session, event: Receipted) -> Step:
    receipt, contribution = event.receipt, session.contribution
    if contribution is None or contribution.manifest is None or receipt.id != contribution.id:
        return session, ()
    if receipt.sha256 not in {None, contribution.manifest.sha256}:
        return session, ()  # of other bytes: not for what is on this disk
    # What was late stands in for the round that waits.
    covered = session.waiting if receipt.state == "late" else None
    last = covered or session.offer
    answered = replace(
        session,
        phase=Phase.RECEIPTED,
        receipt=receipt,
        waiting=None if covered else session.waiting,
        last_round=max(session.last_round, last.round if last else 0),
        last_offer=last.id if last else session.last_offer,
    )
    return answered, (_after(receipt),)


def _after(receipt: ReceiptPayload) -> Do:
    return Do.DISCARD if receipt.state == "refused" else Do.CLEAR


def _receipted_again(session: Session, _event: Receipted) -> Step:
    return session, (_after(session.receipt),) if session.receipt else ()


def _cleared(session: Session, _event: Cleared) -> Step:
    idle = _idle(session)
    return _next(idle), _learn(idle)


def _idle(session: Session) -> Session:
    return replace(session, phase=Phase.IDLE, offer=None, contribution=None, receipt=None)


def _next(idle: Session) -> Session:
    """The offer that waited is taken up; whether it is late by now, the next tick says."""
    return replace(idle, phase=Phase.OFFERED, offer=idle.waiting, waiting=None) if idle.waiting else idle


def _learn(idle: Session) -> tuple[Action, ...]:
    return (Do.LEARN,) if idle.waiting else ()


def _stay(session: Session, _event: Any) -> Step:
    return session, ()


_Rule: TypeAlias = Callable[[Session, Any], Step]
_TABLE: Mapping[Phase, Mapping[type, _Rule]] = {
    Phase.IDLE: {
        Offered: _take,
        Begun: _stay,
        Learned: _discard,
        Failed: _stay,
        Receipted: _stay,
        Cleared: _stay,
        Ticked: _stay,
    },
    Phase.OFFERED: {
        Offered: _take_newer,
        Begun: _begun,
        Learned: _learned,
        Failed: _failed,
        Receipted: _stay,
        Cleared: _stay,
        Ticked: _begin_expired,
    },
    Phase.LEARNING: {
        Offered: _take_newer,
        Begun: _stay,
        Learned: _learned,
        Failed: _failed,
        Receipted: _stay,
        Cleared: _stay,
        Ticked: _stay,
    },
    Phase.UPLOADING: {
        Offered: _wait,
        Begun: _stay,
        Learned: _learned_again,
        Failed: _upload_failed,
        Receipted: _receipted,
        Cleared: _stay,
        Ticked: _upload_expired,
    },
    Phase.RECEIPTED: {
        Offered: _wait,
        Begun: _stay,
        Learned: _learned_again,
        Failed: _stay,
        Receipted: _receipted_again,
        Cleared: _cleared,
        Ticked: _stay,
    },
}
