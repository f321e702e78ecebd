"""How far a feature vector is from those of good parts: a Gaussian whose covariance is shrunk towards a sphere.

With 50 parts and 784 features the covariance has 49 directions that were seen; all others get the same small variance.
So it is kept as those directions and one number, not as a matrix [D, D].
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import FeatureCode
from edge_agent.learn.statistics import Statistics

# Share of the covariance that is replaced by a sphere of the same trace (Ledoit and Wolf 2004 in form). 0.02 to 0.3
# gave the same area under the curve within 0.003 on magtile, pcbmp and the synthetic line (docs/learning.md).
SHRINKAGE = 0.1
# Added to each feature's standard deviation, as a share of the median one: features that never moved stay quiet.
SCALE_FLOOR = 0.1
# With more axes a picture costs more and the distance says no more: the rest is noise of the smallest variances.
AXES_MAX = 256
# Of the features' level: parts that are all the same picture have no spread at all, and rounding must not count.
STILL_SCALE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaussian:
    """`mean`, `gain` float32 [D]: z = (x - mean) * gain; `axes` float32 [r, D] orthonormal in z; `inverse` float32 [r]
    one over the variance along each; `rest` one over the variance along all other directions.
    """

    mean: NDArray[np.float32] = field(repr=False)
    gain: NDArray[np.float32] = field(repr=False)
    axes: NDArray[np.float32] = field(repr=False)
    inverse: NDArray[np.float32] = field(repr=False)
    rest: float


def fit_gaussian(vectors: NDArray[np.float32], shrinkage: float = SHRINKAGE, axes_max: int | None = None) -> Gaussian:
    """The Gaussian of `vectors` float32 [n, D], n >= 2; of its axes the `axes_max` longest, None keeps all."""
    rows = vectors.astype(np.float64)
    mean, gain = rows.mean(axis=0), _gain(rows.mean(axis=0), rows.std(axis=0))
    _, singular, axes = np.linalg.svd((rows - mean) * gain, full_matrices=False)
    variances = singular**2 / (len(rows) - 1)
    return _shrunk(mean, gain, axes[:axes_max], variances[:axes_max], shrinkage, left=float(variances.sum()))


def gaussian_of_sums(statistics: Statistics, code: FeatureCode, shrinkage: float = SHRINKAGE) -> Gaussian:
    """The Gaussian of all samples of `statistics`, whatever their class: how far a line has drifted from them.

    Of the axes the AXES_MAX longest are kept; all others get the same mean variance.

    Raises:
        RefusedError: fewer than two samples.
    """
    count = statistics.count
    if count < 2:
        raise RefusedError(f"statistics of {count} samples: expected at least two")
    level = statistics.total / count
    covariance = statistics.gram / count - np.outer(level, level)
    step = code.step.astype(np.float64)
    mean = code.offset + step * level
    gain = _gain(mean, step * np.sqrt(np.maximum(np.diag(covariance), 0.0)))
    scaled = (covariance + covariance.T) / 2 * np.outer(step * gain, step * gain)
    values, axes = np.linalg.eigh(scaled * (count / (count - 1)))
    values = np.maximum(values, 0.0)
    longest = np.argsort(values)[::-1][: min(AXES_MAX, count - 1)]
    return _shrunk(mean, gain, axes[:, longest].T, values[longest], shrinkage, left=float(values.sum()))


def _gain(mean: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    floor = STILL_SCALE * float(np.abs(mean).mean()) + 1e-9
    result: NDArray[np.float64] = 1.0 / np.maximum(spread + SCALE_FLOOR * np.median(spread), floor)
    return result


def _shrunk(
    mean: NDArray[np.float64],
    gain: NDArray[np.float64],
    axes: NDArray[np.float64],
    variances: NDArray[np.float64],
    shrinkage: float,
    left: float | None = None,
) -> Gaussian:
    """`left`: the variance along all axes together, where `axes` are not all of them."""
    kept = float(variances.sum())
    whole = kept if left is None else left
    beside = (whole - kept) / max(1, len(mean) - len(axes))
    # At least a millionth, again for parts that are all the same.
    sphere = max(shrinkage * whole / len(mean), 1e-6)
    return Gaussian(
        mean=mean.astype(np.float32),
        gain=gain.astype(np.float32),
        axes=np.ascontiguousarray(axes, np.float32),
        inverse=(1.0 / ((1.0 - shrinkage) * variances + sphere)).astype(np.float32),
        rest=float(1.0 / ((1.0 - shrinkage) * beside + sphere)),
    )


def distances(model: Gaussian, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mahalanobis distance of each vector: float32 [n] from [n, D]."""
    scaled = (vectors - model.mean) * model.gain
    along = scaled @ model.axes.T
    # The rest is a difference of two nearly equal sums: rounding must not make it negative.
    rest = np.maximum(np.einsum("nd,nd->n", scaled, scaled) - np.einsum("nr,nr->n", along, along), 0.0)
    result: NDArray[np.float32] = np.sqrt((along * along) @ model.inverse + rest * np.float32(model.rest))
    return result


def held_out_distances(vectors: NDArray[np.float32], folds: int = 5) -> NDArray[np.float32]:
    """The distance of each vector from the Gaussian of the other folds: what a new good part would get; float32 [n]."""
    fold = np.arange(len(vectors)) % folds
    result = np.empty(len(vectors), np.float32)
    for number in range(folds):
        result[fold == number] = distances(fit_gaussian(vectors[fold != number]), vectors[fold == number])
    return result
