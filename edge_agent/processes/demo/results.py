"""What came out: counts, and where labels are known the score. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.inspect.scoring import auroc, balanced_accuracy, confusion, macro_f1, recall_at
from edge_agent.processes.demo.pictures import Item
from edge_agent.processes.demo.watcher import Heard

FALSE_ALARM_RATE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Verdicts, and the labels of the FAILs."""

    verdicts: Mapping[str, int]
    labels: Mapping[str, int]
    latency_p50_ms: float | None

    @property
    def total(self) -> int:
        return sum(self.verdicts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How the verdicts compare with the labels. The last four are None where no class is good.

    `caught` defects that got FAIL or HOLD, over all defects; `false_alarms` good parts that got FAIL, over all good.
    """

    classes: tuple[str, ...]
    table: NDArray[np.int64]
    macro_f1: float
    balanced_accuracy: float
    judged: int
    caught: float | None
    false_alarms: float | None
    auroc: float | None
    recall_at_2pct: float | None


def count(heard: Sequence[Heard]) -> Counts:
    """Counts of what was heard."""
    latencies = sorted(one.latency_ms for one in heard if one.latency_ms is not None)
    return Counts(
        verdicts=dict(Counter(one.verdict for one in heard)),
        labels=dict(Counter(one.label or "?" for one in heard if one.verdict == "FAIL").most_common()),
        latency_p50_ms=latencies[len(latencies) // 2] if latencies else None,
    )


def score(heard: Sequence[Heard], items: Mapping[str, Item], good: frozenset[str]) -> Score | None:
    """The score of the parts whose label is known and that were judged; None where there is none."""
    pairs = [
        (item.label, one)
        for one in heard
        if (item := items.get(one.part or "")) and item.label and one.label is not None and one.score is not None
    ]
    if not pairs:
        return None
    truth, said = [label for label, _ in pairs], [one.label or "" for _, one in pairs]
    classes = tuple(sorted({*truth, *said}))
    table = confusion(truth, said, classes)
    caught = false_alarms = area = recall = None
    good_ones = [one for label, one in pairs if label in good]
    bad_ones = [one for label, one in pairs if label not in good]
    if good_ones and bad_ones:
        caught = sum(one.verdict != "PASS" for one in bad_ones) / len(bad_ones)
        false_alarms = sum(one.verdict == "FAIL" for one in good_ones) / len(good_ones)
        good_scores, bad_scores = _scores(good_ones), _scores(bad_ones)
        area = auroc(good_scores, bad_scores)
        recall = recall_at(good_scores, bad_scores, FALSE_ALARM_RATE)
    return Score(
        classes=classes,
        table=table,
        macro_f1=macro_f1(table),
        balanced_accuracy=balanced_accuracy(table),
        judged=len(pairs),
        caught=caught,
        false_alarms=false_alarms,
        auroc=area,
        recall_at_2pct=recall,
    )


def _scores(heard: Sequence[Heard]) -> NDArray[np.float64]:
    return np.array([one.score for one in heard], np.float64)
