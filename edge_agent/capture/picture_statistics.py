"""A few cheap numbers of a picture: light, sharpness, structure, and a fingerprint. No state, no judgement.

    view --two rows of each cell, area mean--> small grey picture --> light, structure
         --12 bands of full rows--------------> sharpness at full resolution
         --both-------------------------------> fingerprint

What a blur of two pixels does is gone in a small picture: so sharpness is taken from rows as the camera gave them.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import Image

Gray = NDArray[np.uint8]
Structure = NDArray[np.int8]

# The small picture's longer side is about this (107 to 213 px).
SMALL_SIDE_PX = 160
ROWS_PER_CELL = 2
BANDS, BAND_ROWS = 12, 8
# Grey values from which a pixel counts as burnt out; JPEG and limited-range video rarely give a true 255.
BURNT = 250
# Added to squared grey differences: below it there is no structure whose sharpness could be asked for.
FLAT = 1.0
# Structure is what is left when everything wider than this share of the small picture's longer side is taken away.
STRUCTURE_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """One picture in numbers.

    `level` mean grey, `brightest` and `darkest` that of one cell of the small picture, all 0 to 255; `burnt` the share
    of cells at 250 or more. `fineness` and `coarse_fineness` (at half resolution) in octaves: curvature against slope,
    so that they say how sharp the structure is, not how much there is. `detail` in octaves: how much fine structure
    there is, against the light. `small` uint8 [h, w]: the small grey picture; `structure` int8 [h, w]: the same less
    everything wide. `fingerprint`: equal for equal pictures.
    """

    level: float
    brightest: int
    darkest: int
    burnt: float
    fineness: float
    coarse_fineness: float
    detail: float
    small: Gray = field(repr=False)
    structure: Structure = field(repr=False)
    fingerprint: bytes


def statistics_of(image: Image) -> Statistics:
    """The numbers of a view, uint8 [h, w, 3] BGR of any size."""
    small, bands = shrink(image), _bands(image)
    counts = np.bincount(small.ravel(), minlength=256)
    present = np.flatnonzero(counts)
    level = float(counts @ np.arange(256)) / small.size
    curvature, slope = _energies(bands)
    coarse_curvature, coarse_slope = _energies(_halved(bands))
    digest = hashlib.blake2b(small.data, digest_size=16)
    # One whole row of each band beside the small picture: sensor noise makes a second equal set impossible.
    digest.update(np.ascontiguousarray(bands[:, 0]).data)
    return Statistics(
        level=level,
        brightest=int(present[-1]),
        darkest=int(present[0]),
        burnt=float(counts[BURNT:].sum()) / small.size,
        fineness=math.log2((curvature + FLAT) / (slope + FLAT)),
        coarse_fineness=math.log2((coarse_curvature + FLAT) / (coarse_slope + FLAT)),
        detail=math.log2(coarse_curvature + FLAT) - 2 * math.log2(level + 1),
        small=small,
        structure=structure_of(small),
        fingerprint=digest.digest(),
    )


def small_size(size_px: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the small picture of a view of (height, width)."""
    height, width = size_px
    cell = _cell_px(height, width)
    return height // cell, width // cell


def _cell_px(height: int, width: int) -> int:
    cell = ROWS_PER_CELL * round(max(height, width) / (ROWS_PER_CELL * SMALL_SIDE_PX))
    return cell if 0 < cell <= min(height, width) else 1


def shrink(image: Image) -> Gray:
    """The view as a small grey picture, uint8 [h, w]: area means over two rows of each cell.

    1080p: 0.2 ms; over all rows of each cell it is 1.2 ms, and nothing here is the better for it.
    """
    cell = _cell_px(image.shape[0], image.shape[1])
    if cell < ROWS_PER_CELL:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
    rows, columns = small_size((image.shape[0], image.shape[1]))
    # Whole factors both ways take OpenCV's fast path; the few pixels beyond the last cell do not matter.
    strided = image[: rows * cell : cell // ROWS_PER_CELL, : columns * cell]
    small = cv2.resize(strided, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def structure_of(small: Gray) -> Structure:
    """Edges and texture of a small picture, int8 [h, w]: the difference to its mean around each pixel, halved.

    None around cells that are 0: there a mask or the outline of the view begins, which stays wherever the camera looks.
    """
    side = 2 * round(STRUCTURE_SHARE * max(small.shape) / 2) + 1
    around = cv2.blur(small, (side, side))
    difference = cv2.addWeighted(small, 0.5, around, -0.5, 0.0, dtype=cv2.CV_16S)
    if small.min() == 0:
        masked = cv2.dilate(cv2.compare(small, 0.0, cv2.CMP_EQ), np.ones((side, side), np.uint8))
        difference[masked > 0] = 0
    return np.asarray(difference, np.int8)  # (-255..255) / 2 fits


def _bands(image: Image) -> Gray:
    """Bands of neighbouring rows at full resolution, evenly spread, grey uint8 [bands, rows, w]."""
    height, width = image.shape[:2]
    deep = min(BAND_ROWS, height)
    count = min(BANDS, height // deep)
    pitch = height // count
    bands = np.ascontiguousarray(image[: count * pitch].reshape(count, pitch, width, 3)[:, :deep])
    gray = cv2.cvtColor(bands.reshape(count * deep, width, 3), cv2.COLOR_BGR2GRAY)
    return np.asarray(gray, np.uint8).reshape(count, deep, width)


def _halved(bands: Gray) -> Gray:
    """The bands at half resolution; as they are when they are too thin for that."""
    count, deep, width = bands.shape
    if deep % 2 or width < 2:
        return bands
    flat = bands.reshape(count * deep, width)[:, : width // 2 * 2]
    half = cv2.resize(flat, (width // 2, count * deep // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(half, np.uint8).reshape(count, deep // 2, width // 2)


def _energies(bands: Gray) -> tuple[float, float]:
    """Mean squares of the Laplacian and of the difference of neighbours, in squared grey values, within each band."""
    count, deep, width = bands.shape
    if deep < 3 or width < 3:
        return 0.0, 0.0
    flat = bands.reshape(count * deep, width)
    laplacian = cv2.Laplacian(flat, cv2.CV_16S, ksize=1).reshape(count, deep, width)
    laplacian[:, (0, -1)] = 0  # these looked across the border of their band
    curvature = cv2.norm(laplacian.reshape(flat.shape)[:, 1:-1], cv2.NORM_L2SQR)
    across = cv2.norm(flat[:, 1:], flat[:, :-1], cv2.NORM_L2SQR)
    down = cv2.norm(flat[1:], flat[:-1], cv2.NORM_L2SQR)
    if count > 1:
        down -= cv2.norm(bands[1:, 0], bands[:-1, -1], cv2.NORM_L2SQR)
    return (
        curvature / (count * (deep - 2) * (width - 2)),
        (across / (flat.shape[0] * (width - 1)) + down / (count * (deep - 1) * width)) / 2,
    )
