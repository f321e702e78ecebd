"""From what one frame shows to the numbers that are charted; some are learned first. Pure.

Kind.PICTURES   readings                      -> themselves
Kind.FEATURES   vector [D]                    -> distance from the vectors learned, in octaves
Kind.VERDICTS   (label, score, verdict)       -> log odds, FAIL, HOLD, rarity of the label
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.learn.drift import CHANNELS, Kind, Rows
from edge_agent.learn.gaussian import Gaussian, distances, fit_gaussian
from edge_agent.records import Verdict

Row: TypeAlias = tuple[float, ...]

# Directions in which the features' variance is kept: a frame then costs 784 x 32 products, and more told no more.
AXES = 32
FOLDS = 5
# Scores are cut here before their log odds are taken: 1e-4 and 1e-9 are the same to a line.
SCORE_MARGIN = 1e-4
_NOTHING = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a verdict says of one part."""

    label: str | None
    score: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """How rare each label was, in bits; `other` for one that never came."""

    bits: Mapping[str | None, float]
    other: float

    def row(self, judged: Judged) -> Row:
        score = min(max(judged.score, SCORE_MARGIN), 1.0 - SCORE_MARGIN)
        return (
            math.log(score / (1.0 - score)),
            float(judged.verdict is Verdict.FAIL),
            float(judged.verdict is Verdict.HOLD),
            self.bits.get(judged.label, self.other),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Familiar:
    """The features that were learned, as a Gaussian."""

    gaussian: Gaussian = field(repr=False)

    def row(self, vector: NDArray[np.float32]) -> Row:
        if vector.shape != self.gaussian.mean.shape:
            return (_NOTHING,)
        distance = float(distances(self.gaussian, vector[None])[0])
        return (math.log2(distance),) if distance > 0 and math.isfinite(distance) else (_NOTHING,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The numbers of a picture, as they are."""

    def row(self, readings: Mapping[str, float]) -> Row:
        return tuple(readings.get(channel.name, _NOTHING) for channel in CHANNELS[Kind.PICTURES])


Measure: TypeAlias = Labels | Familiar | Readings


def fit_readings(seen: Sequence[Mapping[str, float]]) -> tuple[Measure, Rows]:
    """The measure, and float64 [n, C] what it says of those it was learned from."""
    measure = Readings()
    return measure, np.array([measure.row(one) for one in seen], np.float64)


def fit_labels(seen: Sequence[Judged]) -> tuple[Measure, Rows]:
    """As `fit_readings`. A label that never came counts as one that came half a time."""
    counts = Counter(one.label for one in seen)
    whole = len(seen) + 0.5 * (len(counts) + 1)
    bits = {label: -math.log2((count + 0.5) / whole) for label, count in counts.items()}
    measure = Labels(bits=bits, other=-math.log2(0.5 / whole))
    return measure, np.array([measure.row(one) for one in seen], np.float64)


def fit_features(seen: Sequence[NDArray[np.float32]]) -> tuple[Measure, Rows]:
    """As `fit_readings`; each vector is held against those of the other blocks of time, as a new one will be."""
    vectors = np.stack(seen)
    vectors = vectors[np.isfinite(vectors).all(axis=1)]
    found = np.empty(len(vectors))
    # Neighbours in time look alike, and would make one another familiar: whole blocks are left out.
    fold = np.arange(len(vectors)) * FOLDS // len(vectors)
    for number in range(FOLDS):
        others = fit_gaussian(vectors[fold != number], axes_max=AXES)
        found[fold == number] = distances(others, vectors[fold == number])
    measure = Familiar(gaussian=fit_gaussian(vectors, axes_max=AXES))
    return measure, np.log2(np.maximum(found, np.finfo(np.float32).tiny))[:, None]


FITS: Mapping[Kind, Callable[[Sequence[Any]], tuple[Measure, Rows]]] = {
    Kind.PICTURES: fit_readings,
    Kind.FEATURES: fit_features,
    Kind.VERDICTS: fit_labels,
}
