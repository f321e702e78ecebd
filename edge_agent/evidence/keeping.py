"""Which pictures are worth keeping for a label: one table of reasons, an hourly bound, no near-duplicates. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_agent.records import HoldReason, Inspection, KeepReason, Region, Verdict

HOUR_S = 3600.0
# Of one camera, verdict and label; a hash is compared in 0.1 us.
LOOKS_REMEMBERED = 500
LABELS_REMEMBERED = 256
# Two pictures that look alike are still two things when the model speaks of another place or is clearly more sure.
SAME_SCORE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRules:
    """What one camera keeps; docs/evidence.md says what each number means."""

    reasons: frozenset[KeepReason] = frozenset(KeepReason)
    hold_reasons: frozenset[HoldReason] = frozenset({HoldReason.UNSURE})
    near_threshold: float = 0.1
    unlike_from: float = 1.0
    pass_share: float = 0.005
    per_hour: int = 120
    alike_bits: int | None = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """One inspection and what else bears on keeping its picture.

    `unlikeness` is the Mahalanobis distance in units of the limit of what the model knows (1 is the limit), None where
    no model says. `draw` is uniform in [0, 1). `requested`: a person asked for pictures of this camera.
    `differs`: a model on trial says something else.
    """

    inspection: Inspection
    draw: float
    unlikeness: float | None = None
    requested: bool = False
    differs: bool = False


def _is_near(occasion: Occasion, rules: KeepRules) -> bool:
    score, threshold = occasion.inspection.score, occasion.inspection.threshold
    return score is not None and threshold is not None and abs(score - threshold) <= rules.near_threshold


_Rule = Callable[[Occasion, KeepRules], bool]
RULES: Mapping[KeepReason, _Rule] = {
    KeepReason.REQUEST: lambda o, _: o.requested,
    KeepReason.FAIL: lambda o, _: o.inspection.verdict is Verdict.FAIL,
    KeepReason.HOLD: lambda o, rules: o.inspection.reason in rules.hold_reasons,
    KeepReason.NEAR_THRESHOLD: _is_near,
    KeepReason.DIFFER: lambda o, _: o.differs,
    KeepReason.UNLIKE: lambda o, rules: o.unlikeness is not None and o.unlikeness >= rules.unlike_from,
    KeepReason.RANDOM: lambda o, rules: o.inspection.verdict is Verdict.PASS and o.draw < rules.pass_share,
}


def reasons_to_keep(occasion: Occasion, rules: KeepRules) -> tuple[KeepReason, ...]:
    """Every reason that holds, strongest first; empty: the picture is not kept."""
    return tuple(reason for reason, holds in RULES.items() if reason in rules.reasons and holds(occasion, rules))


class HourlyQuota:
    """So many pictures an hour at most for each camera and reason: a flood of FAIL leaves room for the uncertain."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, KeepReason], deque[float]] = {}

    def admit(self, camera: str, reasons: tuple[KeepReason, ...], mono_s: float, per_hour: int) -> bool:
        """Whether one of the reasons still has room within the last hour; what was asked for always has."""
        for reason in reasons:
            if reason is KeepReason.REQUEST:
                return True
            times = self._kept.setdefault((camera, reason), deque())
            while times and times[0] <= mono_s - HOUR_S:
                times.popleft()
            if len(times) < per_hour:
                times.append(mono_s)
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What makes two pictures one for our purposes: how they look, and what the model said of them and where."""

    likeness: int
    verdict: Verdict | None
    label: str | None
    score: float | None
    where: Region | None


def alike(one: Look, other: Look, bits: int) -> bool:
    """Whether a label for one would teach what a label for the other teaches."""
    return (
        (one.likeness ^ other.likeness).bit_count() <= bits
        and (one.verdict, one.label) == (other.verdict, other.label)
        and abs((one.score or 0.0) - (other.score or 0.0)) <= SAME_SCORE
        and (one.where is None) == (other.where is None)
        and (one.where is None or other.where is None or _overlap(one.where, other.where))
    )


def _overlap(one: Region, other: Region) -> bool:
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return across > 0 and down > 0


@dataclass(slots=True)
class RecentLooks:
    """The last pictures kept of each camera and label."""

    _looks: dict[tuple[str, Verdict | None, str | None], deque[Look]] = field(default_factory=dict)

    def is_new(self, camera: str, look: Look, bits: int | None) -> bool:
        """Whether nothing kept lately is like it; None as `bits` takes everything for new."""
        if bits is None:
            return True
        known = self._looks.get((camera, look.verdict, look.label), ())
        return not any(alike(look, other, bits) for other in reversed(known))

    def add(self, camera: str, look: Look) -> None:
        """Remember it."""
        key = (camera, look.verdict, look.label)
        if key not in self._looks and len(self._looks) >= LABELS_REMEMBERED:
            del self._looks[next(iter(self._looks))]
        self._looks.setdefault(key, deque(maxlen=LOOKS_REMEMBERED)).append(look)
