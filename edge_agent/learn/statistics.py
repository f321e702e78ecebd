"""Sums over labelled feature vectors: all that a ridge head needs, and sums add.

    n_c = count of class c,  G = sum x x^T [D, D],  B [D, C] = sum x y^T (column c: sum of the vectors of class c)

The sum of all vectors is B's row sum, so it is not kept twice. Merging plants gives exactly the head that all their
samples in one place would give, whatever the split or the order (analytic federated learning: He et al., AFL, CVPR
2025, arXiv 2405.16240). Subtracting takes samples out again. Sums are float64: equal up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Class names in order; `counts` float64 [C] samples, `gram` float64 [D, D], `cross` float64 [D, C]."""

    classes: tuple[str, ...]
    counts: NDArray[np.float64] = field(repr=False)
    gram: NDArray[np.float64] = field(repr=False)
    cross: NDArray[np.float64] = field(repr=False)

    @property
    def dimension(self) -> int:
        """D, the length of the feature vectors."""
        return int(self.gram.shape[0])

    @property
    def count(self) -> float:
        """How many samples."""
        return float(self.counts.sum())

    @property
    def total(self) -> NDArray[np.float64]:
        """The sum of all vectors, float64 [D]."""
        result: NDArray[np.float64] = self.cross.sum(axis=1)
        return result


def empty(classes: Sequence[str], dimension: int) -> Statistics:
    """The sums over no sample.

    Raises:
        ValueError: a class name is empty or named twice.
    """
    names = tuple(classes)
    if len(set(names)) != len(names) or not all(names):
        raise ValueError(f"classes {names}: expected different names, none empty")
    return Statistics(
        classes=names,
        counts=np.zeros(len(names)),
        gram=np.zeros((dimension, dimension)),
        cross=np.zeros((dimension, len(names))),
    )


def add(statistics: Statistics, vectors: NDArray[np.float32], labels: Sequence[str]) -> Statistics:
    """The sums with these samples too: `vectors` float32 [n, D], `labels` n names of `statistics.classes`.

    Raises:
        RefusedError: an unknown label, another length, or a vector that is not finite; nothing is added.
    """
    return merge((statistics, _sums(statistics, vectors, labels)))


def remove(statistics: Statistics, vectors: NDArray[np.float32], labels: Sequence[str]) -> Statistics:
    """The sums without these samples, which were added before.

    Raises:
        RefusedError: as `add`, or more samples of a class than there are.
    """
    return subtract(statistics, _sums(statistics, vectors, labels))


def merge(parts: Iterable[Statistics]) -> Statistics:
    """The sums of several plants or batches.

    Raises:
        RefusedError: classes or dimensions differ.
        ValueError: no part at all.
    """
    every = tuple(parts)
    if not every:
        raise ValueError("no statistics to merge")
    for part in every[1:]:
        _check_fit(every[0], part)
    return Statistics(
        classes=every[0].classes,
        counts=np.sum([part.counts for part in every], axis=0),
        gram=np.sum([part.gram for part in every], axis=0),
        cross=np.sum([part.cross for part in every], axis=0),
    )


def subtract(whole: Statistics, part: Statistics) -> Statistics:
    """The sums of `whole` without those of `part`: a plant that leaves is forgotten exactly.

    Raises:
        RefusedError: classes or dimensions differ, or `part` has more samples of a class than `whole`.
    """
    _check_fit(whole, part)
    counts = whole.counts - part.counts
    if (counts < 0).any():
        name = whole.classes[int(counts.argmin())]
        raise RefusedError(f"statistics: {-counts.min():.0f} more samples of class {name!r} removed than were added")
    return Statistics(classes=whole.classes, counts=counts, gram=whole.gram - part.gram, cross=whole.cross - part.cross)


def _sums(like: Statistics, vectors: NDArray[np.float32], labels: Sequence[str]) -> Statistics:
    if vectors.ndim != 2 or vectors.shape != (len(labels), like.dimension):
        raise RefusedError(
            f"statistics: vectors of shape {vectors.shape} with {len(labels)} labels, expected [n, {like.dimension}]"
        )
    strangers = sorted(set(labels) - set(like.classes))
    if strangers:
        raise RefusedError(f"statistics: labels {strangers} are not among the classes {like.classes}")
    if not np.isfinite(vectors).all():
        raise RefusedError("statistics: a feature vector holds NaN or infinity; it would spoil every later head")
    rows = vectors.astype(np.float64)
    position = {name: number for number, name in enumerate(like.classes)}
    hot = np.zeros((len(labels), len(like.classes)))
    hot[np.arange(len(labels)), [position[label] for label in labels]] = 1.0
    return Statistics(classes=like.classes, counts=hot.sum(axis=0), gram=rows.T @ rows, cross=rows.T @ hot)


def _check_fit(one: Statistics, other: Statistics) -> None:
    if one.classes != other.classes:
        raise RefusedError(f"statistics: classes {other.classes} do not fit {one.classes}; use the same list in order")
    if one.dimension != other.dimension:
        raise RefusedError(
            f"statistics: {other.dimension} features, expected {one.dimension}; another encoder made them"
        )
