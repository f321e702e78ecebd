"""What a contribution weighs: by its samples or all alike, and less when it was made on an older model. Pure.

Weights are whole numbers of 1/256 sample, so that sums of them are exact and staleness has something to take from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

UNITS = 256
# 65,536 samples: more of them count as that many, so that one plant's archive is not everybody's model.
SAMPLES_WEIGHED_MAX = 2**16
WEIGHT_MAX = SAMPLES_WEIGHED_MAX * UNITS


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """`units` is what it counts, `nominal` what it would count were it fresh: the mean divides by these."""

    units: int
    nominal: int


def weigh(samples: int, *, staleness: int = 0, equal: bool = False, share: float = 1.0) -> Weight:
    """The weight of a contribution learned from `samples` >= 1 on a model that `staleness` later ones have replaced.

    A stale one counts 1 / sqrt(1 + staleness) (FedBuff: Nguyen et al., AISTATS 2022, arXiv 2106.06639, section 5),
    while the mean divides by its full weight: old news moves the model less, also when it comes alone. `share` (above 0
    to 1) is what a person lets this gateway count.
    """
    nominal = max(1, round(share * UNITS * (1 if equal else min(samples, SAMPLES_WEIGHED_MAX))))
    return Weight(units=max(1, round(nominal / math.sqrt(1 + staleness))), nominal=nominal)
