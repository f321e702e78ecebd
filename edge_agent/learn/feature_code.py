"""Feature vectors as int8: one step per feature, made with the encoder and the same wherever that encoder runs.

    vector float32 [D] --(x - offset) / step, rounded, kept within +-127--> code int8 [D] --> exact integer sums

Sums of plants add only if all of them cut the features alike, so the steps come from the builder's reference pictures
(`models.build.reference`), never from local ones, and travel with the encoder. Local features may lie elsewhere and
spread less: the reach is wide, and a step is still a small part of their spread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import RefusedError

LEVEL_MAX = 127
# Spreads of the reference pictures on either side of their mean. On split=val of pcbmp and steelmp 8 to 12 lost nothing
# against float; with 6 single features were out of reach, with 16 the steps began to count (docs/learning.md).
REACH = 10.0
# Of the median spread: features that hardly moved on the reference pictures may well move on others.
SPREAD_FLOOR = 0.1

Codes = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureCode:
    """`offset`, `step` float32 [D]: the value of level 0, and the distance between levels (> 0).

    Raises:
        RefusedError: other shapes or types, numbers that are not finite, or a step that is not positive.
    """

    offset: NDArray[np.float32] = field(repr=False)
    step: NDArray[np.float32] = field(repr=False)

    def __post_init__(self) -> None:
        shapes = [(array.dtype.name, array.shape) for array in (self.offset, self.step)]
        if self.offset.ndim != 1 or shapes != [("float32", self.offset.shape)] * 2:
            raise RefusedError(f"feature code: offset and step are {shapes}, expected float32 [D] both")
        if not (np.isfinite(self.offset).all() and np.isfinite(self.step).all() and (self.step > 0).all()):
            raise RefusedError("feature code: expected finite numbers and steps above zero; build the bundle again")

    @property
    def dimension(self) -> int:
        """D, the length of the vectors."""
        return len(self.offset)


def fit_code(vectors: NDArray[np.float32]) -> FeatureCode:
    """The code for features like `vectors` float32 [n, D], n >= 2, and unlike them within `REACH`.

    Raises:
        RefusedError: fewer than two vectors, or one that is not finite.
    """
    if vectors.ndim != 2 or len(vectors) < 2 or not np.isfinite(vectors).all():
        raise RefusedError(f"feature code: vectors of shape {vectors.shape}, expected at least two, all finite")
    rows = vectors.astype(np.float64)
    spread = rows.std(axis=0)
    typical = float(np.median(spread))
    # Pictures that are all alike have no spread at all: then the level of the features stands in.
    floor = max(SPREAD_FLOOR * typical, 1e-4 * float(np.abs(rows).mean()), 1e-12)
    step = np.maximum(spread, floor) * (REACH / LEVEL_MAX)
    return FeatureCode(offset=rows.mean(axis=0).astype(np.float32), step=step.astype(np.float32))


def encode(code: FeatureCode, vectors: NDArray[np.float32]) -> Codes:
    """`vectors` float32 [n, D] as int8 [n, D]; what is out of reach becomes the outermost level.

    Computed in float64, so that the same vector gets the same code on every machine.

    Raises:
        RefusedError: another length, or a number that is not finite.
    """
    if vectors.ndim != 2 or vectors.shape[1] != code.dimension:
        raise RefusedError(
            f"feature code: vectors of shape {vectors.shape}, expected [n, {code.dimension}]; another encoder made them"
        )
    if not np.isfinite(vectors).all():
        raise RefusedError("feature code: a feature vector holds NaN or infinity; it would spoil every later head")
    levels = np.rint((vectors.astype(np.float64) - code.offset) / code.step)
    return np.clip(levels, -LEVEL_MAX, LEVEL_MAX).astype(np.int8)


def decode(code: FeatureCode, codes: Codes) -> NDArray[np.float32]:
    """The vectors float32 [n, D] in the middle of their steps."""
    result: NDArray[np.float32] = codes.astype(np.float32) * code.step + code.offset
    return result


def clipped_share(codes: Codes) -> float:
    """How many of the numbers lie at the outermost level: above some percent, the code was made for other pictures."""
    return float(np.mean(np.abs(codes) == LEVEL_MAX)) if codes.size else 0.0
