"""Where the defect is: a coarse heat map from the head's weights over the feature map, and the box of its hottest part.

Class activation mapping (Zhou et al., CVPR 2016, arXiv 1512.04150): part of the feature vector is the mean of the
feature map, so the head's weights for that part, applied at each place instead of to the mean, say how much each
place spoke for a defect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.learn.head import LinearHead, logits
from edge_agent.records import Features, Region

# Cells hotter than this share of the hottest one belong to the defect, if they touch it.
REGION_SHARE = 0.5


def head_heat(head: LinearHead, features: Features, start: int) -> NDArray[np.float32]:
    """How much each place speaks for the likeliest bad class over the likeliest good one.

    `start` is the index of the first of the C entries of `features.vector` that are the mean of `features.map`
    [h, w, C]. The result is float32 [h, w], >= 0, in logits times cells; zeros where no place speaks for a defect.

    Raises:
        ValueError: the head has no C weights from `start` on: a fault of whoever joined head and encoder.
    """
    channels = features.map.shape[2]
    if start < 0 or start + channels > head.dimension:
        raise ValueError(f"map of {channels} channels from entry {start}, but the head has {head.dimension} entries")
    raw = logits(head, features.vector)
    part = slice(start, start + channels)
    weights = head.folded_weights[_best(raw, head.bad), part]
    if not head.bad.all():
        weights = weights - head.folded_weights[_best(raw, ~head.bad), part]
    # What the training pictures show on average speaks for nothing: only the difference counts.
    heat: NDArray[np.float32] = features.map @ weights - head.mean[part] @ weights
    np.maximum(heat, np.float32(0.0), out=heat)
    return heat


def _best(raw: NDArray[np.float32], among: NDArray[np.bool_]) -> int:
    # A head whose classes are all good has no bad one to explain: its least good class stands in.
    return int(np.where(among, raw, -np.inf).argmax()) if among.any() else int(raw.argmin())


def region(heat: NDArray[np.float32], share: float = REGION_SHARE) -> Region | None:
    """The box around the cells that hang together with the hottest one and have at least `share` of its heat.

    `heat` float32 [h, w]; `share` 0 to 1; cells that touch at a corner hang together. None where the heat says
    nothing: no cell above zero, a cell that is not finite, or the same heat everywhere.
    """
    if not np.isfinite(heat).all():
        return None
    peak = float(heat.max())
    if peak <= 0.0 or float(heat.min()) == peak:
        return None
    rows, columns = heat.shape
    # A cold rim all round and one flat list: each cell's eight neighbours are then eight fixed steps away.
    wide = columns + 2
    hot = np.pad(heat >= share * peak, 1).ravel().tolist()
    steps = (-wide - 1, -wide, -wide + 1, -1, 1, wide - 1, wide, wide + 1)
    first = (int(heat.argmax()) // columns + 1) * wide + int(heat.argmax()) % columns + 1
    hot[first] = False
    found = [first]
    for cell in found:  # the list grows while it is walked
        for step in steps:
            near = cell + step
            if hot[near]:
                hot[near] = False
                found.append(near)
    ys, xs = [cell // wide - 1 for cell in found], [cell % wide - 1 for cell in found]
    left, top = min(xs), min(ys)
    return Region(
        x=left / columns,
        y=top / rows,
        width=(max(xs) + 1 - left) / columns,
        height=(max(ys) + 1 - top) / rows,
    )
