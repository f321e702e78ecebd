"""May this candidate replace the model in force? The sealed hold-out decides, with its uncertainty. Pure.

    sealed parts, judged by both models -> RULES, one function each -> Ruling(PASS | UNPROVEN | REFUSE, reasons)

Both models judge the same parts, so only those on which they differ say anything: `won` (the candidate is right, the
active one wrong) and `lost`. The difference of two paired proportions is (won - lost) / n, its confidence interval that
of Tango (Statistics in Medicine 17, 1998: the score interval), which stays honest where few parts differ or none does.
Non-inferior: the lower end of the interval is above minus the margin.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

STEPS = 60  # of halving: the interval's ends to 1e-18
_MIB = 1024 * 1024


class Outcome(str, enum.Enum):
    """What may happen with a candidate."""

    PASS = "pass"  # noqa: S105 - a ruling, not a password
    UNPROVEN = "unproven"  # nothing speaks against it and too little for it: shadow and probation must show it
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is asked of a candidate.

    `margin` is the loss of accuracy that is tolerated, `confidence` that of the interval (one-sided). With fewer than
    `parts_wanted` sealed parts nothing is proven. `recall_margin` is the loss of recall of defects that is tolerated
    where at least `recall_parts` defects are sealed. `latency_share` and `memory_share` of the profile's limits may be
    used. `agreement` is the share of parts on which int8 and float must say the same.
    """

    margin: float = 0.01
    confidence: float = 0.95
    parts_wanted: int = 30
    recall_margin: float = 0.02
    recall_parts: int = 10
    latency_share: float = 1.0
    memory_share: float = 1.0
    agreement: float = 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One sealed part: is it a defect, and was each model right about that."""

    defect: bool
    active_right: bool
    candidate_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """Everything that was found out about a candidate.

    `faults` are words of checks that came before (hashes, golden vectors, numbers that are not finite). Latency in
    milliseconds and memory in bytes, each with its limit; None where it was not measured. `agreement` of int8 with
    float, a share of `agreement_parts` parts, is None where there is no float flavour.
    """

    judged: tuple[Judged, ...]
    faults: tuple[str, ...] = ()
    latency_ms: float | None = None
    latency_limit_ms: float | None = None
    memory_bytes: float | None = None
    memory_limit_bytes: float | None = None
    agreement: float | None = None
    agreement_parts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Candidate minus active, as a share of `parts`, with the ends of its interval."""

    parts: int
    won: int
    lost: int
    share: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.share:+.2%} ({self.low:+.2%} to {self.high:+.2%}) over {self.parts} parts, "
            f"{self.won} won, {self.lost} lost"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The outcome, every reason for it, and the figures that were compared."""

    outcome: Outcome
    reasons: tuple[str, ...]
    accuracy: Difference | None
    recall: Difference | None


def rule(examination: Examination, policy: Policy) -> Ruling:
    """The ruling on a candidate: every rule is asked, the worst answer counts, all reasons are given."""
    accuracy = compare(examination.judged, policy.confidence)
    defects = [part for part in examination.judged if part.defect]
    recall = compare(defects, policy.confidence)
    answers = [answer for ask in RULES for answer in ask(examination, accuracy, recall, policy)]
    outcome = max((outcome for outcome, _ in answers), key=_ORDER.index, default=Outcome.PASS)
    reasons = tuple(text for found, text in answers if found is outcome)
    return Ruling(outcome=outcome, reasons=reasons, accuracy=accuracy, recall=recall)


def compare(judged: Sequence[Judged], confidence: float) -> Difference | None:
    """How much more often the candidate is right than the active model; None where there are no parts."""
    if not judged:
        return None
    won = sum(part.candidate_right and not part.active_right for part in judged)
    lost = sum(part.active_right and not part.candidate_right for part in judged)
    low, high = paired_interval(won, lost, len(judged), confidence)
    return Difference(parts=len(judged), won=won, lost=lost, share=(won - lost) / len(judged), low=low, high=high)


def paired_interval(won: int, lost: int, parts: int, confidence: float) -> tuple[float, float]:
    """Tango's score interval of (won - lost) / parts; each end holds with `confidence` alone (one-sided).

    Raises:
        ValueError: counts that cannot be.
    """
    if not (won >= 0 and lost >= 0 and won + lost + (parts - won - lost) >= 1 and won + lost <= parts):
        raise ValueError(f"{won} won and {lost} lost of {parts}: expected counts whose sum is at most the parts")
    z = NormalDist().inv_cdf(confidence)
    estimate = (won - lost) / parts
    low = _root(lambda difference: _score(won, lost, parts, difference) - z, -1.0, estimate)
    high = _root(lambda difference: -z - _score(won, lost, parts, difference), 1.0, estimate)
    return low, high


def _score(won: int, lost: int, parts: int, difference: float) -> float:
    """Tango's statistic for the hypothesis that the true difference is this; it falls as the difference grows."""
    # The likeliest share of `lost` under the hypothesis: the root of a square equation (Tango 1998, equation 2).
    b = -won - lost + (2 * parts - won + lost) * difference
    c = -lost * difference * (1 - difference)
    share = (math.sqrt(max(0.0, b * b - 8 * parts * c)) - b) / (4 * parts)
    variance = parts * (2 * share + difference * (1 - difference))
    distance = won - lost - parts * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _root(function: Callable[[float], float], outside: float, inside: float) -> float:
    """Where `function`, positive at `outside` and not at `inside`, changes its sign."""
    for _ in range(STEPS):
        middle = (outside + inside) / 2
        if function(middle) > 0:
            outside = middle
        else:
            inside = middle
    return outside


Answers = list[tuple[Outcome, str]]


def _faults(examination: Examination, _accuracy: Difference | None, _recall: Difference | None, _: Policy) -> Answers:
    return [(Outcome.REFUSE, fault) for fault in examination.faults]


def _no_worse(
    _examination: Examination, accuracy: Difference | None, _recall: Difference | None, policy: Policy
) -> Answers:
    return _within(accuracy, policy.margin, policy.parts_wanted, "right answers")


def _no_defect_missed(
    _examination: Examination, _accuracy: Difference | None, recall: Difference | None, policy: Policy
) -> Answers:
    return _within(recall, policy.recall_margin, policy.recall_parts, "defects found")


def _within(difference: Difference | None, margin: float, wanted: int, what: str) -> Answers:
    """Refused when the interval shows that it is worse, unproven while it does not show that it is no worse."""
    if difference is None:
        return [(Outcome.UNPROVEN, f"{what}: 0 sealed parts, {wanted} are wanted")]
    if difference.parts < wanted:
        text = f"{what}: {difference.parts} sealed parts, {wanted} are wanted"
        if difference.high < 0:
            return [(Outcome.REFUSE, f"{text}, and on these it is worse: {difference}")]
        return [(Outcome.UNPROVEN, text)]
    if difference.low >= -margin:
        return []
    if difference.high < 0 or difference.share < -margin:
        return [(Outcome.REFUSE, f"{what}: {difference}, a loss of {margin:.2%} is tolerated")]
    return [(Outcome.UNPROVEN, f"{what}: {difference}; that it loses at most {margin:.2%} is not shown")]


def _in_time(
    examination: Examination, _accuracy: Difference | None, _recall: Difference | None, policy: Policy
) -> Answers:
    return _below(examination.latency_ms, examination.latency_limit_ms, policy.latency_share, "latency", "ms")


def _in_memory(
    examination: Examination, _accuracy: Difference | None, _recall: Difference | None, policy: Policy
) -> Answers:
    found, limit = (
        None if size is None else size / _MIB for size in (examination.memory_bytes, examination.memory_limit_bytes)
    )
    return _below(found, limit, policy.memory_share, "memory", "MiB")


def _below(found: float | None, limit: float | None, share: float, what: str, unit: str) -> Answers:
    if found is None or limit is None or found <= limit * share:
        return []
    return [(Outcome.REFUSE, f"{what}: {found:.4g} {unit}, at most {limit * share:.4g} are allowed")]


def _int8_means_the_same(
    examination: Examination, _accuracy: Difference | None, _recall: Difference | None, policy: Policy
) -> Answers:
    found, parts = examination.agreement, examination.agreement_parts
    if found is None or found >= policy.agreement:
        return []
    text = f"int8 and float agree on {found:.2%} of {parts} parts, expected {policy.agreement:.2%}"
    # On few parts two that lie at the threshold are no sign that the quantisation went wrong.
    shown = not highest_share(found, parts, policy.confidence) >= policy.agreement
    return [(Outcome.REFUSE if shown else Outcome.UNPROVEN, text)]


def highest_share(share: float, parts: int, confidence: float) -> float:
    """The upper end of Wilson's interval of a share that was found on so many parts (one-sided); NaN for NaN."""
    if parts == 0:
        return share
    z = NormalDist().inv_cdf(confidence)
    middle = share + z * z / (2 * parts)
    spread = z * math.sqrt(share * (1 - share) / parts + z * z / (4 * parts * parts))
    return (middle + spread) / (1 + z * z / parts)


RULES = (_faults, _no_worse, _no_defect_missed, _in_time, _in_memory, _int8_means_the_same)
_ORDER = (Outcome.PASS, Outcome.UNPROVEN, Outcome.REFUSE)
