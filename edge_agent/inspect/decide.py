"""From an assessment to a verdict: thresholds, the band of doubt, n of m looks, hysteresis. Pure; one table.

    score --look_at--> CLEAR | DOUBTFUL | HIT | PROVEN | BLIND --TABLE[state]--> verdict, reason, next state

A HIT is a score at the threshold or above; it is PROVEN when it is at least the n-th hit of the last m looks. Lines
that look at each part once keep n = m = 1: then every hit is proven and no look knows of another.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from edge_agent.inspect.localise import REGION_SHARE, region
from edge_agent.records import Assessment, HoldReason, Region, Verdict

LOOKS_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How one camera's scores become verdicts.

    A score >= `threshold` is a hit, one in [`hold_below`, `threshold`) a HOLD. FAIL needs `fails_needed` hits among the
    last `looks` looks, the present one included; until then a hit is a HOLD. After a FAIL the threshold is lower by
    `hysteresis` until a look stays below it. `region_share` is the part of the peak heat that still belongs to the box.
    A part that would PASS is a HOLD where it is as unlike anything known as `hold_unlike`; None: it passes.

    Raises:
        ValueError: numbers out of range; the configuration checks them first.
    """

    threshold: float = 0.5
    hold_below: float = 0.5
    fails_needed: int = 1
    looks: int = 1
    hysteresis: float = 0.0
    region_share: float = REGION_SHARE
    hold_unlike: float | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.hold_below <= self.threshold <= 1.0:
            raise ValueError(
                f"hold_below {self.hold_below}, threshold {self.threshold}: expected 0 <= hold_below <= threshold <= 1"
            )
        if not 1 <= self.fails_needed <= self.looks <= LOOKS_MAX:
            raise ValueError(f"{self.fails_needed} of {self.looks} looks: expected 1 <= n <= m <= {LOOKS_MAX}")
        if not (0.0 <= self.hysteresis <= 1.0 and 0.0 < self.region_share <= 1.0):
            raise ValueError(f"hysteresis {self.hysteresis}, region_share {self.region_share}: expected 0 to 1")


class State(enum.Enum):
    """What the line's last counted look left behind."""

    QUIET = "quiet"
    FAILING = "failing"  # the last counted look was a FAIL: the threshold is lower by the hysteresis


class Look(enum.Enum):
    """What one score says."""

    CLEAR = "clear"
    DOUBTFUL = "doubtful"
    HIT = "hit"  # not yet n of m
    PROVEN = "proven"
    BLIND = "blind"  # the score is not a number between 0 and 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a camera remembers from look to look: its state, and which of the last looks were hits, oldest first."""

    state: State = State.QUIET
    hits: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its grounds. `reason` is set exactly when the verdict is HOLD; `threshold` is the one that was
    applied (lower by the hysteresis while failing), None when the score was not looked at; `where` only for FAIL and
    for HOLD in doubt, where the model says where or gives heat.
    """

    verdict: Verdict
    reason: HoldReason | None
    threshold: float | None
    where: Region | None = None


_PASS = (Verdict.PASS, None)
_FAIL = (Verdict.FAIL, None)
_UNSURE = (Verdict.HOLD, HoldReason.UNSURE)
_BLIND = (Verdict.HOLD, HoldReason.MODEL)

TABLE: dict[State, dict[Look, tuple[tuple[Verdict, HoldReason | None], State]]] = {
    State.QUIET: {
        Look.CLEAR: (_PASS, State.QUIET),
        Look.DOUBTFUL: (_UNSURE, State.QUIET),
        Look.HIT: (_UNSURE, State.QUIET),
        Look.PROVEN: (_FAIL, State.FAILING),
        Look.BLIND: (_BLIND, State.QUIET),
    },
    State.FAILING: {
        Look.CLEAR: (_PASS, State.QUIET),
        Look.DOUBTFUL: (_UNSURE, State.QUIET),
        # Proven once is enough until a look stays below the lowered threshold.
        Look.HIT: (_FAIL, State.FAILING),
        Look.PROVEN: (_FAIL, State.FAILING),
        Look.BLIND: (_BLIND, State.FAILING),
    },
}


def decide(assessment: Assessment, rules: Rules, memory: Memory) -> tuple[Decision, Memory]:
    """The verdict on one part and what to remember of it.

    A part that the assessor itself holds (good-only start) is a HOLD with that reason and is not counted as a look;
    neither is a score that is not a number.
    """
    if assessment.hold is not None:
        return Decision(verdict=Verdict.HOLD, reason=assessment.hold, threshold=None), memory
    threshold = applied_threshold(rules, memory.state)
    look, hits = look_at(assessment.score, rules, memory)
    (verdict, reason), state = TABLE[memory.state][look]
    if verdict is Verdict.PASS and _is_unlike(assessment, rules):
        verdict, reason = _UNSURE
    where = None
    if look not in (Look.CLEAR, Look.BLIND):
        where = assessment.where
        if where is None and assessment.heat is not None:
            where = region(assessment.heat, rules.region_share)
    decision = Decision(verdict=verdict, reason=reason, threshold=threshold, where=where)
    return decision, Memory(state=state, hits=hits)


def _is_unlike(assessment: Assessment, rules: Rules) -> bool:
    if rules.hold_unlike is None or assessment.unlikeness is None:
        return False
    return not assessment.unlikeness < rules.hold_unlike  # also NaN


def applied_threshold(rules: Rules, state: State) -> float:
    """The score from which a look is a hit in this state."""
    return rules.threshold if state is State.QUIET else max(0.0, rules.threshold - rules.hysteresis)


def look_at(score: float, rules: Rules, memory: Memory) -> tuple[Look, tuple[bool, ...]]:
    """What the score says in this state, and the hits to remember with it."""
    if not 0.0 <= score <= 1.0:  # also NaN
        return Look.BLIND, memory.hits
    hit = score >= applied_threshold(rules, memory.state)
    window = (*memory.hits, hit)[-rules.looks :]
    if hit:
        look = Look.PROVEN if sum(window) >= rules.fails_needed else Look.HIT
    else:
        look = Look.DOUBTFUL if score >= rules.hold_below else Look.CLEAR
    return look, window if rules.looks > 1 else ()


def with_thresholds(rules: Rules, threshold: float | None, hold_below: float | None) -> Rules:
    """The rules with a camera's own thresholds in place of the model's; None leaves one as it is.

    Where only one is given and the other would no longer fit, the other follows: the band of doubt closes.
    """
    upper = rules.threshold if threshold is None else threshold
    lower = rules.hold_below if hold_below is None else hold_below
    if threshold is None:
        upper = max(upper, lower)
    elif hold_below is None:
        lower = min(lower, upper)
    return replace(rules, threshold=upper, hold_below=lower)
