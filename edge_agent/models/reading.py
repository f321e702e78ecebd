"""What the outputs of a network of your own mean, by the terms of its manifest. Pure.

scores ----------------------> likeliest class, 1 - P(good classes)
score, map ------------------> calibrated score, heat
boxes, scores | detections --> suppressed, sorted --> what was found; the surest defect, the part that is missing
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_agent.models.boxes import suppress
from edge_agent.models.network_manifest import (
    ANOMALOUS,
    CANDIDATES,
    OK,
    AnomalyTerms,
    DetectorTerms,
    NetworkManifest,
)
from edge_agent.records import Assessment, Detection, Region

Answer = Mapping[str, NDArray[np.float32]]
MISSING = "missing "
# A sum of softmax outputs is 1 within float32; what is further off is no set of probabilities.
PROBABILITY_SLACK = 0.01
# The logistic curve goes through 0.05 at score_good and through 0.95 at score_bad.
_LOGISTIC_SPAN = 2 * math.log(19.0)


def assess(manifest: NetworkManifest, answer: Answer) -> Assessment:
    """What the network says of one picture. An answer that is not finite gives a NaN score, which is never a PASS."""
    terms = manifest.terms
    if not all(np.isfinite(array).all() for array in answer.values()):
        return Assessment(label=OK, score=math.nan)
    if isinstance(terms, DetectorTerms):
        return _of_detections(manifest, terms, detections(manifest, terms, answer))
    if isinstance(terms, AnomalyTerms):
        return _of_anomaly(terms, answer)
    return _of_scores(manifest, answer["scores"])


def _of_scores(manifest: NetworkManifest, scores: NDArray[np.float32]) -> Assessment:
    label = manifest.classes[int(scores.argmax())]
    if abs(float(scores.sum()) - 1.0) > PROBABILITY_SLACK or float(scores.min()) < 0.0:
        # Logits that were declared to be probabilities: no part may pass by them.
        return Assessment(label=label, score=math.nan)
    good = sum(
        float(score) for name, score in zip(manifest.classes, scores, strict=True) if name in manifest.good_classes
    )
    return Assessment(label=label, score=min(1.0, max(0.0, 1.0 - good)))


def _of_anomaly(terms: AnomalyTerms, answer: Answer) -> Assessment:
    score = calibrated(float(answer["score"][0]), terms)
    heat = np.maximum(answer["map"] - np.float32(terms.map_quiet), np.float32(0.0))
    return Assessment(label=ANOMALOUS if score >= 0.5 else OK, score=score, heat=heat)


def calibrated(score: float, terms: AnomalyTerms) -> float:
    """The network's own score as 0 to 1; see `AnomalyTerms`."""
    share = (score - terms.score_good) / (terms.score_bad - terms.score_good)
    if terms.curve == "linear":
        return min(1.0, max(0.0, share))
    # Written so that no argument overflows.
    return 0.5 * (1.0 + math.tanh(0.5 * _LOGISTIC_SPAN * (share - 0.5)))


def detections(manifest: NetworkManifest, terms: DetectorTerms, answer: Answer) -> tuple[Detection, ...]:
    """Everything that was found, surest first. `Network` has held the answer to its form before."""
    boxes, scores, classes = _candidates(terms, answer) if terms.form == CANDIDATES else _rows(terms, answer)
    good = frozenset(manifest.good_classes)
    boxes = np.clip(boxes, 0.0, 1.0)
    return tuple(
        Detection(
            label=manifest.classes[number],
            score=min(1.0, score),
            where=Region(x=left, y=top, width=max(0.0, right - left), height=max(0.0, bottom - top)),
            defect=manifest.classes[number] not in good,
        )
        for (left, top, right, bottom), score, number in zip(
            boxes.tolist(), scores.tolist(), classes.tolist(), strict=True
        )
    )


Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]


def _candidates(terms: DetectorTerms, answer: Answer) -> Found:
    scores = answer["scores"].max(axis=1)
    seen = np.flatnonzero(scores >= terms.score_min)
    boxes, scores, classes = answer["boxes"][seen], scores[seen], answer["scores"][seen].argmax(axis=1)
    kept = suppress(boxes, scores, classes, terms.iou_max)
    return boxes[kept], scores[kept], classes[kept]


def _rows(terms: DetectorTerms, answer: Answer) -> Found:
    rows = answer["detections"]
    rows = rows[rows[:, 4] >= terms.score_min]
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    return rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64)


def _of_detections(manifest: NetworkManifest, terms: DetectorTerms, found: tuple[Detection, ...]) -> Assessment:
    """A defect counts by how sure it is, a missing thing by how sure it is not there.

    Of a class of which n are required, the n-th surest says how likely n are there: 1 - its score is the probability of
    a defect, 1 where fewer were seen at all.
    """
    causes: list[tuple[float, str, Region | None]] = [
        (each.score, each.label, each.where) for each in found if each.defect
    ]
    for name, count in terms.required.items():
        sure = [each.score for each in found if each.label == name]
        causes.append((1.0 - sure[count - 1] if len(sure) >= count else 1.0, MISSING + name, None))
    score, label, where = max(causes, key=lambda cause: cause[0], default=(0.0, OK, None))
    if score < manifest.hold_below:
        label = OK  # whatever is least unlikely is no defect's name
    return Assessment(label=label, score=score, where=where, detections=found)
