"""From sums to a head: standardise, balance the classes, solve the ridge equations, calibrate on held-out samples.

    Statistics --moments--> Spectrum --ridge--> LinearHead --held-out samples--> temperature, threshold, hold_below

Sums are over int8 codes, heads take float vectors: a head is standardised, so the code's offset and step go into its
mean and scale and are gone. Samples that a function is given beside the sums are codes too.

The equations are solved through the eigenvectors of the covariance: then every ridge costs one small product, and sums
that lost positive-definiteness (lossy codes, subtraction) show it in their smallest eigenvalue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import Codes, FeatureCode, encode
from edge_agent.learn.head import LinearHead, defect_scores, logits
from edge_agent.learn.statistics import Integers, Statistics, sums

RIDGES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
RIDGE = 1e-2
# 0: classes count as often as they came; 1: each class counts the same.
BALANCE = 0.5
# Added to each feature's variance, as a share of the median one: features that hardly move are not blown up.
VARIANCE_FLOOR = 1e-3
# A class without a sample: its logit lies this far below what any class with samples can reach in practice.
ABSENT_BIAS = -10.0

FALSE_ALARM_RATE = 0.02
MISS_RATE = 0.02
HELD_SHARE_MAX = 0.10
TEMPERATURES = (1e-3, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """Standardised and balanced moments of codes, ready for any ridge.

    `mean`, `scale` float64 [D]; `values` float64 [D] >= 0 and `axes` float64 [D, D] (columns) of the covariance;
    `cross` float64 [D, C] = axes^T times the covariance of features and classes; `priors` float64 [C] sum to 1;
    `deficit` >= 0 is what the smallest eigenvalue lacked to zero.
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float64] = field(repr=False)
    scale: NDArray[np.float64] = field(repr=False)
    values: NDArray[np.float64] = field(repr=False)
    axes: NDArray[np.float64] = field(repr=False)
    cross: NDArray[np.float64] = field(repr=False)
    priors: NDArray[np.float64] = field(repr=False)
    deficit: float


def spectrum(statistics: Statistics, balance: float = BALANCE, *, expected: Integers | None = None) -> Spectrum:
    """Moments of the samples, each class weighted by its count to the power of 1 - `balance`.

    Classes share one within-class covariance (as in linear discriminant analysis), so only the class means are weighed
    anew and no further sums are needed; with `balance` 0 this is plain ridge regression, exactly. `expected` int64 [C]
    are counts to weigh by instead of those of the samples, where these say nothing of how often a class will come.

    Raises:
        RefusedError: fewer than two samples, one class only, or fewer samples than classes.
    """
    count = statistics.count
    present = statistics.counts > 0
    check_enough(statistics)
    means = statistics.cross / np.where(present, statistics.counts, 1.0)
    shares = statistics.counts / count
    weighing = present if expected is None else present & (expected > 0)
    weights = statistics.counts if expected is None else expected
    priors = np.where(weighing, np.where(weighing, weights, 1) ** (1.0 - balance), 0.0)
    priors /= priors.sum()
    mean = means @ priors
    covariance = (
        statistics.gram / count - (means * shares) @ means.T + (means * priors) @ means.T - np.outer(mean, mean)
    )
    # The sums are exact, these products of means are not: rounding makes them slightly lopsided.
    covariance = (covariance + covariance.T) / 2
    variance = np.maximum(np.diag(covariance), 0.0)
    scale = np.sqrt(variance + VARIANCE_FLOOR * np.median(variance))
    scale[scale < np.finfo(np.float32).tiny] = 1.0
    values, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    deficit = max(0.0, -float(values[0]))
    centred = (means - mean[:, None]) * priors / scale[:, None]
    return Spectrum(
        classes=statistics.classes,
        mean=mean,
        scale=scale,
        values=values + deficit,
        axes=axes,
        cross=axes.T @ centred,
        priors=priors,
        deficit=deficit,
    )


def head_of(source: Spectrum, ridge: float, good_classes: Sequence[str], code: FeatureCode) -> LinearHead:
    """The head for one ridge, relative to the mean eigenvalue (trace / D); not calibrated yet (temperature 1).

    It takes vectors, not codes: `code` is the one that the codes were made with.

    Raises:
        ValueError: the ridge is not positive.
    """
    if not ridge > 0:
        raise ValueError(f"ridge {ridge}, expected a positive number")
    return LinearHead(
        classes=source.classes,
        good_classes=frozenset(good_classes),
        weights=(source.axes @ (source.cross / _damped(source, ridge)[:, None])).astype(np.float32),
        bias=np.where(source.priors > 0, source.priors, ABSENT_BIAS).astype(np.float32),
        mean=(code.offset + code.step * source.mean).astype(np.float32),
        scale=(code.step * source.scale).astype(np.float32),
    )


def solve_head(
    statistics: Statistics,
    good_classes: Sequence[str],
    code: FeatureCode,
    *,
    ridge: float = RIDGE,
    balance: float = BALANCE,
) -> LinearHead:
    """The ridge head of these sums; not calibrated yet (see `calibrate`).

    Raises:
        RefusedError: too few samples or classes.
    """
    return head_of(spectrum(statistics, balance), ridge, good_classes, code)


def fit_head(
    code: FeatureCode,
    vectors: NDArray[np.float32],
    labels: Sequence[str],
    held_vectors: NDArray[np.float32],
    held_labels: Sequence[str],
    good_classes: Sequence[str],
) -> LinearHead:
    """A calibrated head: solved on `vectors` [n, D], its ridge chosen by leave-one-out, calibrated on the held-out.

    Raises:
        RefusedError: too few samples or classes, vectors that are not finite, no held-out sample.
    """
    codes = encode(code, vectors)
    statistics = sums(codes, labels)
    ridge = choose_ridge_left_out(statistics, codes[:, None], labels)
    good = [name for name in good_classes if name in statistics.classes]
    return calibrate(solve_head(statistics, good, code, ridge=ridge), held_vectors, held_labels)


def check_enough(statistics: Statistics) -> None:
    """Whether a head can be solved from these sums at all.

    Raises:
        RefusedError: fewer than two samples, one class only, or fewer samples than classes.
    """
    count, present = (
        statistics.count,
        [name for name, held in zip(statistics.classes, statistics.counts, strict=True) if held],
    )
    if count < 2:
        raise RefusedError(f"statistics of {count} samples: expected at least two; label more parts")
    if len(present) < 2:
        raise RefusedError(
            f"{count} labels, all of class {present[0]!r}: a head tells classes apart, label parts of a second one "
            "(with good parts alone a camera judges by likeness, see the good-only start)"
        )
    if count < len(statistics.classes):
        raise RefusedError(
            f"{count} samples for {len(statistics.classes)} classes: expected at least one for each; label more parts"
        )


# --- which ridge ----------------------------------------------------------------------------------------------------


def choose_ridge_left_out(
    statistics: Statistics, codes: Codes, labels: Sequence[str], ridges: Sequence[float] = RIDGES
) -> float:
    """The ridge with the least leave-one-out error; `codes` [n, V, D] are the samples that `statistics` sums up."""
    source = spectrum(statistics, balance=0.0)
    along, hot = _along(source, codes), _one_hot(source.classes, labels)

    def error(ridge: float) -> float:
        return _class_mean_square(_left_out(source, ridge, along, hot), labels)

    return float(min(ridges, key=error))


def left_out_residuals(source: Spectrum, ridge: float, codes: Codes, labels: Sequence[str]) -> NDArray[np.float64]:
    """What each view's prediction would miss if its sample had been left out: float64 [n, V, C] from codes [n, V, D].

    In closed form: (I - H)^-1 residual with the leverages H [V, V] among the views of a sample (Allen's PRESS, by
    groups); exact for plain ridge (balance 0), the scale held fixed.
    """
    return _left_out(source, ridge, _along(source, codes), _one_hot(source.classes, labels))


def _along(source: Spectrum, codes: Codes) -> NDArray[np.float64]:
    """The codes along the axes: float64 [n, V, D]. One product of this size serves every ridge."""
    dimension = codes.shape[-1]
    standard = (codes.reshape(-1, dimension) - source.mean) / source.scale
    result: NDArray[np.float64] = (standard @ source.axes).reshape(codes.shape)
    return result


def _left_out(
    source: Spectrum, ridge: float, along: NDArray[np.float64], hot: NDArray[np.float64]
) -> NDArray[np.float64]:
    count, views, _ = along.shape
    damped = _damped(source, ridge)
    residuals = hot[:, None, :] - (source.priors + along @ (source.cross / damped[:, None]))
    leverage = (1.0 + (along / damped) @ along.transpose(0, 2, 1)) / (count * views)
    # A sample that the head cannot do without has a leverage of 1; a millionth keeps its answer large but finite.
    left: NDArray[np.float64] = np.linalg.solve((1.0 + 1e-6) * np.eye(views) - leverage, residuals)
    return left


def choose_ridge_held_out(
    source: Spectrum, codes: Codes, labels: Sequence[str], ridges: Sequence[float] = RIDGES
) -> float:
    """The ridge with the least error on samples that are not in the sums, `codes` [n, D]."""
    return float(min(ridges, key=lambda ridge: held_out_error(source, ridge, codes, labels)))


def held_out_error(source: Spectrum, ridge: float, codes: Codes, labels: Sequence[str]) -> float:
    """Mean square, over the classes, of what the head of this ridge misses on samples that are not in the sums."""
    return _class_mean_square(_one_hot(source.classes, labels) - answers(source, ridge, codes), labels)


def answers(source: Spectrum, ridge: float, codes: Codes) -> NDArray[np.float64]:
    """What the head of this ridge would say of samples, before any calibration: float64 [n, C] from codes [n, D]."""
    weights = source.axes @ (source.cross / _damped(source, ridge)[:, None])
    result: NDArray[np.float64] = source.priors + ((codes - source.mean) / source.scale) @ weights
    return result


def _damped(source: Spectrum, ridge: float) -> NDArray[np.float64]:
    # `values` hold the deficit already: what a lossy sum lost is added to lambda.
    result: NDArray[np.float64] = source.values + ridge * max(float(source.values.mean()), 1e-12)
    return result


def _class_mean_square(residuals: NDArray[np.float64], labels: Sequence[str]) -> float:
    """Mean square over classes, so that rare classes have their say; `residuals` [n, C] or [n, V, C]."""
    squares = (residuals**2).sum(axis=-1)
    names = np.array(labels)
    return float(np.mean([squares[names == name].mean() for name in sorted(set(labels))]))


def _one_hot(classes: tuple[str, ...], labels: Sequence[str]) -> NDArray[np.float64]:
    hot: NDArray[np.bool_] = np.array(labels)[:, None] == np.array(classes)[None, :]
    return hot.astype(np.float64)


# --- calibration ----------------------------------------------------------------------------------------------------


def calibrate(
    head: LinearHead,
    vectors: NDArray[np.float32],
    labels: Sequence[str],
    *,
    false_alarm_rate: float = FALSE_ALARM_RATE,
    miss_rate: float = MISS_RATE,
) -> LinearHead:
    """The head with temperature and thresholds from held-out samples: `vectors` float32 [n, D], `labels` n names.

    Raises:
        RefusedError: no held-out sample of a class that the head knows.
    """
    known = np.array([label in head.classes for label in labels], dtype=bool)
    if not known.any():
        raise RefusedError("calibration: no held-out sample of a class that the head knows; hold some back")
    names = [label for label in labels if label in head.classes]
    head = replace(head, temperature=fit_temperature(head, vectors[known], names))
    scores = defect_scores(head, vectors).astype(np.float64)
    good = np.array([label in head.good_classes for label in labels], dtype=bool)
    threshold, hold_below = thresholds(scores[good], scores[~good], false_alarm_rate, miss_rate)
    return replace(head, threshold=threshold, hold_below=hold_below)


def fit_temperature(head: LinearHead, vectors: NDArray[np.float32], labels: Sequence[str]) -> float:
    """The temperature of least negative log likelihood (Guo et al., ICML 2017), by golden section over its log."""
    raw = logits(head, vectors).astype(np.float64) * head.temperature
    truth = np.array([head.classes.index(label) for label in labels])
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        scaled = raw / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, truth]))

    low, high = np.log(TEMPERATURES)
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    # The loss has one minimum in 1 / T (it is convex there): 40 steps narrow the range to a millionth.
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2.0))


def thresholds(
    good: NDArray[np.float64], bad: NDArray[np.float64], false_alarm_rate: float, miss_rate: float
) -> tuple[float, float]:
    """`threshold` and `hold_below` from held-out defect probabilities of good [n] and bad [m] parts.

    `threshold`: the least with at most `false_alarm_rate` of new good parts at or above it (order statistic as in split
    conformal prediction, so it holds for small n too); with too few good parts to say, above all of them and >= 0.5.
    `hold_below`: the score that `miss_rate` of the bad parts do not reach, but never so low that more than
    HELD_SHARE_MAX of the good parts would be held.
    """
    if len(good) == 0:
        return 0.5, 0.5
    ordered = np.sort(good)
    rank = int(np.ceil((len(ordered) + 1) * (1.0 - false_alarm_rate)))
    enough = rank <= len(ordered)
    edge = float(ordered[min(rank, len(ordered)) - 1])
    above = np.concatenate([good[good > edge], bad[bad > edge]])
    # Halfway to the next score that was seen: equally far from both.
    upper = (edge + (float(above.min()) if len(above) else 1.0)) / 2.0
    upper = min(1.0, upper if enough else max(0.5, upper))
    held = float(np.quantile(ordered, 1.0 - HELD_SHARE_MAX))
    missed = float(np.quantile(bad, miss_rate)) if len(bad) else held
    return upper, float(min(upper, max(held, missed)))
