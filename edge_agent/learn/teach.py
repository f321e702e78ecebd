"""From the statistics book to a candidate head: what teaches, what calibrates, in which positions. Pure.

    book --by physical group--> teaching samples -> ridge (leave-one-out) -> head
                            `-> held-back samples -> how many views pay, temperature, thresholds

The sealed hold-out has no part in this: its samples are never in a book.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.learn.book import Book, withdraw
from edge_agent.learn.feature_code import Codes, FeatureCode
from edge_agent.learn.gate import Judged
from edge_agent.learn.head import LinearHead, defect_scores, logits
from edge_agent.learn.personal import ALPHAS, choose_alpha
from edge_agent.learn.solve import (
    Spectrum,
    calibrate,
    check_enough,
    choose_ridge_left_out,
    head_of,
    held_out_error,
    spectrum,
)
from edge_agent.learn.statistics import Statistics, merge, sums, times
from edge_agent.learn.unknown import Familiar, calibrated, fit_familiar

HELD_SHARE = 0.2
# With fewer held-back samples than this their thresholds would be noise: then all samples teach and calibrate.
HELD_MIN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """A candidate head and how it came about. `held` samples calibrated it, 0: it was calibrated on what taught it.

    `familiar` says what is unlike all of them; None where too few were held back to say from where on. `alpha` is the
    weight of the plant's own samples beside the fleet's; None without a fleet.
    """

    head: LinearHead = field(repr=False)
    samples: int
    held: int
    views: int
    ridge: float
    familiar: Familiar | None = field(default=None, repr=False)
    alpha: int | None = None


def teach(
    book: Book,
    groups: Mapping[str, str],
    code: FeatureCode,
    good_classes: Sequence[str],
    fleet: Statistics | None = None,
) -> Taught:
    """The head of these samples. `groups` names the physical group of each, so that kin stay on one side.

    With the sums of a `fleet`, made by the same coder, the head is of both; how much the own samples weigh, the
    held-back ones say (learn/personal.py).

    Raises:
        RefusedError: too few samples or classes to tell anything apart; the message says what to label.
    """
    check_enough(book.total if fleet is None else merge((fleet, book.total)))
    held = [entry.sample for entry in book.entries if is_held(groups[entry.sample])]
    teaching = withdraw(book, held)
    if len(held) < HELD_MIN or set(teaching.total.classes) != set(book.total.classes):
        teaching, held = book, []
    chosen = set(held)
    judged = [row for row, entry in enumerate(book.entries) if not chosen or entry.sample in chosen]
    codes, labels = book.codes[judged][:, 0], [book.entries[row].label for row in judged]
    if fleet is None:
        tries = [_try(teaching, views, codes, labels) for views in sorted({1, book.views})]
        best = min(tries, key=lambda found: found.error)
    else:
        best = _beside(fleet, teaching, codes, labels, held_back=bool(held))
    good = [name for name in good_classes if name in best.source.classes]
    head = calibrate(head_of(best.source, best.ridge, good, code), vectors_of(code, codes), labels)
    familiar = None
    # Parts that it was made from are nearer than new ones: a limit taken from them would be too near.
    if held:
        familiar = calibrated(fit_familiar(best.statistics, code), vectors_of(code, codes), labels)
    return Taught(
        head=head,
        samples=len(book.entries),
        held=len(held),
        views=best.views,
        ridge=best.ridge,
        familiar=familiar,
        alpha=best.alpha,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Try:
    statistics: Statistics = field(repr=False)
    source: Spectrum = field(repr=False)
    ridge: float
    views: int
    error: float
    alpha: int | None = None


def _try(teaching: Book, views: int, codes: Codes, labels: Sequence[str]) -> _Try:
    seen = np.ascontiguousarray(teaching.codes[:, :views])
    statistics = sums(seen.reshape(-1, teaching.dimension), np.repeat(teaching.labels, views).tolist())
    ridge, source = choose_ridge_left_out(statistics, seen, teaching.labels), spectrum(statistics)
    error = held_out_error(source, ridge, codes, labels)
    return _Try(statistics=statistics, source=source, ridge=ridge, views=views, error=error)


def _beside(fleet: Statistics, teaching: Book, codes: Codes, labels: Sequence[str], *, held_back: bool) -> _Try:
    """Fleet and plant together, the plant with the weight that the held-back samples ask for."""
    # Without samples that were held back nothing can be chosen. A class that the fleet has never seen is the plant's to
    # teach, whatever its weight.
    alphas: tuple[int, ...] = ALPHAS if held_back else (1,)
    if not set(teaching.total.classes) <= set(fleet.classes):
        alphas = tuple(alpha for alpha in alphas if alpha)
    found = choose_alpha(fleet, teaching.total, codes, labels, alphas=alphas)
    return _Try(
        statistics=merge((fleet, times(teaching.total, found.alpha))),
        source=found.source,
        ridge=found.ridge,
        views=teaching.views,
        error=held_out_error(found.source, found.ridge, codes, labels),
        alpha=found.alpha,
    )


def judge(
    active: LinearHead, candidate: LinearHead, vectors: NDArray[np.float32], labels: Sequence[str]
) -> tuple[Judged, ...]:
    """What both heads make of sealed parts: `vectors` float32 [n, D], `labels` n names.

    Right means: a defect reaches the threshold and a good part does not; where nothing is good, the class is named.
    """
    if not candidate.good_classes:
        right = [np.array(head.classes)[logits(head, vectors).argmax(axis=1)] == labels for head in (active, candidate)]
        defects = np.ones(len(labels), bool)
    else:
        defects = np.array([label not in candidate.good_classes for label in labels], bool)
        right = [(defect_scores(head, vectors) >= head.threshold) == defects for head in (active, candidate)]
    return tuple(
        Judged(defect=bool(defect), active_right=bool(before), candidate_right=bool(after))
        for defect, before, after in zip(defects, *right, strict=True)
    )


def vectors_of(code: FeatureCode, codes: Codes) -> NDArray[np.float32]:
    """What the codes int8 [n, D] stand for: float32 [n, D]."""
    vectors: NDArray[np.float32] = (code.offset + code.step * codes).astype(np.float32)
    return vectors


def is_held(group: str) -> bool:
    """Whether this physical group is held back to calibrate on: the same answer for ever, whatever else there is."""
    number = int.from_bytes(hashlib.sha256(f"calibrate {group}".encode()).digest()[:4], "big")
    return number < HELD_SHARE * 2**32
