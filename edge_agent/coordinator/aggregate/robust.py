"""Means that some lying contributions cannot carry away: clipping, median, trimmed mean, Krum. Pure, and tiled.

All of them work on deltas, never on weights, and in float64: distances between whole models, computed in float32 as
|x|^2 + |y|^2 - 2xy, are noise where models differ by 1e-5 (tests/coordinator/test_flower.py shows it on Flower's).

Contributions are read a tile of columns at a time, so memory is O(N x tile), not O(N x P). Their order is the caller's:
sorted by digest, so that it does not hang on who came first. No rule stops a lie within the usual norm (arXiv
1902.06156); that is what the gate is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.coordinator.aggregate import sums
from edge_agent.coordinator.aggregate.weights import Weight
from edge_agent.errors import RefusedError

# Numbers in a tile of all contributions together: 8 MiB in float64, of which a rule holds a few.
TILE_NUMBERS = 2**20

Mean = NDArray[np.float64]
Rule = Callable[["Rows", Sequence[Weight]], Mean]


class Rows(Protocol):
    """Contributions as rows of a matrix [N, P] that need not be in memory."""

    count: int
    size: int

    def tile(self, start: int, end: int) -> NDArray[Any]:
        """The columns from `start` to before `end` of every row, float32 or float64 [N, end - start]."""


class Stack:
    """Rows that are in memory."""

    def __init__(self, matrix: NDArray[Any]) -> None:
        self.count, self.size = matrix.shape
        self._matrix = matrix

    def tile(self, start: int, end: int) -> NDArray[Any]:
        return self._matrix[:, start:end]


def norms(rows: Rows) -> NDArray[np.float64]:
    """The Euclidean norm of each row, float64 [N]."""
    squares = np.zeros(rows.count)
    for _, block in _tiles(rows):
        squares += np.einsum("np,np->n", block, block)
    return np.sqrt(squares)


def clipped(rows: Rows, weights: Sequence[Weight], *, limit: float | None = None) -> Mean:
    """The weighted mean of rows that are shortened to the norm `limit`; None: to the median norm.

    Raises:
        RefusedError: no row, or a row that cannot be summed.
    """
    _check_enough(rows, 1, "clipped mean")
    lengths = norms(rows)
    longest = float(np.median(lengths)) if limit is None else limit
    factors = [min(1.0, longest / length) if length else 1.0 for length in lengths.tolist()]
    return weighted(rows, weights, factors)


def weighted(rows: Rows, weights: Sequence[Weight], factors: Sequence[float] | None = None) -> Mean:
    """The exact weighted mean (`sums`) of all rows, each shortened by its factor.

    Raises:
        RefusedError: no row, or a row that cannot be summed.
    """
    _check_enough(rows, 1, "mean")
    result = np.empty(rows.size)
    for start, block in _tiles(rows):
        part = sums.empty(block.shape[1])
        for number, (row, weight) in enumerate(zip(block, weights, strict=True)):
            part.add(row, weight, factor=1.0 if factors is None else factors[number])
        result[start : start + block.shape[1]] = part.mean()
    return result


def median(rows: Rows, _weights: Sequence[Weight] = ()) -> Mean:
    """The median of each coordinate (Yin et al., ICML 2018, arXiv 1803.01498); every row counts the same.

    Raises:
        RefusedError: no row.
    """
    _check_enough(rows, 1, "median")
    middle = slice((rows.count - 1) // 2, rows.count // 2 + 1)
    return _sorted_mean(rows, middle)


def trimmed(rows: Rows, _weights: Sequence[Weight] = (), *, share: float = 0.2) -> Mean:
    """The mean of each coordinate without its `share` (0 to below .5) of lowest and of highest (Yin et al., 2018).

    Raises:
        RefusedError: no row.
        ValueError: the share leaves nothing.
    """
    if not 0.0 <= share < 0.5:
        raise ValueError(f"trimmed mean: share {share}, expected 0 to below 0.5")
    _check_enough(rows, 1, "trimmed mean")
    cut = int(share * rows.count)
    return _sorted_mean(rows, slice(cut, rows.count - cut))


def krum(rows: Rows, weights: Sequence[Weight], *, liars: int, keep: int = 1) -> Mean:
    """The weighted mean of the `keep` rows that `krum_order` puts first: Krum for 1, Multi-Krum for more.

    Raises:
        RefusedError: fewer rows than 2 * liars + 3, for which the rule promises nothing, or than `keep`.
    """
    _check_enough(rows, max(2 * liars + 3, keep), f"Krum against {liars} liars")
    kept = sorted(krum_order(squared_distances(rows), liars)[:keep])
    return weighted(_Chosen(rows, kept), [weights[number] for number in kept])


def krum_order(distances: NDArray[np.float64], liars: int) -> list[int]:
    """Rows from the most to the least central (Blanchard et al., NeurIPS 2017, arXiv 1703.02757).

    A row's score is the sum of squared distances [N, N] to its N - liars - 2 nearest others. Equal scores: first row.
    """
    others = distances + np.diag(np.full(len(distances), np.inf))  # not oneself, also when another is at distance 0
    nearest = max(1, len(distances) - liars - 2)
    scores = np.sort(others, axis=1)[:, :nearest].sum(axis=1)
    return [int(row) for row in np.argsort(scores, kind="stable")]


def squared_distances(rows: Rows) -> NDArray[np.float64]:
    """Squared Euclidean distances between all rows, float64 [N, N], from one tiled Gram matrix.

    Each column is first centred on its own mean: what all rows have in common cancels before it is squared.
    """
    gram = np.zeros((rows.count, rows.count))
    for _, block in _tiles(rows):
        centred = block - block.mean(axis=0)
        gram += centred @ centred.T
    squares = np.diag(gram)
    result: NDArray[np.float64] = np.maximum(squares[:, None] + squares[None, :] - gram - gram.T, 0.0)
    np.fill_diagonal(result, 0.0)
    return result


class _Chosen:
    """Some of the rows."""

    def __init__(self, rows: Rows, kept: Sequence[int]) -> None:
        self.count, self.size = len(kept), rows.size
        self._rows, self._kept = rows, list(kept)

    def tile(self, start: int, end: int) -> NDArray[Any]:
        result: NDArray[Any] = self._rows.tile(start, end)[self._kept]
        return result


def _sorted_mean(rows: Rows, kept: slice) -> Mean:
    result = np.empty(rows.size)
    for start, block in _tiles(rows):
        # np.sort along the first axis took a sixth of np.median's time (100 rows of 1.5 M, measured).
        block.sort(axis=0)
        result[start : start + block.shape[1]] = block[kept].mean(axis=0)
    return result


def _tiles(rows: Rows) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """First column and float64 [N, tile] of each tile; the tile is the caller's to change."""
    columns = max(256, TILE_NUMBERS // max(rows.count, 1))
    for start in range(0, rows.size, columns):
        yield start, rows.tile(start, min(start + columns, rows.size)).astype(np.float64)


def _check_enough(rows: Rows, least: int, what: str) -> None:
    if rows.count < least:
        raise RefusedError(f"{what}: {rows.count} contributions, expected at least {least}")
