"""What of a camera's picture is looked at: turned, cut to the region of interest, and blackened where nothing counts.

    whole picture --rotate--> upright --cut--> region of interest --blacken--> the view

All coordinates are fractions of the upright picture (what a technician sees on a screen), origin top left.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import Image
from edge_agent.errors import ConfigError
from edge_agent.records import Region

Polygon = tuple[tuple[float, float], ...]
Shape = Region | Polygon

_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
ROUNDING = 1e-9  # 0.1 + 0.9 may be a little more than 1
WHOLE = Region(x=0.0, y=0.0, width=1.0, height=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """`roi` a rectangle, a polygon (outside it is black) or None for everything; `mask` shapes to blacken; `rotation`
    degrees clockwise: 0, 90, 180 or 270.

    Raises:
        ConfigError: a fraction outside 0 to 1, a polygon of fewer than three corners, an empty or unknown value.
    """

    roi: Shape | None = None
    mask: tuple[Shape, ...] = ()
    rotation: int = 0

    def __post_init__(self) -> None:
        if self.rotation not in (0, 90, 180, 270):
            raise ConfigError(f"rotation is {self.rotation}, expected 0, 90, 180 or 270 degrees clockwise")
        for shape in (self.roi or WHOLE, *self.mask):
            corners = _corners(shape)
            if len(corners) < 3:
                raise ConfigError(f"polygon with {len(corners)} corners, expected three or more [x, y]")
            if not all(0.0 <= side <= 1.0 + ROUNDING for corner in corners for side in corner):
                raise ConfigError(f"{shape} leaves the picture, expected fractions from 0 to 1")
        if self.box.width <= 0 or self.box.height <= 0:
            raise ConfigError(f"roi {self.roi} is empty, expected a width and a height above 0")

    @property
    def box(self) -> Region:
        """The rectangle that is cut out of the upright picture."""
        if self.roi is None:
            return WHOLE
        if isinstance(self.roi, Region):
            return self.roi
        xs, ys = [x for x, _ in self.roi], [y for _, y in self.roi]
        return Region(x=min(xs), y=min(ys), width=max(xs) - min(xs), height=max(ys) - min(ys))


def apply(view: View, image: Image) -> Image:
    """The view of `image` (uint8 [h, w, 3]), read-only and C-contiguous; not a copy when there is nothing to do."""
    if view.rotation:
        image = np.asarray(cv2.rotate(image, _TURNS[view.rotation]), np.uint8)
    if view.roi is not None:
        top, bottom, left, right = _cut(view.box, image.shape[0], image.shape[1])
        stencil = _stencil(view, image.shape[0], image.shape[1])
        image = image[top:bottom, left:right]
        # A copy even without a stencil: the queue then holds the region, not the whole picture around it.
        image = image.copy() if stencil is None else _blacken(image, stencil)
    elif view.mask:
        stencil = _stencil(view, image.shape[0], image.shape[1])
        image = image if stencil is None else _blacken(image, stencil)
    image = np.ascontiguousarray(image).view()
    image.flags.writeable = False
    return image


def to_whole(view: View, region: Region) -> Region:
    """A region of the view as a region of the picture as the camera gave it: neither cut nor turned."""
    box = view.box
    x, y = box.x + region.x * box.width, box.y + region.y * box.height
    width, height = region.width * box.width, region.height * box.height
    if view.rotation == 90:
        return Region(x=y, y=1 - x - width, width=height, height=width)
    if view.rotation == 180:
        return Region(x=1 - x - width, y=1 - y - height, width=width, height=height)
    if view.rotation == 270:
        return Region(x=1 - y - height, y=x, width=height, height=width)
    return Region(x=x, y=y, width=width, height=height)


def _cut(box: Region, height: int, width: int) -> tuple[int, int, int, int]:
    """Top, bottom, left, right in pixels; never empty."""
    top, left = min(round(box.y * height), height - 1), min(round(box.x * width), width - 1)
    bottom, right = round((box.y + box.height) * height), round((box.x + box.width) * width)
    return top, min(max(bottom, top + 1), height), left, min(max(right, left + 1), width)


@functools.lru_cache(maxsize=32)  # a few cameras; a stencil is one byte a pixel and depends on nothing but the key
def _stencil(view: View, height: int, width: int) -> NDArray[np.uint8] | None:
    """255 where the view counts, 0 where it is black, uint8 of the cut; None when everything counts."""
    if not view.mask and not isinstance(view.roi, tuple):
        return None
    stencil = np.full((height, width), 0 if isinstance(view.roi, tuple) else 255, np.uint8)
    if isinstance(view.roi, tuple):
        cv2.fillPoly(stencil, [_pixels(view.roi, height, width)], 255)
    for shape in view.mask:
        cv2.fillPoly(stencil, [_pixels(shape, height, width)], 0)
    top, bottom, left, right = _cut(view.box, height, width)
    return np.ascontiguousarray(stencil[top:bottom, left:right])


def _corners(shape: Shape) -> Polygon:
    if isinstance(shape, tuple):
        return shape
    right, bottom = shape.x + shape.width, shape.y + shape.height
    return ((shape.x, shape.y), (right, shape.y), (right, bottom), (shape.x, bottom))


def _pixels(shape: Shape, height: int, width: int) -> NDArray[np.int32]:
    corners = np.array(_corners(shape)) * (width, height)
    return np.minimum(np.rint(corners), (width - 1, height - 1)).astype(np.int32)


def _blacken(image: Image, stencil: NDArray[np.uint8]) -> Image:
    return np.asarray(cv2.bitwise_and(image, image, mask=stencil), np.uint8)


EVERYTHING = View()
