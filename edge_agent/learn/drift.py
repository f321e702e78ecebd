"""Drift of one camera: numbers that rose, and which cause explains them. Pure.

    pictures  (light, sharpness, place)        --\
    features  (distance from those learned)    ----> batches --> charts --> which rose --RULES--> cause
    verdicts  (score, shares, labels)          --/

A cause shows downstream of where it acts, never upstream: light changes the features and the score, a score changes no
light. So the rules ask from the lens to the verdict, and the first that holds explains what comes after it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.learn.drift_chart import BATCH, Chart, follow, learned

Rows: TypeAlias = NDArray[np.float64]

DEFAULT_FRAMES = 500
# A chart this far along is not yet an alarm, but explains one.
SUSPECT = 0.5
# Below this an alarm ends.
CLEAR = 0.4


class Cause(str, enum.Enum):
    """What drifted."""

    LIGHT = "light"
    FOCUS = "focus"
    MOVED = "moved"
    PRODUCT = "product"
    MODEL = "model"


class Kind(enum.Enum):
    """Where a number comes from: learned and forgotten together."""

    PICTURES = "pictures"
    FEATURES = "features"
    VERDICTS = "verdicts"


class Sign(enum.Enum):
    """What a number shows."""

    FIXED_LIGHT = "light on what is fixed"
    PLACE = "place"
    LIGHT = "light"
    FOCUS = "sharpness"
    FEATURES = "features"
    LABELS = "labels"
    VERDICTS = "verdicts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A number that is charted. `least`: the smallest spread of a batch's level, in its unit. A `share` is averaged
    over a batch; of anything else the median counts, which defective parts do not move while they are fewer than half.
    """

    name: str
    sign: Sign
    least: float
    share: bool = False
    one_sided: bool = False


def _channel(name: str, sign: Sign, least: float, *, share: bool = False, one_sided: bool = False) -> Channel:
    return Channel(name=name, sign=sign, least=least, share=share, one_sided=one_sided)


# scene_light, light: octaves of grey; right_px, down_px: how far what is fixed has moved; burnt: share of pixels;
# fineness, coarse_fineness, detail: octaves (capture/picture_reference.py). distance: octaves; score: log odds of a
# defect; fails, holds: shares; rarity: bits, how unexpected the labels are (learn/drift_measure.py).
CHANNELS: Mapping[Kind, tuple[Channel, ...]] = {
    Kind.PICTURES: (
        _channel("scene_light", Sign.FIXED_LIGHT, 0.06),
        _channel("right_px", Sign.PLACE, 0.25),
        _channel("down_px", Sign.PLACE, 0.25),
        _channel("light", Sign.LIGHT, 0.06),
        _channel("burnt", Sign.LIGHT, 0.02, one_sided=True),
        _channel("fineness", Sign.FOCUS, 0.04),
        _channel("coarse_fineness", Sign.FOCUS, 0.04),
        _channel("detail", Sign.FOCUS, 0.1),
    ),
    Kind.FEATURES: (_channel("distance", Sign.FEATURES, 0.2, one_sided=True),),
    Kind.VERDICTS: (
        _channel("score", Sign.VERDICTS, 0.2),
        _channel("fails", Sign.VERDICTS, 0.06, share=True),
        _channel("holds", Sign.VERDICTS, 0.06, share=True),
        _channel("rarity", Sign.LABELS, 0.15, share=True, one_sided=True),
    ),
}
SIGN_OF: Mapping[str, Sign] = {channel.name: channel.sign for some in CHANNELS.values() for channel in some}

Charts: TypeAlias = Mapping[str, Chart]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`cause` explains it where all signs in `seen` showed, none in `unseen`, and each of these moved farther, in
    spreads, than those in `over`.
    """

    cause: Cause
    seen: frozenset[Sign]
    unseen: frozenset[Sign]
    over: frozenset[Sign]

    def fits(self, suspect: frozenset[Sign], shifts: Mapping[Sign, float]) -> bool:
        if not self.seen <= suspect or self.unseen & suspect:
            return False
        least = min(shifts[sign] for sign in self.seen)
        return all(shifts[sign] < least for sign in self.over & suspect)


def _rule(cause: Cause, *seen: Sign, unseen: tuple[Sign, ...] = (), over: tuple[Sign, ...] = ()) -> Rule:
    return Rule(cause=cause, seen=frozenset(seen), unseen=frozenset(unseen), over=frozenset(over))


# The first that fits. What is fixed in the scene tells camera from parts: lamp and mounting show on it too.
WITH_FIXED = (
    _rule(Cause.MOVED, Sign.PLACE),
    _rule(Cause.LIGHT, Sign.FIXED_LIGHT),
    _rule(Cause.PRODUCT, Sign.FEATURES, Sign.LIGHT),
    _rule(Cause.PRODUCT, Sign.FEATURES, over=(Sign.FOCUS,)),
    _rule(Cause.MODEL, Sign.LABELS, unseen=(Sign.FEATURES,), over=(Sign.FOCUS,)),
    _rule(Cause.FOCUS, Sign.FOCUS),
    _rule(Cause.PRODUCT, Sign.FEATURES),
    _rule(Cause.MODEL, Sign.LABELS),
    _rule(Cause.MODEL, Sign.VERDICTS),
    _rule(Cause.PRODUCT, Sign.LIGHT),
)
# Without it: neither lamp nor lens changes light, sharpness and features together; other parts do.
WITHOUT_FIXED = (
    _rule(Cause.PRODUCT, Sign.LIGHT, Sign.FOCUS, Sign.FEATURES),
    _rule(Cause.PRODUCT, Sign.FEATURES, over=(Sign.LIGHT, Sign.FOCUS)),
    _rule(Cause.MODEL, Sign.LABELS, unseen=(Sign.FEATURES,), over=(Sign.LIGHT, Sign.FOCUS)),
    _rule(Cause.LIGHT, Sign.LIGHT, over=(Sign.FOCUS,)),
    _rule(Cause.FOCUS, Sign.FOCUS),
    _rule(Cause.PRODUCT, Sign.FEATURES),
    _rule(Cause.MODEL, Sign.LABELS),
    _rule(Cause.MODEL, Sign.VERDICTS),
)


def levels(rows: Rows, channels: Sequence[Channel]) -> list[list[float]]:
    """The level of each channel in each batch of `rows` float64 [n, C]; rows of a last, unfinished batch are left out.
    Numbers that are not finite do not count; where they are half of a batch or more, its level is NaN.
    """
    batches = rows[: len(rows) // BATCH * BATCH].reshape(-1, BATCH, rows.shape[1])
    return [[_level(batch[:, column], channel) for batch in batches] for column, channel in enumerate(channels)]


def _level(values: Rows, channel: Channel) -> float:
    known = values[np.isfinite(values)]
    if 2 * len(known) <= len(values):
        return math.nan
    return float(known.mean() if channel.share else np.median(known))


def charts_of(rows: Rows, kind: Kind, tolerance: float = 1.0) -> dict[str, Chart]:
    """The charts of what was seen in control, float64 [n, C]. `tolerance` widens what is forgiven."""
    found = {}
    for channel, seen in zip(CHANNELS[kind], levels(rows, CHANNELS[kind]), strict=True):
        chart = learned(seen, channel.least)
        if chart is not None:
            found[channel.name] = Chart(centre=chart.centre, spread=chart.spread * tolerance, now=chart.now)
    return found


def followed(charts: Charts, batch: Rows, kind: Kind) -> dict[str, Chart]:
    """The charts of one kind after one more batch, float64 [BATCH, C]."""
    found = dict(charts)
    for column, channel in enumerate(CHANNELS[kind]):
        if channel.name in charts:
            level = _level(batch[:, column], channel)
            found[channel.name] = follow(charts[channel.name], level, one_sided=channel.one_sided)
    return found


def strengths(charts: Charts) -> dict[Sign, float]:
    """How strongly each sign shows: 1 is an alarm. Signs without a chart are left out."""
    found: dict[Sign, float] = {}
    for name, chart in charts.items():
        sign = SIGN_OF[name]
        found[sign] = max(found.get(sign, 0.0), chart.strength)
    return found


def shifts(charts: Charts) -> dict[Sign, float]:
    """By how many spreads each sign's numbers are away, the farthest of each."""
    found: dict[Sign, float] = {}
    for name, chart in charts.items():
        sign = SIGN_OF[name]
        found[sign] = max(found.get(sign, 0.0), abs(chart.shift))
    return found


def explain(charts: Charts) -> Cause | None:
    """What drifted; None while nothing did."""
    strength = strengths(charts)
    if max(strength.values(), default=0.0) < 1.0:
        return None
    suspect = frozenset(sign for sign, found in strength.items() if found >= SUSPECT)
    away = shifts(charts)
    return next(rule.cause for rule in _rules(charts) if rule.fits(suspect, away))


def evidence(cause: Cause, charts: Charts) -> frozenset[Sign]:
    """The signs that speak for `cause` here."""
    return frozenset[Sign]().union(*(rule.seen for rule in _rules(charts) if rule.cause is cause))


def _rules(charts: Charts) -> tuple[Rule, ...]:
    fixed = any(SIGN_OF[name] in (Sign.FIXED_LIGHT, Sign.PLACE) for name in charts)
    return WITH_FIXED if fixed else WITHOUT_FIXED
