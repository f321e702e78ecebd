"""A plant's own head: the fleet's sums and the plant's once more, `alpha` times, where its hold-out asks for it.

    fleet + alpha * plant --solve--> head     alpha = 0: the fleet's head;  large: nearly the plant's alone

No training: the same samples count more here than elsewhere, in whole numbers, so that the sums stay exact. Two things
keep the classes alive that this plant has not had yet but may meet: classes are weighed as often as they come in fleet
and plant together, whatever alpha, and alpha is the least that the hold-out cannot tell from the best. With the least
error as the only rule plants took alpha = 100, and a class they lacked was recalled in .42 instead of .71 of its parts
(pcbmp, split=val, docs/learning.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import Codes
from edge_agent.learn.solve import RIDGES, Spectrum, answers, held_out_error, spectrum
from edge_agent.learn.statistics import Statistics, merge, times

ALPHAS = (0, 1, 3, 10, 30, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """The weight that the plant's own samples get beside the fleet's, and what it leads to.

    `wrong` holds the share of the hold-out that each alpha named wrongly, at its best ridge.
    """

    alpha: int
    ridge: float
    wrong: dict[int, float] = field(repr=False)
    source: Spectrum = field(repr=False)


def choose_alpha(
    fleet: Statistics,
    plant: Statistics,
    held_codes: Codes,
    held_labels: Sequence[str],
    *,
    alphas: Sequence[int] = ALPHAS,
    ridges: Sequence[float] = RIDGES,
) -> Personal:
    """The least alpha that names the plant's held-out samples as well as any, within one standard error.

    `fleet` may or may not hold the plant's samples already; `held_codes` int8 [n, D] must be in neither.

    Raises:
        RefusedError: no held-out sample, none of a class that the sums know, too few samples, or no alpha.
    """
    together = merge((fleet, plant))
    rows = np.array([label in together.classes for label in held_labels], bool)
    if not rows.any() or not alphas:
        raise RefusedError("personal head: no held-out sample of a known class, or no alpha to try; hold some back")
    codes, labels = held_codes[rows], [label for label in held_labels if label in together.classes]
    tried: dict[int, tuple[Spectrum, float, NDArray[np.bool_]]] = {}
    for alpha in sorted(set(alphas)):
        source = spectrum(merge((fleet, times(plant, alpha))), expected=together.counts)
        ridge = min(ridges, key=lambda ridge: held_out_error(source, ridge, codes, labels))
        named = np.array(source.classes)[answers(source, ridge, codes).argmax(axis=1)]
        tried[alpha] = source, ridge, named != np.array(labels)
    best = min(tried, key=lambda alpha: (tried[alpha][2].mean(), alpha))
    chosen = next(alpha for alpha in tried if _as_good(tried[alpha][2], tried[best][2]))
    source, ridge, _ = tried[chosen]
    return Personal(
        alpha=chosen, ridge=ridge, wrong={a: float(miss.mean()) for a, (_, _, miss) in tried.items()}, source=source
    )


def _as_good(wrong: NDArray[np.bool_], least: NDArray[np.bool_]) -> bool:
    """Whether the same samples show no more errors than `least`, by more than one standard error of the difference."""
    more = wrong.astype(np.float64) - least
    return bool(more.mean() <= more.std() / np.sqrt(len(more)))
