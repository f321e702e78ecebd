"""What an entry of a Gram matrix will be, from those before it: only the difference needs to be sent. Pure.

Row by row both sides take away what the features that they know already explain (Cholesky, by panels of rows):

    P = what class means explain:  sum over classes of  B_c B_c^T / n_c
    row i:  residual = G_i - P_i,  pivot = G_ii - P_ii,  l = residual / sqrt(pivot),  P += l l^T  for the rows below

The features of one encoder are alike, so what is left of an entry is far smaller than the entry, and for fewer samples
than features it is next to nothing once as many rows were seen as there are samples. Its scale is known as well:
sqrt(pivot_i pivot_j / degrees of freedom), as in a Wishart matrix.

Both sides must get the same bits on every machine, whatever its BLAS. So l is cut to multiples of a power of two and
kept within what is left of each feature (Cauchy-Schwarz): then P's diagonal never exceeds G's, and every product and
every sum, in any order, is exact in float64, also for matrices that are not positive semidefinite.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.learn.statistics import Integers

# Rows between two updates of the whole: one matrix product instead of as many outer ones.
PANEL_ROWS = 16
# Where float64 counts every integer, less one for the sum of two.
EXACT_BITS = 52
FEATURES_PREDICTED_MAX = 1024
# Of l; with fewer a prediction says little (features that scatter by more than 2^44: some 10^10 samples).
FRACTION_BITS_MIN, FRACTION_BITS_MAX = 4, 20

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Damping:
    """How far a row is believed. `floor`: pivots below this share of the feature's scatter are not used; `noise` is
    added to the pivot as a share of it, for sums that are not exact.
    """

    floor: float
    noise: float


# A pivot below this is rounding: 1 to 64 made no difference (0.5 %), 256 cost a third where samples are few.
PIVOT_MIN = 16.0
EXACT = Damping(floor=0.0, noise=0.0)
# With 127 levels: 148 KB a plant; without damping the errors of rounding grow from row to row (400 KB and more).
COARSE_LEVELS, COARSE_FLOOR, COARSE_NOISE = 127, 0.05, 0.1


@dataclass(slots=True, kw_only=True)
class Predictor:
    """State of one pass over the rows; `row`, then `learn`, for i = 0, 1, ... D - 1."""

    left: Floats
    scatter: Floats
    damping: Damping
    fraction_bits: int
    freedom: int
    by_class: Floats = field(repr=False)
    table: Floats = field(repr=False)
    panel: Floats = field(repr=False)

    def row(self, i: int) -> Floats:
        """The prediction for columns i + 1 ... D - 1 of row i, float64 [D - i - 1]."""
        seen = self.panel[: i % PANEL_ROWS]
        result: Floats = self.by_class[i, i + 1 :] + (self.table[i, i + 1 :] + seen[:, i] @ seen[:, i + 1 :])
        return result

    def scale(self, i: int) -> Floats:
        """About how far the entries will lie from their prediction: standard deviations, float64 [D - i - 1]."""
        result: Floats = np.sqrt(self.left[i] * self.left[i + 1 :] / max(self.freedom - i, 1))
        return result

    def learn(self, i: int, found: Integers, predicted: Floats) -> None:
        """Row i is known: `found` int64 [D - i - 1] are its columns i + 1 ... D - 1."""
        slot, below = i % PANEL_ROWS, slice(i + 1, None)
        self.panel[slot] = 0.0
        if self.fraction_bits and self.left[i] > max(PIVOT_MIN, self.damping.floor * self.scatter[i]):
            grid = 2.0**self.fraction_bits
            pivot = self.left[i] + self.damping.noise * self.scatter[i]
            within = np.floor(np.sqrt(self.left[below]) * grid)
            loads = np.clip(np.rint((found - predicted) / np.sqrt(pivot) * grid), -within, within) / grid
            self.panel[slot, below] = loads
            self.left[below] = np.maximum(self.left[below] - loads * loads, 0.0)
        if slot == PANEL_ROWS - 1:
            self.table[below, below] += self.panel[:, below].T @ self.panel[:, below]


def damping_of(levels: int) -> Damping:
    """For sums rounded to `levels`, 0 for exact ones. The finer the rounding the more is believed, in proportion: at
    1023 levels both the damping of 127 and this share to the power of 1.5 took 15 % more bytes.
    """
    if not levels:
        return EXACT
    share = COARSE_LEVELS / levels
    return Damping(floor=COARSE_FLOOR * share, noise=COARSE_NOISE * share)


def predictor(counts: Integers, cross: Integers, diagonal: Integers, damping: Damping) -> Predictor:
    """Ready for row 0: `counts` [C], `cross` [D, C] and `diagonal` [D] are what both sides know beforehand."""
    size = len(diagonal)
    by_class = np.zeros((size, size))
    for number, column in zip(counts.tolist(), cross.T.astype(np.float64), strict=True):
        # One class after the other, element by element: the order of the sum is the same everywhere.
        if number:
            by_class += np.outer(column, column) / number
    scatter = np.maximum(diagonal - np.diag(by_class), 1.0)
    fraction_bits = min(FRACTION_BITS_MAX, (EXACT_BITS - int(scatter.max()).bit_length()) // 2)
    if fraction_bits < FRACTION_BITS_MIN or size > FEATURES_PREDICTED_MAX:
        fraction_bits = 0
    return Predictor(
        left=scatter.copy(),
        scatter=scatter,
        damping=damping,
        fraction_bits=fraction_bits,
        freedom=int(counts.sum()) - len(counts),
        by_class=by_class,
        table=np.zeros((size, size)),
        panel=np.zeros((PANEL_ROWS, size)),
    )
