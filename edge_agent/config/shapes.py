"""Regions of interest and masks: a rectangle or a polygon, as fractions of the frame, origin top left."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Discriminator, Tag
from pydantic.json_schema import WithJsonSchema

from edge_agent.config.keys import refuse

# Below a hundredth of a side nothing can be judged: it is a slip of the pen, as in pixels written as fractions.
SMALLEST_SIDE = 0.01
POINTS_LIMIT = 64
SHAPE = "[x, y, width, height] or a list of at least 3 points [x, y], in fractions of the frame from 0 to 1"

Point = tuple[float, float]
_ROUNDING = 1e-9  # 0.1 + 0.9 may exceed 1 in binary


def _inside(rectangle: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x, y, width, height = rectangle
    if not (0 <= x <= 1 and 0 <= y <= 1 and x + width <= 1 + _ROUNDING and y + height <= 1 + _ROUNDING):
        raise refuse(
            "a rectangle inside the frame (x + width and y + height at most 1)", "values are fractions, not pixels"
        )
    if width < SMALLEST_SIDE or height < SMALLEST_SIDE:
        raise refuse(f"a rectangle with sides of at least {SMALLEST_SIDE}", "[x, y, width, height], not two corners")
    return rectangle


def _closed(polygon: tuple[Point, ...]) -> tuple[Point, ...]:
    if not 3 <= len(polygon) <= POINTS_LIMIT:
        raise refuse(f"a polygon of 3 to {POINTS_LIMIT} points")
    if not all(0 <= value <= 1 for point in polygon for value in point):
        raise refuse("points inside the frame, from 0 to 1", "values are fractions, not pixels")
    shifted = polygon[1:] + polygon[:1]
    twice_area = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(polygon, shifted, strict=True))
    if abs(twice_area) < 2 * SMALLEST_SIDE**2:
        raise refuse("a polygon that encloses an area", "its points lie on a line, or the outline crosses itself")
    return polygon


def _kind(value: object) -> str | None:
    if not isinstance(value, tuple | list) or not value:
        return None
    return "polygon" if isinstance(value[0], tuple | list) else "rectangle"


Rectangle = Annotated[tuple[float, float, float, float], AfterValidator(_inside), Tag("rectangle")]
Polygon = Annotated[tuple[Point, ...], AfterValidator(_closed), Tag("polygon")]

_NUMBER = {"type": "number", "minimum": 0, "maximum": 1}
_SCHEMA = {
    "x-expected": SHAPE,
    "oneOf": [
        {"type": "array", "items": _NUMBER, "minItems": 4, "maxItems": 4},
        {
            "type": "array",
            "items": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2},
            "minItems": 3,
            "maxItems": POINTS_LIMIT,
        },
    ],
}

# Four numbers are a rectangle, a list of pairs is a polygon.
Shape = Annotated[Rectangle | Polygon, Discriminator(_kind), WithJsonSchema(_SCHEMA)]
