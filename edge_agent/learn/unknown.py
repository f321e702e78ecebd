"""Parts unlike anything labelled so far: a class-wise Gaussian from the same sums as the head.

    Statistics --within-class covariance, class means--> Familiar --held-out parts--> Familiar with a limit
    vector --relative distance to the nearest class, largest answer--> strangeness, >= limit: unknown

All classes share one covariance W, shrunk. The relative distance (Ren et al. 2021, arXiv 2106.09022) is the squared
Mahalanobis distance to the nearest class less that to all samples together:

    min_c (x - mu_c)' W^-1 (x - mu_c)  -  (x - m)' (W + M P M')^-1 (x - m)
        = min_c (level_c - 2 g_c) + g' K g,    g = M' W^-1 (x - m),  K = (P^-1 + M' W^-1 M)^-1

with M the class means less m, P the shares: the part that is alike in both cancels, so that a picture costs one product
[D] x [D, C] and no matrix [D, D]. The answers are those of the ridge regression on class indicators with W's shrinkage,
P (1 + M' (W + M P M')^-1 (x - m)) = P (1 + (1 - M' W^-1 M K) g): a known part has one near 1. Distance and answer find
different unknowns; their sum, each in spreads, was the best or nearly so on each set (docs/learning.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import BadBundleError, RefusedError
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.solve import FALSE_ALARM_RATE, check_enough
from edge_agent.learn.statistics import Statistics, present

# Share of W that is replaced by a sphere of the same trace. .01 to .1 differed by less than .03 in AUROC.
SHRINKAGE = 0.01
# Added to each feature's within-class variance, as a share of the median one.
VARIANCE_FLOOR = 1e-3
# Fewer held-out parts than this say nothing about the rarest two per cent.
HELD_MIN = 10
# Of a limit that others are measured by, in spreads.
LIMIT_LEAST = 0.1
FORMAT = "edge-agent/familiar/1"
_SHAPES = {
    "mean": ("float32", "D"),
    "directions": ("float32", "DC"),
    "levels": ("float64", "C"),
    "between": ("float64", "CC"),
    "shares": ("float64", "C"),
    "response": ("float64", "CC"),
    "centre": ("float64", "2"),
    "spread": ("float64", "2"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Familiar:
    """What the labelled parts look like. `mean` float32 [D]; `directions` float32 [D, C] = W^-1 (mu_c - mean) per unit
    of the vector; `levels` float64 [C]; `between` float64 [C, C] = K; `shares` float64 [C], `response` float64 [C, C]:
    answers = shares + response g.

    `centre`, `spread` float64 [2]: of relative distance and of the largest answer, negative, on held-out parts; at
    `limit` or above a part is unknown. Before `calibrated` the limit is infinite.
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float32] = field(repr=False)
    directions: NDArray[np.float32] = field(repr=False)
    levels: NDArray[np.float64] = field(repr=False)
    between: NDArray[np.float64] = field(repr=False)
    shares: NDArray[np.float64] = field(repr=False)
    response: NDArray[np.float64] = field(repr=False)
    centre: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2), repr=False)
    spread: NDArray[np.float64] = field(default_factory=lambda: np.ones(2), repr=False)
    limit: float = np.inf


def fit_familiar(statistics: Statistics, code: FeatureCode, shrinkage: float = SHRINKAGE) -> Familiar:
    """The Gaussian of each class that has samples; `code` is the one that the codes were made with.

    Raises:
        RefusedError: too few samples or classes.
    """
    known = present(statistics)
    check_enough(known)
    shares = known.counts / known.count
    means = known.cross / known.counts
    mean = means @ shares
    within = known.gram / known.count - (means * shares) @ means.T
    variance = np.maximum(np.diag(within), 0.0)
    scale = np.sqrt(variance + VARIANCE_FLOOR * np.median(variance))
    scale[scale < np.finfo(np.float32).tiny] = 1.0
    within = within / np.outer(scale, scale)
    sphere = max(float(np.trace(within)) / len(within), 1e-12)
    shrunk = (1.0 - shrinkage) * (within + within.T) / 2 + shrinkage * sphere * np.eye(len(within))
    apart = (means - mean[:, None]) / scale[:, None]
    directions = np.linalg.solve(shrunk, apart)
    product = apart.T @ directions
    between = np.linalg.inv(np.diag(1.0 / shares) + (product + product.T) / 2)
    return Familiar(
        classes=known.classes,
        mean=(code.offset + code.step * mean).astype(np.float32),
        directions=(directions / (scale * code.step)[:, None]).astype(np.float32),
        levels=np.diag(product).copy(),
        between=between,
        shares=shares,
        response=shares[:, None] * (np.eye(len(shares)) - product @ between),
    )


def calibrated(
    familiar: Familiar,
    vectors: NDArray[np.float32],
    labels: Sequence[str],
    false_alarm_rate: float = FALSE_ALARM_RATE,
) -> Familiar:
    """With a limit that at most `false_alarm_rate` of new parts of known classes reach, from held-out parts.

    `vectors` float32 [n, D]; those whose label is no known class have no say. The limit is an order statistic, so it
    holds for small n too; with too few parts to say it lies above all of them.

    Raises:
        RefusedError: fewer than HELD_MIN held-out parts of known classes.
    """
    known = np.array([label in familiar.classes for label in labels], bool)
    if known.sum() < HELD_MIN:
        raise RefusedError(f"{known.sum()} held-out parts of known classes, expected {HELD_MIN}; hold more back")
    both = _both(familiar, vectors[known])
    low, centre, high = np.quantile(both, [0.25, 0.5, 0.75], axis=0)
    fitted = replace(familiar, centre=centre, spread=np.maximum(high - low, 1e-9))
    ordered = np.sort(strangeness(fitted, vectors[known]))
    rank = min(int(np.ceil((len(ordered) + 1) * (1.0 - false_alarm_rate))), len(ordered))
    return replace(fitted, limit=float(np.nextafter(ordered[rank - 1], np.inf)))


def strangeness(familiar: Familiar, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """How unlike anything labelled each vector is, in spreads, about 0 for known parts: float64 [n] from [n, D]."""
    result: NDArray[np.float64] = ((_both(familiar, vectors) - familiar.centre) / familiar.spread).sum(axis=1)
    return result


def unlikeness(familiar: Familiar, vector: NDArray[np.float32]) -> float:
    """How unlike anything labelled one vector float32 [D] is, in units of the limit: from 1 on it is unknown.

    0 where there is no limit (not calibrated), never below; NaN for a vector with NaN.
    """
    if not np.isfinite(familiar.limit):
        return 0.0
    strange = float(strangeness(familiar, vector[None])[0])
    # The limit lies far out in what is spread around 0; where held-out parts were nearly all one, it may not.
    return max(0.0, strange / max(familiar.limit, LIMIT_LEAST))


def to_arrays(familiar: Familiar) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Tensors and description of a file: all that `from_arrays` needs."""
    tensors: dict[str, NDArray[Any]] = {name: getattr(familiar, name) for name in _SHAPES}
    return tensors, {"format": FORMAT, "classes": list(familiar.classes), "limit": familiar.limit}


def from_arrays(tensors: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> Familiar:
    """What `to_arrays` described, from bytes that we do not trust.

    Raises:
        BadBundleError: another format, or contents that do not fit together.
    """
    if about.get("format") != FORMAT:
        raise BadBundleError(f"familiar: format {about.get('format')!r}, expected {FORMAT!r}; learn again")
    try:
        classes, limit = tuple(str(name) for name in about["classes"]), float(about["limit"])
        size = tensors["mean"].shape[0]
        found = {name: (tensors[name].dtype.name, tensors[name].shape) for name in _SHAPES}
    except (LookupError, TypeError, ValueError) as error:
        raise BadBundleError(f"familiar: damaged ({type(error).__name__}: {error}); learn again") from error
    sizes = {"D": size, "C": len(classes), "2": 2}
    expected = {name: (dtype, tuple(sizes[axis] for axis in axes)) for name, (dtype, axes) in _SHAPES.items()}
    if found != expected or not all(np.isfinite(tensors[name]).all() for name in _SHAPES) or not np.isfinite(limit):
        raise BadBundleError(f"familiar: arrays {found} and limit {limit}, expected finite ones of {expected}")
    if not (tensors["spread"] > 0).all():
        raise BadBundleError("familiar: a spread that is not positive; learn again")
    return Familiar(classes=classes, limit=limit, **{name: tensors[name] for name in _SHAPES})


def relative_distances(familiar: Familiar, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared distance to the nearest class less that to all samples: float64 [n], large for the unknown."""
    return _both(familiar, vectors)[:, 0]


def _both(familiar: Familiar, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Relative distance, and how far the largest answer stays below: float64 [n, 2]."""
    g = ((vectors - familiar.mean) @ familiar.directions).astype(np.float64)
    relative = (familiar.levels - 2.0 * g).min(axis=1) + np.einsum("nc,cd,nd->n", g, familiar.between, g)
    answers = familiar.shares + g @ familiar.response.T
    return np.stack([relative, -answers.max(axis=1)], axis=1)
