"""Two models judge the same live parts: how often each said what, and what shares that leaves possible. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_agent.records import Verdict

STEPS = 60  # of halving: the interval's ends to 1e-18
VERDICTS = (Verdict.PASS, Verdict.FAIL, Verdict.HOLD)
CELLS = len(VERDICTS) ** 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinions:
    """One part as both saw it: verdicts, None where a model failed, and the milliseconds that each took."""

    reference: Verdict | None
    candidate: Verdict | None
    reference_ms: float
    candidate_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What came of one stage so far. `verdicts`: how many parts the reference called i and the candidate j, row by row
    in the order of VERDICTS; `cleared`: those of them of which people said that the candidate is right, `blamed`: how
    many of which they said that the reference is. `alone`: parts that only the model in force judged. `slow` of the
    `timed` ones took the candidate longer than the limit, `reference_slow` the reference. Milliseconds are sums over
    the parts that both judged.
    """

    verdicts: tuple[int, ...] = (0,) * CELLS
    cleared: tuple[int, ...] = (0,) * CELLS
    blamed: int = 0
    reference_errors: int = 0
    candidate_errors: int = 0
    alone: int = 0
    slow: int = 0
    timed: int = 0
    reference_slow: int = 0
    reference_ms: float = 0.0
    candidate_ms: float = 0.0

    @property
    def parts(self) -> int:
        """Parts that both judged."""
        return sum(self.verdicts)

    @property
    def differing(self) -> int:
        """Parts on which they differ."""
        return self.parts - sum(self.verdicts[cell(verdict, verdict)] for verdict in VERDICTS)

    @property
    def suspicious(self) -> int:
        """Parts on which they differ, less those of which people said that the candidate is right."""
        return self.differing - sum(self.cleared)

    @property
    def missed(self) -> int:
        """Parts that the reference fails and the candidate passes, less those where people agree with it."""
        where = cell(Verdict.FAIL, Verdict.PASS)
        return self.verdicts[where] - self.cleared[where]

    @property
    def failed_before(self) -> int:
        """Parts that the reference fails, less those where people say it is wrong."""
        cells = [cell(Verdict.FAIL, verdict) for verdict in VERDICTS]
        return sum(self.verdicts[where] - self.cleared[where] for where in cells)

    @property
    def asked(self) -> int:
        """Parts that the candidate was asked about."""
        return self.parts + self.reference_errors + self.candidate_errors


def cell(reference: Verdict, candidate: Verdict) -> int:
    """Where a pair of verdicts is counted."""
    return VERDICTS.index(reference) * len(VERDICTS) + VERDICTS.index(candidate)


def counted(tally: Tally, opinions: Opinions, latency_ms: float | None) -> Tally:
    """The tally with one part more."""
    if opinions.candidate is None:
        return replace(tally, candidate_errors=tally.candidate_errors + 1)
    timed = replace(
        tally,
        slow=tally.slow + (latency_ms is not None and opinions.candidate_ms > latency_ms),
        timed=tally.timed + 1,
        reference_slow=tally.reference_slow + (latency_ms is not None and opinions.reference_ms > latency_ms),
        reference_ms=tally.reference_ms + opinions.reference_ms,
        candidate_ms=tally.candidate_ms + opinions.candidate_ms,
    )
    if opinions.reference is None:
        return replace(timed, reference_errors=tally.reference_errors + 1)
    return replace(timed, verdicts=_one_more(tally.verdicts, cell(opinions.reference, opinions.candidate)))


def alone(tally: Tally, candidate_ms: float | None, latency_ms: float | None) -> Tally:
    """The tally with one part more that only the model in force judged; `candidate_ms` where that is the candidate."""
    if candidate_ms is None:
        return replace(tally, alone=tally.alone + 1)
    slow = tally.slow + (latency_ms is not None and candidate_ms > latency_ms)
    return replace(tally, alone=tally.alone + 1, timed=tally.timed + 1, slow=slow)


def heard(tally: Tally, reference: Verdict, candidate: Verdict, *, defect: bool) -> Tally:
    """The tally after people said of a part on which the two differ whether it is a defect; HOLD is never right."""
    right = Verdict.FAIL if defect else Verdict.PASS
    if candidate is right:
        return replace(tally, cleared=_one_more(tally.cleared, cell(reference, candidate)))
    return replace(tally, blamed=tally.blamed + (reference is right))


def _one_more(counts: tuple[int, ...], where: int) -> tuple[int, ...]:
    return (*counts[:where], counts[where] + 1, *counts[where + 1 :])


def share_interval(hits: int, parts: int, confidence: float) -> tuple[float, float]:
    """The shares that `hits` of `parts` leave possible, by an interval that holds however often one looks.

    A uniform mixture of likelihood ratios is a martingale under the true share, so it ever exceeds 1 / (1 - confidence)
    with a chance of at most 1 - confidence (Ville's inequality; Robbins, Annals of Mathematical Statistics 41, 1970).

    Raises:
        ValueError: counts that cannot be.
    """
    if not 0 <= hits <= parts:
        raise ValueError(f"{hits} of {parts} parts: expected 0 <= hits <= parts")
    if parts == 0:
        return 0.0, 1.0
    mixture = math.lgamma(hits + 1) + math.lgamma(parts - hits + 1) - math.lgamma(parts + 2)
    bound = -math.log(1.0 - confidence)

    def excluded(share: float) -> bool:
        if share <= 0.0 or share >= 1.0:
            return hits > 0 if share <= 0.0 else hits < parts
        return mixture - hits * math.log(share) - (parts - hits) * math.log1p(-share) >= bound

    estimate = hits / parts
    return _edge(excluded, 0.0, estimate), _edge(excluded, 1.0, estimate)


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where shares begin to be possible between one that may not be and one that is."""
    if not excluded(outside):
        return outside
    for _ in range(STEPS):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside
