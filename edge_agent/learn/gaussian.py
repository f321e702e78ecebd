"""How far a feature vector is from those of good parts: a Gaussian whose covariance is shrunk towards a sphere.

With 50 parts and 784 features the covariance has 49 directions that were seen; all others get the same small variance.
So it is kept as those directions and one number, not as a matrix [D, D].
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Share of the covariance that is replaced by a sphere of the same trace (Ledoit and Wolf 2004 in form). 0.02 to 0.3
# gave the same area under the curve within 0.003 on magtile, pcbmp and the synthetic line (docs/learning.md).
SHRINKAGE = 0.1
# Added to each feature's standard deviation, as a share of the median one: features that never moved stay quiet.
SCALE_FLOOR = 0.1
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


def fit_gaussian(vectors: NDArray[np.float32], shrinkage: float = SHRINKAGE) -> Gaussian:
    """The Gaussian of `vectors` float32 [n, D], n >= 2."""
    rows = vectors.astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    floor = STILL_SCALE * float(np.abs(mean).mean()) + 1e-9
    gain = 1.0 / np.maximum(spread + SCALE_FLOOR * np.median(spread), floor)
    scaled = (rows - mean) * gain
    _, singular, axes = np.linalg.svd(scaled, full_matrices=False)
    variances = singular**2 / (len(rows) - 1)
    # At least a millionth, again for parts that are all the same.
    sphere = max(shrinkage * variances.sum() / rows.shape[1], 1e-6)
    return Gaussian(
        mean=mean.astype(np.float32),
        gain=gain.astype(np.float32),
        axes=np.ascontiguousarray(axes, np.float32),
        inverse=(1.0 / ((1.0 - shrinkage) * variances + sphere)).astype(np.float32),
        rest=float(1.0 / sphere),
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
