"""Pictures of everything and nothing: from them an encoder's features get their int8 steps (`learn.feature_code`).

The steps are the encoder's, not a plant's, so these pictures must make the features move as any plant's might: parts of
the synthetic line, the same inverted, noise of all grain sizes in full and faint contrast, the same in black and white,
plain grey. With the synthetic line alone .3 % of the features of pcbmp (black and white boards) were out of reach, and
its macro-F1 on split=val fell from .873 to .841; with these nothing was, and it stayed (docs/learning.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import prepare
from edge_agent.capture.synthetic import PLANTS, SyntheticLine

GRAINS_PX = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
PARTS = 80
FIELDS = 4  # of each grain size, each in three ways
GREY_STEP = 16

Picture = NDArray[np.uint8]


def reference_pictures(input_px: tuple[int, int], seed: int) -> list[Picture]:
    """About 300 pictures uint8 [h, w, 3] BGR of the input size; the same for the same size and seed."""
    lines = [SyntheticLine(plant, seed, defect_share=0.5) for plant in sorted(PLANTS)]
    parts = [prepare(lines[n % len(lines)].part(n // len(lines)).image, input_px) for n in range(PARTS)]
    pictures = [*parts, *(np.uint8(255) - part for part in parts[::2])]
    rng = np.random.default_rng(seed)
    for _ in range(FIELDS):
        for grain_px in GRAINS_PX:
            pictures += _field(input_px, grain_px, rng)
    return pictures + [np.full((*input_px, 3), grey, np.uint8) for grey in range(0, 256, GREY_STEP)]


def _field(input_px: tuple[int, int], grain_px: int, rng: np.random.Generator) -> list[Picture]:
    """One field of noise: in full contrast, in a narrow band of greys, and cut at a level into black and white."""
    height, width = (max(2, side // grain_px) for side in input_px)
    coarse = np.clip(127.5 + 50 * rng.standard_normal((height, width, 1)), 0, 255).astype(np.uint8)
    full = prepare(np.repeat(coarse, 3, axis=2), input_px)
    low, high = np.sort(rng.uniform(0, 255, 2))
    faint = (low + full * ((high - low) / 255)).astype(np.uint8)
    cut = np.where(full > np.quantile(full, rng.uniform(0.2, 0.8)), 255, 0).astype(np.uint8)
    return [full, faint, cut]
