"""Has the level of a number moved for good? Two cumulative sums over the levels of batches. Pure.

    25 values --median or mean--> level --(level - centre) / spread--> z --> above, below --> at DECISION: it moved

Cumulative sums (Page 1954, Biometrika 41; Montgomery, Introduction to Statistical Quality Control, ch. 9) hear a small
lasting shift long before single values are unusual. Parts that follow one another are alike, and then a chart of single
values alarms far too often; levels of batches, measured against how levels of batches strayed in control, keep their
run length (Runger and Willemain 1996, IIE Transactions 28). A run of odd parts is one or two batches, and one batch
counts for at most REACH: it takes four in a row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

BATCH = 25
# In spreads of a batch: what is forgiven in each, what one may count for, and the sum from which the level has moved.
ALLOWANCE, REACH, DECISION = 1.0, 2.5, 8.0
# The sums stop a little above the decision, so that an end is noticed as soon as a beginning.
MOST = 1.5 * DECISION
# Share of the newest batch in the level that is shown (an exponentially weighted mean, Roberts 1959).
NEWEST = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`centre`, `spread` of a batch's level in control, in the number's own unit; `above` and `below` are the sums, in
    spreads; `up_batches` and `down_batches` for how long they have not been zero; `now` the level of late.
    """

    centre: float
    spread: float
    above: float = 0.0
    below: float = 0.0
    up_batches: int = 0
    down_batches: int = 0
    now: float = math.nan

    @property
    def strength(self) -> float:
        """The larger sum, as a share of the decision: at 1 the level has moved."""
        return max(self.above, self.below) / DECISION

    @property
    def shift(self) -> float:
        """How far the level is from its centre, in spreads, with its sign."""
        return (self.now - self.centre) / self.spread

    @property
    def batches(self) -> int:
        """Since when it has been moving."""
        return self.up_batches if self.above >= self.below else self.down_batches


def learned(levels: Sequence[float], least: float) -> Chart | None:
    """The chart of a number whose batches had these levels in control; None where it was mostly not a number.

    `least` is the smallest spread: a difference of this size means nothing in practice.
    """
    known = np.array([level for level in levels if math.isfinite(level)])
    if len(known) < max(3, len(levels) // 2):
        return None
    # A spread from few levels may be too small by chance: so much larger that it seldom is.
    spread = float(known.std(ddof=1)) * (1.0 + 1.0 / math.sqrt(2.0 * (len(known) - 1)))
    centre = float(known.mean())
    return Chart(centre=centre, spread=max(spread, least), now=centre)


def follow(chart: Chart, level: float, *, one_sided: bool = False) -> Chart:
    """The chart after one more batch; one that is not a number changes nothing."""
    if not math.isfinite(level):
        return chart
    z = (level - chart.centre) / chart.spread
    bound = ALLOWANCE + REACH
    z = min(max(z, -bound), bound)
    above = min(max(chart.above + z - ALLOWANCE, 0.0), MOST)
    below = 0.0 if one_sided else min(max(chart.below - z - ALLOWANCE, 0.0), MOST)
    return replace(
        chart,
        above=above,
        below=below,
        up_batches=chart.up_batches + 1 if above > 0 else 0,
        down_batches=chart.down_batches + 1 if below > 0 else 0,
        now=chart.now + NEWEST * (level - chart.now),
    )


def run_length(shift: float = 0.0, allowance: float = ALLOWANCE, decision: float = DECISION) -> float:
    """Batches until one sum alarms, on average, for normal levels shifted by so many spreads (Siegmund 1985)."""
    drift, height = shift - allowance, decision + 1.166
    if abs(drift) < 1e-9:
        return height**2
    return (math.exp(-2.0 * drift * height) + 2.0 * drift * height - 1.0) / (2.0 * drift**2)
