"""What one camera's sound pictures look like, in numbers: learned from its first ones, kept as JSON. Pure.

    Statistics of n pictures --learn--> Reference --read--> Readings of a picture --(picture_health.py)--> sound or not

The parts in front of a camera differ; so each reading has the reach that the sound pictures themselves showed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture_statistics import Statistics, Structure, small_size
from edge_agent.errors import CorruptStoreError

VERSION = 2
# A reference is 5 kB of JSON, with fixed structure up to 190 kB: a small picture has at most 213 x 213 pixels.
MOST_REFERENCE_BYTES = 256 * 1024

# Fixed structure: pixels whose edge is there in every picture. At least so strong (grey values / 2), so much stronger
# than what changes there, and so large a share of the picture; else the scene has none.
FIXED_STRENGTH = 3.0
FIXED_CONTRAST = 2.0
FIXED_SHARE = 0.005
# A direction in which what is fixed hardly changes is none in which a move could be seen: along a single long edge.
FAINTEST_DIRECTION = 0.1

READINGS = ("light", "burnt", "fineness", "coarse_fineness", "detail", "agreement")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a reading is in sound pictures: around `centre`, and the mean of a few not further from it than `reach`."""

    centre: float
    reach: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Structure that stays whatever part lies there: `where` bool [h, w], `edges` float32 [n] at those pixels, `slopes`
    float32 [2, n]: how it changes there from one pixel to the next, to the right and down.
    """

    where: NDArray[np.bool_] = field(repr=False)
    edges: NDArray[np.float32] = field(repr=False)
    slopes: NDArray[np.float32] = field(repr=False)
    _solver: NDArray[np.float32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_solver", _solver_of(self.edges, self.slopes))

    def agreement(self, structure: Structure) -> float:
        """How much of it a picture shows, -1 to 1: the correlation at the fixed pixels."""
        found = structure[self.where].astype(np.float32)
        size = math.sqrt(float(found @ found) * float(self.edges @ self.edges))
        return float(found @ self.edges) / size if size > 0 else 0.0

    def scene(self, statistics: Statistics) -> dict[str, float]:
        """What is fixed, in a picture: `scene_light` in octaves of mean grey there, `right` and `down` as
        `displacement`. Whatever part lies there has next to no say in them.
        """
        right, down = self.displacement(statistics.structure)
        return {
            "scene_light": math.log2(float(statistics.small[self.where].mean()) + 1.0),
            "right": right,
            "down": down,
        }

    def displacement(self, structure: Structure) -> tuple[float, float]:
        """How far it has moved to the right and down, in pixels of the small picture; true to about one of them.

        Least squares of first order (Lucas and Kanade 1981); less light, and what is added everywhere, are solved for
        beside it and so do not count as a move.
        """
        right, down = -(self._solver @ structure[self.where].astype(np.float32))
        return float(right), float(down)


def _solver_of(edges: NDArray[np.float32], slopes: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [2, n]: what turns the picture at the fixed pixels into the move against the slopes."""
    columns = np.stack([*slopes, edges, np.ones_like(edges)], axis=1).astype(np.float64)
    sizes = np.maximum(np.linalg.norm(columns, axis=0), 1e-9)
    inverse = np.linalg.pinv(columns / sizes, rcond=FAINTEST_DIRECTION)
    return np.asarray(inverse[:2] / sizes[:2, None], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`view` names what of the picture is looked at, `size_px` (height, width) its size; another one needs another
    reference. `template` None: the scene has no fixed structure, and whether the camera moved cannot be seen.
    """

    view: str
    size_px: tuple[int, int]
    pictures: int
    expected: Mapping[str, Expected]
    template: Template | None


def readings(statistics: Statistics, template: Template | None) -> dict[str, float]:
    """The numbers that are compared. `light` in octaves of mean grey, `burnt` a share, the rest as in Statistics."""
    return {
        "light": math.log2(statistics.level + 1),
        "burnt": statistics.burnt,
        "fineness": statistics.fineness,
        "coarse_fineness": statistics.coarse_fineness,
        "detail": statistics.detail,
        "agreement": 1.0 if template is None else template.agreement(statistics.structure),
    }


def scene_numbers(reference: Reference, statistics: Statistics) -> dict[str, float]:
    """Light, contrast and place of what is fixed in the scene, `right_px` and `down_px` in pixels of the view; nothing
    where there is nothing fixed.
    """
    if reference.template is None:
        return {}
    found = reference.template.scene(statistics)
    cell_px = reference.size_px[0] / statistics.small.shape[0]
    right, down = found.pop("right"), found.pop("down")
    return {**found, "right_px": right * cell_px, "down_px": down * cell_px}


def identity(reference: Reference) -> str:
    """Names what was learned: the same before and after it was kept."""
    return hashlib.sha256(to_json(reference)).hexdigest()[:16]


def learn(
    seen: Sequence[Statistics], view: str, size_px: tuple[int, int], margins: Mapping[str, float], share: float
) -> Reference:
    """The reference of sound pictures of one view and size: the reach of each reading is this share of the range that
    they showed, at least its margin.
    """
    template = _template([one.structure for one in seen])
    rows = [readings(one, template) for one in seen]
    expected = {}
    for name in READINGS:
        values = [row[name] for row in rows]
        reach = max(margins[name], share * (max(values) - min(values)))
        expected[name] = Expected(centre=float(np.median(values)), reach=reach)
    return Reference(view=view, size_px=size_px, pictures=len(seen), expected=expected, template=template)


def _template(structures: Sequence[Structure]) -> Template | None:
    stack = np.stack(structures).astype(np.float32)
    mean, spread = stack.mean(axis=0), stack.std(axis=0)
    fixed = (np.abs(mean) >= FIXED_STRENGTH) & (np.abs(mean) >= FIXED_CONTRAST * spread)
    if fixed.mean() < FIXED_SHARE:
        return None
    down, right = np.gradient(mean) if min(mean.shape) > 1 else (np.zeros_like(mean), np.zeros_like(mean))
    return Template(where=fixed, edges=mean[fixed], slopes=np.stack([right[fixed], down[fixed]]))


def to_json(reference: Reference) -> bytes:
    """The reference as UTF-8 JSON."""
    template = reference.template
    plain = {
        "version": VERSION,
        "view": reference.view,
        "size_px": reference.size_px,
        "pictures": reference.pictures,
        "expected": {name: [one.centre, one.reach] for name, one in reference.expected.items()},
        "template": None
        if template is None
        else {
            "shape": template.where.shape,
            "where": _packed(np.packbits(template.where)),
            "edges": _packed(np.rint(template.edges).astype(np.int8)),
            "slopes": _packed(np.rint(template.slopes).astype(np.int8)),
        },
    }
    return json.dumps(plain, separators=(",", ":")).encode()


def from_json(content: bytes) -> Reference:
    """The reference that `to_json` wrote.

    Raises:
        CorruptStoreError: it is not one, or of another version.
    """
    if len(content) > MOST_REFERENCE_BYTES:
        raise CorruptStoreError(f"{len(content)} bytes, a reference has at most {MOST_REFERENCE_BYTES}")
    try:
        plain = json.loads(content)
        if plain["version"] != VERSION:
            raise CorruptStoreError(f"version {plain['version']!r}, expected {VERSION}")
        height, width = (int(side) for side in plain["size_px"])
        return Reference(
            view=str(plain["view"]),
            size_px=(height, width),
            pictures=int(plain["pictures"]),
            expected={name: _expected(plain["expected"][name]) for name in READINGS},
            template=None if plain["template"] is None else _unpacked(plain["template"], small_size((height, width))),
        )
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptStoreError(f"not a reference of pictures: {error!r}") from error


def _expected(pair: Any) -> Expected:
    centre, reach = (float(number) for number in pair)
    if not (math.isfinite(centre) and math.isfinite(reach) and reach > 0):
        raise ValueError(f"centre {centre}, reach {reach}; expected finite numbers, reach above 0")
    return Expected(centre=centre, reach=reach)


def _packed(numbers: NDArray[Any]) -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def _unpacked(plain: Any, small: tuple[int, int]) -> Template:
    height, width = (int(side) for side in plain["shape"])
    bits = np.frombuffer(base64.b64decode(plain["where"], validate=True), np.uint8)
    if (height, width) != small or len(bits) != (height * width + 7) // 8:
        raise ValueError(f"{len(bits)} bytes of {height} x {width} fixed pixels, expected {small}")
    where = np.unpackbits(bits, count=height * width).reshape(height, width).astype(np.bool_)
    edges = np.frombuffer(base64.b64decode(plain["edges"], validate=True), np.int8).astype(np.float32)
    if len(edges) != int(where.sum()) or not len(edges):
        raise ValueError(f"{len(edges)} edges at {int(where.sum())} fixed pixels")
    slopes = np.frombuffer(base64.b64decode(plain["slopes"], validate=True), np.int8).astype(np.float32)
    return Template(where=where, edges=edges, slopes=slopes.reshape(2, len(edges)))
