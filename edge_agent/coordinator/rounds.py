r"""A round as the coordinator sees it: what state it is in, what becomes of each contribution, when it ends. Pure.

    offered --arrived--> collecting --filled, due--> closing --settled--> solving --solved--> published
       \--short, cancelled--> abandoned <--short, cancelled--/               \--unsolvable--> abandoned

In `closing` nothing new is taken; what was announced before the deadline and is still on its way has until the end of
the grace period. `judge` answers every contribution, `happened` finds what time and numbers have brought about, and
`advance` looks the next state up. Deadlines are wall time: they are promised to plants and outlive a restart.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace


class Phase(str, enum.Enum):
    """Where a round is."""

    OFFERED = "offered"
    COLLECTING = "collecting"
    CLOSING = "closing"
    SOLVING = "solving"
    PUBLISHED = "published"
    ABANDONED = "abandoned"


class Event(str, enum.Enum):
    """What happens to a round."""

    ARRIVED = "arrived"  # a contribution was counted
    FILLED = "filled"  # as many as are wanted, or as were invited
    DUE = "due"  # the deadline, with enough
    SHORT = "short"  # the deadline, with too few and none on its way that could help
    SETTLED = "settled"  # nothing is on its way any more, or the grace period is over
    SOLVED = "solved"
    UNSOLVABLE = "unsolvable"
    FORGOTTEN = "forgotten"  # a contribution was taken out again
    CANCELLED = "cancelled"  # by a person


class Action(str, enum.Enum):
    """What is to be done then."""

    NOTHING = "nothing"
    ADD = "add"  # to the sums
    RECOUNT = "recount"  # make the sums again from what is left
    SETTLE = "settle"  # wait for what is on its way
    SOLVE = "solve"
    PUBLISH = "publish"
    ABANDON = "abandon"


_P, _E, _A = Phase, Event, Action

# What is not listed stays and does nothing: `advance` answers every event in every phase.
TABLE: Mapping[Phase, Mapping[Event, tuple[Phase, Action]]] = {
    _P.OFFERED: {
        _E.ARRIVED: (_P.COLLECTING, _A.ADD),
        _E.DUE: (_P.CLOSING, _A.SETTLE),  # nothing has arrived, and enough is on its way
        _E.SHORT: (_P.ABANDONED, _A.ABANDON),
        _E.CANCELLED: (_P.ABANDONED, _A.ABANDON),
    },
    _P.COLLECTING: {
        _E.ARRIVED: (_P.COLLECTING, _A.ADD),
        _E.FORGOTTEN: (_P.COLLECTING, _A.RECOUNT),
        _E.FILLED: (_P.CLOSING, _A.SETTLE),
        _E.DUE: (_P.CLOSING, _A.SETTLE),
        _E.SHORT: (_P.ABANDONED, _A.ABANDON),
        _E.CANCELLED: (_P.ABANDONED, _A.ABANDON),
    },
    _P.CLOSING: {
        _E.ARRIVED: (_P.CLOSING, _A.ADD),
        _E.FORGOTTEN: (_P.CLOSING, _A.RECOUNT),
        _E.SETTLED: (_P.SOLVING, _A.SOLVE),
        _E.SHORT: (_P.ABANDONED, _A.ABANDON),
        _E.CANCELLED: (_P.ABANDONED, _A.ABANDON),
    },
    _P.SOLVING: {
        _E.FORGOTTEN: (_P.CLOSING, _A.RECOUNT),
        _E.SOLVED: (_P.PUBLISHED, _A.PUBLISH),
        _E.UNSOLVABLE: (_P.ABANDONED, _A.ABANDON),
        _E.CANCELLED: (_P.ABANDONED, _A.ABANDON),
    },
    _P.PUBLISHED: {},
    _P.ABANDONED: {},
}
ENDED = frozenset({Phase.PUBLISHED, Phase.ABANDONED})
TAKING = frozenset({Phase.OFFERED, Phase.COLLECTING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was offered: fixed when the round opens.

    `bases` are the digests that a contribution may be made against, the newest first; its place is its staleness.
    `invited` gateways were asked (0: not known), `minimum` to `maximum` contributions are wanted.
    """

    task: str
    number: int
    offer: str
    kind: str
    bases: tuple[str, ...]
    minimum: int
    maximum: int
    minimum_samples: int
    invited: int
    deadline_utc_s: float
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A round: `counted` contributions are in it, `announced` ones are on their way."""

    terms: Terms
    phase: Phase = Phase.OFFERED
    counted: int = 0
    announced: int = 0
    reason: str | None = None


def advance(state: Round, event: Event, reason: str | None = None) -> tuple[Round, Action]:
    """The round after `event`, and what is to be done."""
    phase, action = TABLE[state.phase].get(event, (state.phase, Action.NOTHING))
    counted = state.counted + (action is Action.ADD) - (action is Action.RECOUNT)
    ended = reason if phase in ENDED and state.phase not in ENDED else state.reason
    return replace(state, phase=phase, counted=counted, reason=ended), action


def happened(state: Round, now_utc_s: float) -> Event | None:
    """What time and numbers have brought about, if anything; ask again until it is None."""
    terms = state.terms
    enough = state.counted >= terms.minimum
    if state.phase in TAKING:
        if state.phase is Phase.COLLECTING and enough and state.counted >= _wanted(terms):
            return Event.FILLED
        if now_utc_s < terms.deadline_utc_s:
            return None
        return Event.DUE if state.counted + state.announced >= terms.minimum else Event.SHORT
    if state.phase is Phase.CLOSING:
        waiting = state.announced > 0 and state.counted < terms.maximum
        if waiting and now_utc_s < terms.deadline_utc_s + terms.grace_s:
            return None
        return Event.SETTLED if enough else Event.SHORT
    return None


def _wanted(terms: Terms) -> int:
    return min(terms.maximum, terms.invited) if terms.invited else terms.maximum


# --- one contribution -----------------------------------------------------------------------------------------------


class Answer(str, enum.Enum):
    """What becomes of a contribution."""

    COUNT = "count"
    LATE = "late"  # kept for the next round
    AGAIN = "again"  # answered before: say the same
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a contribution says of itself; `sender` is who the broker says it came from, `sha256` that of its bytes."""

    id: str
    sender: str
    gateway: str
    task: str
    number: int
    offer: str
    kind: str
    base: str
    sha256: str
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the ledger holds that bears on a claim.

    `same_id`: the bytes (sha256) that this gateway's same id was answered for. `same_bytes_in`: the round in which this
    gateway's same delta was counted. `in_round`: it has another contribution in this round, `waiting`: one for the
    next. `announced`: this id was announced in time. `takes_part`: it is registered, within the cohort and not
    forgotten.
    """

    takes_part: bool
    same_id: str | None = None
    same_bytes_in: int | None = None
    in_round: bool = False
    waiting: bool = False
    announced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The answer; for REFUSE with the reason that the plant is told. `staleness`: how many models old its base is."""

    answer: Answer
    reason: str | None = None
    staleness: int = 0


def judge(state: Round, claim: Claim, known: Known, now_utc_s: float) -> Ruling:
    """What becomes of the contribution; nothing is counted twice, and every refusal says why.

    An AGAIN says nothing new: its first answer stands, also where the round has gone on.
    """
    terms = state.terms
    if refusal := _who(claim, known):
        return Ruling(answer=Answer.REFUSE, reason=refusal)
    if known.same_id is not None:
        return Ruling(answer=Answer.AGAIN)
    if refusal := _what(terms, claim, known):
        return Ruling(answer=Answer.REFUSE, reason=refusal)
    staleness = terms.bases.index(claim.base)
    if known.in_round:
        reason = f"round {terms.number} already holds a contribution of {claim.gateway}; each gateway counts once"
        return Ruling(answer=Answer.REFUSE, reason=reason)
    if _is_open(state, known, now_utc_s):
        return Ruling(answer=Answer.COUNT, staleness=staleness)
    if known.waiting:
        reason = f"a contribution of {claim.gateway} already waits for the round after {terms.number}"
        return Ruling(answer=Answer.REFUSE, reason=reason)
    if state.phase is Phase.PUBLISHED and terms.kind == "delta" and staleness + 1 >= len(terms.bases):
        reason = f"round {terms.number} has ended and its base {_short(claim.base)} is replaced; learn on the new one"
        return Ruling(answer=Answer.REFUSE, reason=reason)
    return Ruling(answer=Answer.LATE, staleness=staleness)


def _who(claim: Claim, known: Known) -> str | None:
    if claim.sender != claim.gateway:
        return f"says it is {claim.gateway} and came from {claim.sender}"
    if not known.takes_part:
        return f"{claim.gateway} does not take part in task {claim.task}; it is not registered, or not of its cohort"
    if known.same_id is not None and known.same_id != claim.sha256:
        return f"id {claim.id} was already used for other bytes ({_short(known.same_id)})"
    return None


def _what(terms: Terms, claim: Claim, known: Known) -> str | None:
    if claim.task != terms.task:
        return f"task {claim.task}, this round is of task {terms.task}"
    if claim.number > terms.number:
        return (
            f"round {claim.number}, the coordinator is at round {terms.number}; was its database restored from an "
            "older copy? `edge-coordinator renew` begins a new epoch"
        )
    if claim.number == terms.number and claim.offer != terms.offer:
        return f"offer {claim.offer}, round {terms.number} was offered as {terms.offer}"
    if claim.kind != terms.kind:
        return f"a contribution of kind {claim.kind}, round {terms.number} wants {terms.kind}"
    if claim.base not in terms.bases:
        return f"base is {_short(claim.base)}, the round wants {_short(terms.bases[0])}"
    if claim.samples < terms.minimum_samples:
        return f"{claim.samples} samples, the round wants at least {terms.minimum_samples}"
    if claim.kind == "delta" and known.same_bytes_in is not None:
        return f"the same delta was counted in round {known.same_bytes_in}"
    return None


def _is_open(state: Round, known: Known, now_utc_s: float) -> bool:
    terms = state.terms
    if state.counted >= terms.maximum:
        return False
    if state.phase in TAKING and now_utc_s <= terms.deadline_utc_s:
        return True
    in_grace = state.phase in TAKING | {Phase.CLOSING} and now_utc_s <= terms.deadline_utc_s + terms.grace_s
    return known.announced and in_grace


def _short(digest: str) -> str:
    return digest[:12]
