"""How far each place of a feature map is from all places of good parts: a small bank of typical places.

    maps [n, h, w, C] --whiten--> places [n * h * w, C] --farthest first--> bank [m, C]
    a new map --whiten--> distance of each place to its nearest entry of the bank [h, w]

PatchCore (Roth et al., CVPR 2022, arXiv 2106.08265), with whitened channels: without whitening the area under the curve
was 0.05 to 0.17 lower (docs/learning.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

BANK_SIZE = 400
# Added to the covariance of the channels, as a share of their mean variance: weak channels are not blown up.
WHITENING_RIDGE = 0.02
# Rows of distances computed at a time when fitting: bounds memory to 4096 x 400 float32 = 6.5 MB.
CHUNK_ROWS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchBank:
    """`mean` float32 [C], `whiten` float32 [C, C] (applied from the right), `bank` float32 [m, C], whitened."""

    mean: NDArray[np.float32] = field(repr=False)
    whiten: NDArray[np.float32] = field(repr=False)
    bank: NDArray[np.float32] = field(repr=False)


def fit_bank(maps: NDArray[np.float32], size: int = BANK_SIZE) -> tuple[PatchBank, NDArray[np.float32]]:
    """The bank of `maps` float32 [n, h, w, C], and how far each place of each map is from the places of the others.

    The second result, float32 [n, h, w], leaves out the entries of the bank that a map gave itself: it is what a new
    good part would get, a little too high, since what only this map showed is missing then.
    """
    count, height, width, channels = maps.shape
    places = maps.reshape(-1, channels)
    mean: NDArray[np.float32] = places.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred: NDArray[np.float32] = places - mean
    covariance = (centred.T @ centred).astype(np.float64) / len(centred)
    # Parts that are all one even picture have no covariance at all: a millionth of the level stands in.
    level = float(np.mean(places * places, dtype=np.float64))
    ridge = max(WHITENING_RIDGE * float(np.trace(covariance)) / channels, 1e-6 * level, 1e-12)
    factor = np.linalg.cholesky(covariance + ridge * np.eye(channels))
    whiten = np.linalg.inv(factor).T.astype(np.float32)
    white = (centred @ whiten).astype(np.float32, copy=False)
    chosen = _farthest_first(white, min(size, len(white)))
    model = PatchBank(mean=mean, whiten=whiten, bank=np.ascontiguousarray(white[chosen]))
    part = np.repeat(np.arange(count), height * width)
    # One map gives the whole bank where all are the same picture: then its own entries are as good as any.
    shared = len(set(part[chosen].tolist())) > 1
    nearest = np.empty(len(white), np.float32)
    for start in range(0, len(white), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        square = _squares(white[rows], model.bank)
        square[(part[rows, None] == part[chosen]) & shared] = np.inf
        nearest[rows] = np.sqrt(np.maximum(square.min(axis=1), 0.0))
    return model, nearest.reshape(count, height, width)


def patch_distances(model: PatchBank, feature_map: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each place to the nearest entry of the bank: float32 [h, w] from [h, w, C]."""
    height, width, channels = feature_map.shape
    centred = feature_map.reshape(-1, channels) - model.mean
    white = (centred @ model.whiten).astype(np.float32, copy=False)
    square = _squares(white, model.bank).min(axis=1)
    result: NDArray[np.float32] = np.sqrt(np.maximum(square, 0.0)).reshape(height, width)
    return result


def _squares(rows: NDArray[np.float32], bank: NDArray[np.float32]) -> NDArray[np.float32]:
    """Squared Euclidean distances, float32 [n, m]; may be a rounding below zero."""
    square: NDArray[np.float32] = rows @ (np.float32(-2.0) * bank.T)
    square += np.einsum("nc,nc->n", rows, rows)[:, None]
    square += np.einsum("mc,mc->m", bank, bank)
    return square


def _farthest_first(rows: NDArray[np.float32], size: int) -> NDArray[np.intp]:
    """Indices of rows that cover all rows well: each next one is the farthest from those chosen (Gonzalez 1985)."""
    norms = np.einsum("nc,nc->n", rows, rows)
    # The place nearest to the mean comes first, so that no chance is involved.
    index = int(norms.argmin())
    chosen = [index]
    gap = np.full(len(rows), np.inf, np.float32)
    for _ in range(size - 1):
        np.minimum(gap, norms + norms[index] - 2.0 * (rows @ rows[index]), out=gap)
        index = int(gap.argmax())
        chosen.append(index)
    return np.array(chosen)
