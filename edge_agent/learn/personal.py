"""A plant's own head: the fleet's sums and the plant's once more, `alpha` times, as the hold-out likes it best.

    fleet + alpha * plant --solve--> head     alpha = 0: the fleet's head;  large: nearly the plant's alone

No training: the same samples count more here than elsewhere. Whole numbers, so that the sums stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_agent.errors import RefusedError
from edge_agent.learn.feature_code import Codes
from edge_agent.learn.solve import RIDGES, Spectrum, held_out_error, spectrum
from edge_agent.learn.statistics import Statistics, merge, times

ALPHAS = (0, 1, 3, 10, 30, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """The weight that the plant's own samples get beside the fleet's, and what it leads to.

    `errors` holds the hold-out error of each alpha that was tried, at its best ridge.
    """

    alpha: int
    ridge: float
    errors: dict[int, float] = field(repr=False)
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
    """The alpha and ridge with the least error on the plant's held-out samples; of equals the smaller alpha.

    `fleet` may or may not hold the plant's samples already; `held_codes` int8 [n, D] must be in neither.

    Raises:
        RefusedError: no held-out sample, none of a class that the sums know, or too few samples.
    """
    known = set(fleet.classes) | set(plant.classes)
    rows = np.array([label in known for label in held_labels], bool)
    if not rows.any():
        raise RefusedError("personal head: no held-out sample of a known class; hold some back")
    codes, labels = held_codes[rows], [label for label in held_labels if label in known]
    best: tuple[float, int, float, Spectrum] | None = None
    errors = {}
    for alpha in sorted(set(alphas)):
        source = spectrum(merge((fleet, times(plant, alpha))))
        tried = [(held_out_error(source, ridge, codes, labels), ridge) for ridge in ridges]
        error, ridge = min(tried, key=lambda pair: pair[0])
        errors[alpha] = error
        if best is None or error < best[0]:
            best = (error, alpha, ridge, source)
    if best is None:
        raise RefusedError("personal head: no alpha to try")
    return Personal(alpha=best[1], ridge=best[2], errors=errors, source=best[3])
