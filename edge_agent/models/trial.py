"""A candidate on trial, as a record and as plain values for the file that holds it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from edge_agent.learn.release import Stage
from edge_agent.learn.tally import CELLS, Tally
from edge_agent.models.bundle import SHA256
from edge_agent.models.fields import Field

_COUNT_MAX = 2**53
_LATEST_UTC_S = 2.0**40
_FIGURES = ("blamed", "reference_errors", "candidate_errors", "alone", "slow", "timed", "reference_slow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One candidate's trial. `reference` is the bundle that a rollback returns to: the last one that was kept.

    `since_utc_s`: when the stage began. `reasons`: of the last step. `won` of `sealed` parts of the hold-out are those
    where only the candidate is right. `in_use` is set while a process judges with it on probation and cleared by a
    clean stop: found set at a start, it is a crash. `resting` is the probation that goes on if this one is dismissed.
    """

    candidate: str
    reference: str
    stage: Stage
    since_utc_s: float
    by: str
    reasons: tuple[str, ...] = ()
    won: int = 0
    sealed: int = 0
    shadow: Tally = field(default_factory=Tally)
    probation: Tally = field(default_factory=Tally)
    crashes: int = 0
    in_use: bool = False
    resting: Trial | None = None

    @property
    def tally(self) -> Tally:
        """That of the present stage."""
        return self.probation if self.stage is Stage.PROBATION else self.shadow


def to_plain(trial: Trial) -> dict[str, Any]:
    """Plain values for JSON."""
    return {
        "candidate": trial.candidate,
        "reference": trial.reference,
        "stage": trial.stage.value,
        "since_utc_s": trial.since_utc_s,
        "by": trial.by,
        "reasons": list(trial.reasons),
        "won": trial.won,
        "sealed": trial.sealed,
        "shadow": _plain_tally(trial.shadow),
        "probation": _plain_tally(trial.probation),
        "crashes": trial.crashes,
        "in_use": trial.in_use,
        "resting": None if trial.resting is None else to_plain(trial.resting),
    }


def from_plain(value: Field) -> Trial:
    """The trial that `to_plain` described.

    Raises:
        BadBundleError: it is damaged, or of another version.
    """
    resting = value.get("resting")
    return Trial(
        candidate=value.get("candidate").text(SHA256),
        reference=value.get("reference").text(SHA256),
        stage=Stage(value.get("stage").choice(tuple(stage.value for stage in Stage))),
        since_utc_s=value.get("since_utc_s").number(0, _LATEST_UTC_S),
        by=str(value.get("by").value),
        reasons=tuple(str(reason.value) for reason in value.get("reasons").items(0, 100)),
        won=value.get("won").integer(0, _COUNT_MAX),
        sealed=value.get("sealed").integer(0, _COUNT_MAX),
        shadow=_tally(value.get("shadow")),
        probation=_tally(value.get("probation")),
        crashes=value.get("crashes").integer(0, _COUNT_MAX),
        in_use=value.get("in_use").boolean(),
        # A probation has none of its own: one level is all there can be.
        resting=None if resting.value is None else replace(from_plain(resting), resting=None),
    )


def _plain_tally(tally: Tally) -> dict[str, Any]:
    plain: dict[str, Any] = {"verdicts": list(tally.verdicts), "cleared": list(tally.cleared)}
    plain |= {name: getattr(tally, name) for name in _FIGURES}
    return plain | {"reference_ms": tally.reference_ms, "candidate_ms": tally.candidate_ms}


def _tally(value: Field) -> Tally:
    verdicts, cleared = (
        tuple(count.integer(0, _COUNT_MAX) for count in value.get(name).items(CELLS, CELLS))
        for name in ("verdicts", "cleared")
    )
    figures = {name: value.get(name).integer(0, _COUNT_MAX) for name in _FIGURES}
    reference_ms, candidate_ms = (value.get(name).number(0, 1e300) for name in ("reference_ms", "candidate_ms"))
    return Tally(verdicts=verdicts, cleared=cleared, reference_ms=reference_ms, candidate_ms=candidate_ms, **figures)
