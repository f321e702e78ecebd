"""A session as a row of a table: what a reboot resumes from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from edge_agent.errors import BadMessageError
from edge_agent.federate import messages
from edge_agent.federate.session import Phase, Session
from edge_agent.sync.fleet_payloads import ContributionPayload, OfferPayload, ReceiptPayload

Row: TypeAlias = Mapping[str, str | int | bytes | None]


def to_row(session: Session) -> Row:
    """The columns of a session: text, integers and JSON."""
    records = (session.offer, session.waiting, session.contribution, session.receipt)
    written = [None if record is None else messages.write(record) for record in records]
    return {
        "task": session.task,
        "phase": session.phase.value,
        "last_round": session.last_round,
        "last_offer": session.last_offer,
        **dict(zip(("offer", "waiting", "contribution", "receipt"), written, strict=True)),
    }


def from_row(row: Mapping[str, Any]) -> Session:
    """The session of a row.

    Raises:
        BadMessageError: no row that this program wrote; begin with a new session, the coordinator repeats its offer.
    """
    try:
        session = Session(
            task=row["task"],
            phase=Phase(row["phase"]),
            offer=_read(OfferPayload, row["offer"]),
            waiting=_read(OfferPayload, row["waiting"]),
            contribution=_read(ContributionPayload, row["contribution"]),
            receipt=_read(ReceiptPayload, row["receipt"]),
            last_round=row["last_round"],
            last_offer=row["last_offer"],
        )
    except (LookupError, TypeError, ValueError) as error:
        raise BadMessageError(f"session row: {type(error).__name__} {error}; begin with a new session") from error
    needed = _NEEDS[session.phase]
    if any(getattr(session, name) is None for name in needed):
        raise BadMessageError(
            f"session row: phase {session.phase.value} lacks one of {needed}; begin with a new session"
        )
    return session


_NEEDS: Mapping[Phase, tuple[str, ...]] = {
    Phase.IDLE: (),
    Phase.OFFERED: ("offer",),
    Phase.LEARNING: ("offer",),
    Phase.UPLOADING: ("offer", "contribution"),
    Phase.RECEIPTED: ("offer", "contribution", "receipt"),
}


def _read(kind: type[messages.Record], payload: bytes | None) -> messages.Record | None:
    return None if payload is None else messages.read(kind, payload)
