"""Was a model right about a part whose truth is known? Pure.

    truth, what each model said --is_defect, is_right--> Judged per part --> learn.gate

Models may differ in what they know: a class that one of them was never shown is something it can only be wrong about,
and what counts as good is what either of them calls good while the other does not call it a defect. In doubt a part is
a defect: a scratch that passes costs more than a good part that is looked at again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.learn.gate import Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a model knows: the classes it can name, those of them that may pass, and where FAIL begins."""

    classes: frozenset[str]
    good: frozenset[str]
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a model said of a part; a score of NaN is no answer, and never right."""

    label: str
    score: float


NOTHING = Said(label="", score=math.nan)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How a model did: of `parts` it was right about `right`, of `defects` about `found`, of the good ones it failed
    `false_alarms`.
    """

    parts: int
    right: int
    defects: int
    found: int
    good: int
    false_alarms: int


def is_defect(truth: str, terms: Sequence[Terms]) -> bool:
    """Whether a part of this class must not pass, by all that these models know."""
    good = any(truth in each.good for each in terms)
    bad = any(truth in each.classes - each.good for each in terms)
    return bad or not good


def is_right(said: Said, truth: str, terms: Terms, *, defect: bool) -> bool:
    """Whether the line was told what is true: a defect reaches the threshold, a good part does not.

    A model without good classes fails every part, so its score says nothing: it is right when it names the class.
    """
    if math.isnan(said.score):
        return False
    if not terms.good:
        return said.label == truth
    return (said.score >= terms.threshold) == defect


def judged(
    truths: Sequence[str], active: Sequence[Said], candidate: Sequence[Said], *, terms: tuple[Terms, Terms]
) -> tuple[Judged, ...]:
    """Both models on the same parts; `terms` are those of the active one and of the candidate."""
    found = []
    for truth, before, after in zip(truths, active, candidate, strict=True):
        defect = is_defect(truth, terms)
        found.append(
            Judged(
                defect=defect,
                active_right=is_right(before, truth, terms[0], defect=defect),
                candidate_right=is_right(after, truth, terms[1], defect=defect),
            )
        )
    return tuple(found)


def scored(rights: Sequence[bool], defects: Sequence[bool]) -> Score:
    """One model's share of parts that were judged: whether it was right about each, and whether each is a defect."""
    found = sum(right and defect for right, defect in zip(rights, defects, strict=True))
    right, bad = sum(rights), sum(defects)
    good = len(defects) - bad
    return Score(
        parts=len(rights), right=right, defects=bad, found=found, good=good, false_alarms=good - (right - found)
    )
