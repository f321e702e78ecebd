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


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A number that is charted. `least`: the smallest spread of a batch's level, in its unit. A `share` is averaged
    over a batch; of anything else the median counts, which defective parts do not move while they are fewer than half.
    """

    name: str
    cause: Cause
    least: float
    share: bool = False
    one_sided: bool = False


def _channel(name: str, cause: Cause, least: float, *, share: bool = False, one_sided: bool = False) -> Channel:
    return Channel(name=name, cause=cause, least=least, share=share, one_sided=one_sided)


# light: octaves of mean grey; burnt: share of pixels; fineness, coarse_fineness, detail: octaves (picture_statistics);
# right_px, down_px: how far what is fixed in the scene has moved; distance: octaves; score: log odds of a defect;
# fails, holds: shares; rarity: bits, how unexpected the labels are.
CHANNELS: Mapping[Kind, tuple[Channel, ...]] = {
    Kind.PICTURES: (
        _channel("light", Cause.LIGHT, 0.03),
        _channel("burnt", Cause.LIGHT, 0.01),
        _channel("fineness", Cause.FOCUS, 0.04),
        _channel("coarse_fineness", Cause.FOCUS, 0.04),
        _channel("detail", Cause.FOCUS, 0.1),
        _channel("right_px", Cause.MOVED, 0.25),
        _channel("down_px", Cause.MOVED, 0.25),
    ),
    Kind.FEATURES: (_channel("distance", Cause.PRODUCT, 0.04, one_sided=True),),
    Kind.VERDICTS: (
        _channel("score", Cause.MODEL, 0.2),
        _channel("fails", Cause.MODEL, 0.06, share=True),
        _channel("holds", Cause.MODEL, 0.06, share=True),
        _channel("rarity", Cause.MODEL, 0.15, share=True, one_sided=True),
    ),
}
CAUSE_OF: Mapping[str, Cause] = {channel.name: channel.cause for some in CHANNELS.values() for channel in some}

Charts: TypeAlias = Mapping[str, Chart]


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


def strengths(charts: Charts) -> dict[Cause, float]:
    """How strongly each cause's own numbers speak: 1 is an alarm."""
    found = dict.fromkeys(Cause, 0.0)
    for name, chart in charts.items():
        cause = CAUSE_OF[name]
        found[cause] = max(found[cause], chart.strength)
    return found


def shifts(charts: Charts) -> dict[Cause, float]:
    """By how many spreads each cause's own numbers are away, the farthest of each."""
    found = dict.fromkeys(Cause, 0.0)
    for name, chart in charts.items():
        cause = CAUSE_OF[name]
        found[cause] = max(found[cause], abs(chart.shift))
    return found


def explain(charts: Charts) -> Cause | None:
    """What drifted; None while nothing did."""
    strength = strengths(charts)
    if max(strength.values(), default=0.0) < 1.0:
        return None
    suspect = {cause for cause, found in strength.items() if found >= SUSPECT}
    return next(rule.cause for rule in RULES if rule.seen <= suspect and not rule.unseen & suspect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`cause` explains it where the numbers of all causes in `seen` rose and of none in `unseen`."""

    cause: Cause
    seen: frozenset[Cause]
    unseen: frozenset[Cause] = frozenset()


def _rule(cause: Cause, *seen: Cause, unseen: tuple[Cause, ...] = ()) -> Rule:
    return Rule(cause=cause, seen=frozenset(seen), unseen=frozenset(unseen))


# The first that fits. Neither lamp nor lens changes light, sharpness and features together; other parts do.
RULES = (
    _rule(Cause.PRODUCT, Cause.LIGHT, Cause.FOCUS, Cause.PRODUCT),
    _rule(Cause.MOVED, Cause.MOVED, unseen=(Cause.LIGHT, Cause.FOCUS)),
    _rule(Cause.LIGHT, Cause.LIGHT),
    _rule(Cause.FOCUS, Cause.FOCUS),
    _rule(Cause.MOVED, Cause.MOVED),
    _rule(Cause.PRODUCT, Cause.PRODUCT),
    _rule(Cause.MODEL, Cause.MODEL),
)
