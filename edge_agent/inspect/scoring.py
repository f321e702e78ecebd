"""How good verdicts are: confusion, F1, balanced accuracy, recall at a false-alarm rate, AUROC, bootstrap intervals.

Each figure takes plain arrays and says exactly what it counts, so that a figure in a report can be checked by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class Labelled(Protocol):
    """What `split_labelled` needs of an item: its label, and the group of pictures it must not be torn from."""

    @property
    def label(self) -> str: ...

    @property
    def group(self) -> str: ...


Item = TypeVar("Item", bound=Labelled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with the borders between which it lay in the given share of resampled sets."""

    value: float
    low: float
    high: float


def confusion(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> NDArray[np.int64]:
    """How often class i was called class j: int64 [C, C].

    Raises:
        ValueError: the sequences differ in length, or hold a name that is not among the classes.
    """
    position = {name: number for number, name in enumerate(classes)}
    strangers = sorted({*truth, *predicted} - set(position))
    if strangers:
        raise ValueError(f"names {strangers} are not among the classes {tuple(classes)}")
    table = np.zeros((len(classes), len(classes)), np.int64)
    for actual, said in zip(truth, predicted, strict=True):
        table[position[actual], position[said]] += 1
    return table


def macro_f1(table: NDArray[np.int64]) -> float:
    """Mean F1 over the classes that occur or were named; 0 for a class that was never hit, NaN for an empty table."""
    hits, occurs, named = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    used = occurs + named > 0
    return float(np.mean(2.0 * hits[used] / (occurs + named)[used])) if used.any() else float("nan")


def balanced_accuracy(table: NDArray[np.int64]) -> float:
    """Mean recall over the classes that occur; NaN for an empty table."""
    occurs = table.sum(axis=1)
    used = occurs > 0
    return float(np.mean(np.diag(table)[used] / occurs[used])) if used.any() else float("nan")


def auroc(good: NDArray[np.floating], bad: NDArray[np.floating]) -> float:
    """The chance that a bad part scores higher than a good one, ties counting half; NaN when one side is empty."""
    if len(good) == 0 or len(bad) == 0:
        return float("nan")
    ordered = np.sort(good)
    below, not_above = np.searchsorted(ordered, bad, "left"), np.searchsorted(ordered, bad, "right")
    return float((below + not_above).sum() / (2.0 * len(good) * len(bad)))


def recall_at(good: NDArray[np.floating], bad: NDArray[np.floating], false_alarm_rate: float) -> float:
    """The largest share of bad parts above a threshold that at most `false_alarm_rate` of the good ones are above."""
    if len(good) == 0 or len(bad) == 0:
        return float("nan")
    # At most this many good parts may be above; the threshold lies just above the next one.
    allowed = int(np.floor(false_alarm_rate * len(good) + 1e-9))
    edge = -np.inf if allowed >= len(good) else np.sort(good)[len(good) - 1 - allowed]
    return float(np.mean(bad > edge))


def bootstrap(
    figure: Callable[[NDArray[np.intp]], float],
    count: int,
    rng: np.random.Generator,
    *,
    share: float = 0.95,
    draws: int = 1000,
) -> Interval:
    """The figure over all `count` samples, and its interval over sets drawn with replacement (Efron's percentiles).

    `figure` takes indices of samples; draws for which it is NaN (a class is missing) are left out.
    """
    values = np.array([figure(rng.integers(0, count, count)) for _ in range(draws)])
    values = values[~np.isnan(values)]
    value = figure(np.arange(count))
    if len(values) == 0:
        return Interval(value=value, low=float("nan"), high=float("nan"))
    low, high = np.quantile(values, [(1.0 - share) / 2.0, (1.0 + share) / 2.0])
    return Interval(value=value, low=float(low), high=float(high))


def split_labelled(items: Iterable[Item], seed: int, held_share: float = 0.3) -> tuple[list[Item], list[Item]]:
    """Items to learn from and items to hold out: about `held_share` of each label, no group on both sides.

    Deterministic in the set of items and the seed, whatever their order: groups are ranked by a hash. A group with
    several labels goes where its commonest label needs it. An item without a group gives its own name as its group.
    Each label with at least two groups has one on each side.

    Raises:
        ValueError: `held_share` is not between 0 and 1.
    """
    if not 0.0 < held_share < 1.0:
        raise ValueError(f"held_share {held_share}, expected between 0 and 1")
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.group, []).append(item)
    by_label: dict[str, list[str]] = {}
    for name in sorted(groups, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
        labels = sorted(item.label for item in groups[name])
        by_label.setdefault(max(labels, key=labels.count), []).append(name)
    learn: list[Item] = []
    held: list[Item] = []
    for label in sorted(by_label):
        names = by_label[label]
        wanted = held_share * sum(len(groups[name]) for name in names)
        taken = 0
        for place, name in enumerate(names):
            last_chance = place == len(names) - 1
            # The first group is held out and the last is learned from; in between, until the share is reached.
            to_held = len(names) > 1 and not last_chance and (place == 0 or taken + len(groups[name]) / 2 <= wanted)
            (held if to_held else learn).extend(groups[name])
            taken += len(groups[name]) if to_held else 0
    return learn, held
