"""Sums over labelled feature codes: all that a ridge head needs, exact, and sums add.

    n_c = samples of class c,  G = sum x x^T [D, D],  B [D, C] = sum x y^T (column c: sum of the codes of class c)

x are int8 codes (`learn.feature_code`), so every sum is an integer and exact: whatever the order, the split or the
place, the same samples give the same bits, and what was added is taken out again without a trace. Merging plants gives
exactly the head of all their samples in one place (analytic federated learning: He et al., AFL, CVPR 2025, arXiv
2405.16240). The sum of all vectors is B's row sum, so it is not kept twice.

Bounds: |x| <= 127, so n samples give sums of at most 16,129 n. Up to SAMPLES_MAX samples every sum stays below 2^53:
int64 holds it, and its conversion to float64 in `learn.solve` is exact too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import LEVEL_MAX, Codes

# The largest power of two of samples whose sums of squares stay below 2^53.
SAMPLES_MAX = 2**39
# Rows multiplied at a time. Products are below 2^14 and so all sums below 2^53, where float64 counts every integer:
# BLAS on float64 is exact here, in any order, and some forty times as quick as numpy's own integer product.
CHUNK_ROWS = 1024

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Class names, sorted; `counts` int64 [C] samples, `gram` int64 [D, D], `cross` int64 [D, C]."""

    classes: tuple[str, ...]
    counts: Integers = field(repr=False)
    gram: Integers = field(repr=False)
    cross: Integers = field(repr=False)

    @property
    def dimension(self) -> int:
        """D, the length of the feature vectors."""
        return int(self.gram.shape[0])

    @property
    def count(self) -> int:
        """How many samples."""
        return int(self.counts.sum())

    @property
    def total(self) -> Integers:
        """The sum of all codes, int64 [D]."""
        result: Integers = self.cross.sum(axis=1)
        return result


def empty(dimension: int, classes: Iterable[str] = ()) -> Statistics:
    """The sums over no sample.

    Raises:
        RefusedError: a class name is empty.
    """
    names = tuple(sorted(set(classes)))
    if not all(names):
        raise RefusedError("statistics: a class without a name; expected names of at least one character")
    return Statistics(
        classes=names,
        counts=np.zeros(len(names), np.int64),
        gram=np.zeros((dimension, dimension), np.int64),
        cross=np.zeros((dimension, len(names)), np.int64),
    )


def sums(codes: Codes, labels: Sequence[str]) -> Statistics:
    """The sums over these samples: `codes` int8 [n, D], `labels` n names.

    Raises:
        RefusedError: another length or type, a label without a name, or -128, which no code holds.
    """
    if codes.ndim != 2 or codes.dtype != np.int8 or len(codes) != len(labels):
        raise RefusedError(
            f"statistics: codes {codes.dtype} {codes.shape} with {len(labels)} labels, expected int8 [n, D] and [n]"
        )
    if codes.size and int(codes.min()) < -LEVEL_MAX:
        raise RefusedError(f"statistics: a code holds {codes.min()}, expected -{LEVEL_MAX} to {LEVEL_MAX}")
    result = empty(codes.shape[1], labels)
    position = {name: number for number, name in enumerate(result.classes)}
    numbers = np.array([position[label] for label in labels], np.intp)
    hot = np.eye(len(result.classes))[numbers]
    for start in range(0, len(codes), CHUNK_ROWS):
        rows = codes[start : start + CHUNK_ROWS].astype(np.float64)
        np.add(result.gram, (rows.T @ rows).astype(np.int64), out=result.gram)
        np.add(result.cross, (rows.T @ hot[start : start + CHUNK_ROWS]).astype(np.int64), out=result.cross)
    np.add(result.counts, np.bincount(numbers, minlength=len(result.classes)), out=result.counts)
    return result


def merge(parts: Iterable[Statistics]) -> Statistics:
    """The sums of several plants or batches, over every class that one of them knows.

    Raises:
        RefusedError: dimensions differ, no part at all, or more samples than the sums can hold.
    """
    every = tuple(parts)
    if not every:
        raise RefusedError("statistics: nothing to merge")
    _check_fit(every)
    classes = sorted({name for part in every for name in part.classes})
    if (count := sum(part.count for part in every)) > SAMPLES_MAX:
        raise RefusedError(f"statistics: {count} samples, at most {SAMPLES_MAX} can be summed exactly")
    result = empty(every[0].dimension, classes)
    for part in every:
        columns = [classes.index(name) for name in part.classes]
        result.counts[columns] += part.counts
        result.cross[:, columns] += part.cross
        np.add(result.gram, part.gram, out=result.gram)
    return result


def subtract(whole: Statistics, part: Statistics) -> Statistics:
    """The sums of `whole` without those of `part`: a plant that leaves is forgotten exactly.

    The classes of `whole` stay, also those without a sample now; see `present`.

    Raises:
        RefusedError: dimensions differ, or `part` has more samples of a class than `whole`.
    """
    _check_fit((whole, part))
    strangers = sorted(set(part.classes) - set(whole.classes))
    if strangers:
        raise RefusedError(f"statistics: samples of classes {strangers} were never added to {whole.classes}")
    negative = Statistics(classes=part.classes, counts=-part.counts, gram=-part.gram, cross=-part.cross)
    result = merge((whole, negative))
    if (result.counts < 0).any():
        name = whole.classes[int(result.counts.argmin())]
        raise RefusedError(f"statistics: {-result.counts.min()} more samples of class {name!r} removed than were added")
    return result


def times(statistics: Statistics, weight: int) -> Statistics:
    """Each sample counted `weight` times, >= 0: the same bits as adding it that often.

    Raises:
        RefusedError: a negative weight, or more samples than the sums can hold.
    """
    if weight < 0 or weight * statistics.count > SAMPLES_MAX:
        raise RefusedError(
            f"statistics: {statistics.count} samples times {weight}, expected 0 to {SAMPLES_MAX} samples in all"
        )
    return Statistics(
        classes=statistics.classes,
        counts=statistics.counts * weight,
        gram=statistics.gram * weight,
        cross=statistics.cross * weight,
    )


def present(statistics: Statistics) -> Statistics:
    """Without the classes that have no sample: the form in which the same samples always have the same bits."""
    kept = statistics.counts > 0
    return Statistics(
        classes=tuple(name for name, keep in zip(statistics.classes, kept, strict=True) if keep),
        counts=statistics.counts[kept],
        gram=statistics.gram,
        cross=np.ascontiguousarray(statistics.cross[:, kept]),
    )


def _check_fit(parts: Sequence[Statistics]) -> None:
    dimensions = sorted({part.dimension for part in parts})
    if len(dimensions) > 1:
        raise RefusedError(f"statistics of {dimensions} features do not add; another encoder made some of them")
