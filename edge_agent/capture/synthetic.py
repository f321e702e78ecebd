"""The built-in line: textured surfaces with scratches, pits, stains, cracks and mostly good parts, from numbers alone.

    plant, seed ---> Look, surface and grain (once)
    index -------+-> light, crop, defect, lens blur, sensor noise ---> SyntheticPart

A part is a pure function of (plant, seed, index): any order, any process, the same pixels. The costly pictures
(texture and noise) are made once per line, larger than a part, and each part looks at another place of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.records import Region

DEFECTS = ("scratch", "pit", "stain", "crack")
LABELS = ("ok", *DEFECTS)
DEFECT_SHARE = 0.15

# Sizes below are pixels of a picture this high; other heights scale them.
REFERENCE_HEIGHT_PX = 480
# Texture and noise are made this much larger than a part, so that parts differ.
SURFACE_MARGIN = 1.5

Gray = NDArray[np.float32]
Paint = Callable[[np.random.Generator, float, float, int, int], tuple[Gray, int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How one plant's pictures look. Levels are in grey values of 0 to 255.

    `texture` names a function of TEXTURES; `level` is the mean grey, `grain` the texture's standard deviation,
    `falloff` the loss of light from the bright side to the dark one (share), `vignette` that towards the corners,
    `light_angle` radians, `tint` the gain of blue, green, red, `noise` the sensor's standard deviation, `blur_px` the
    lens, `jitter` the spread of exposure between parts (share), `contrast` scales all defects.
    """

    texture: str
    level: float
    grain: float
    falloff: float
    vignette: float
    light_angle: float
    tint: tuple[float, float, float]
    noise: float
    blur_px: float
    jitter: float
    contrast: float


PLANTS: dict[str, Look] = {
    "default": Look(
        texture="rolled", level=150, grain=9, falloff=0.22, vignette=0.12, light_angle=0.6,
        tint=(1.0, 1.0, 1.0), noise=2.5, blur_px=0.7, jitter=0.04, contrast=1.0,
    ),
    "lyon": Look(
        texture="brushed", level=158, grain=12, falloff=0.30, vignette=0.10, light_angle=0.2,
        tint=(1.05, 1.0, 0.97), noise=2.0, blur_px=0.6, jitter=0.04, contrast=1.0,
    ),
    "osaka": Look(
        texture="cast", level=104, grain=14, falloff=0.36, vignette=0.22, light_angle=2.4,
        tint=(0.93, 0.99, 1.04), noise=4.0, blur_px=0.9, jitter=0.07, contrast=1.4,
    ),
    "puebla": Look(
        texture="woven", level=176, grain=13, falloff=0.16, vignette=0.06, light_angle=4.0,
        tint=(0.90, 0.97, 1.03), noise=3.0, blur_px=0.8, jitter=0.05, contrast=1.15,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticPart:
    """One part: `image` uint8 [h, w, 3] BGR, its label ("ok" or a defect), and the box of the defect, None when ok."""

    image: NDArray[np.uint8] = field(repr=False)
    label: str
    region: Region | None


def look_of(plant: str) -> Look:
    """The plant's preset, or a look drawn from the hash of its name."""
    if plant in PLANTS:
        return PLANTS[plant]
    rng = np.random.default_rng(_number(plant))
    warm = rng.uniform(-0.07, 0.07)
    return Look(
        texture=str(rng.choice(sorted(TEXTURES))),
        level=rng.uniform(95, 185),
        grain=rng.uniform(7, 15),
        falloff=rng.uniform(0.1, 0.4),
        vignette=rng.uniform(0.04, 0.24),
        light_angle=rng.uniform(0, 2 * np.pi),
        tint=(1.0 - warm, 1.0, 1.0 + warm),
        noise=rng.uniform(1.5, 4.5),
        blur_px=rng.uniform(0.5, 1.1),
        jitter=rng.uniform(0.03, 0.07),
        contrast=rng.uniform(0.95, 1.25),
    )


class SyntheticLine:
    """The parts of one plant's line; see the module's first lines.

    Raises:
        ValueError: `defect_share` is not within 0 to 1, or the picture is smaller than 32 x 32.
    """

    def __init__(
        self,
        plant: str = "default",
        seed: int = 0,
        width_px: int = 640,
        height_px: int = 480,
        *,
        defect_share: float = DEFECT_SHARE,
    ) -> None:
        if not 0.0 <= defect_share <= 1.0:
            raise ValueError(f"defect_share is {defect_share}, expected 0 to 1")
        if width_px < 32 or height_px < 32:
            raise ValueError(f"picture of {width_px} x {height_px} px, expected at least 32 x 32")
        self.plant = plant
        self.look = look_of(plant)
        self.size_px = (width_px, height_px)
        self._key = (seed % 2**63, _number(plant))
        self._defect_share = defect_share
        rng = np.random.default_rng([*self._key, 0])
        shape = (int(height_px * SURFACE_MARGIN), int(width_px * SURFACE_MARGIN))
        self._surface = _surface(self.look, rng, shape, height_px / REFERENCE_HEIGHT_PX)
        self._sensor = rng.standard_normal(shape, dtype=np.float32) * np.float32(self.look.noise)
        self._light = _light(self.look, width_px, height_px)
        self._tint = _tint_tables(self.look)

    def part(self, index: int) -> SyntheticPart:
        """Part number `index` (>= 0) of this line."""
        rng = np.random.default_rng([*self._key, 1, index])
        # The label is drawn first, so that the share of defects never depends on how parts are painted.
        label = str(rng.choice(DEFECTS)) if rng.random() < self._defect_share else "ok"
        gray = self._good(rng)
        region = None if label == "ok" else self._spoil(gray, label, rng)
        cv2.GaussianBlur(gray, (0, 0), self.look.blur_px, dst=gray)
        gray += self._window(self._sensor, rng)
        level = gray.clip(0, 255).astype(np.uint8)
        image = cv2.merge([cv2.LUT(level, table) for table in self._tint])
        return SyntheticPart(image=image, label=label, region=region)

    def _good(self, rng: np.random.Generator) -> Gray:
        """A good surface: another place of the texture, a little more or less light."""
        exposure = np.float32(rng.normal(1.0, self.look.jitter))
        gray: Gray = self._window(self._surface, rng) * (self._light * exposure)
        return gray

    def _window(self, surface: Gray, rng: np.random.Generator) -> Gray:
        width, height = self.size_px
        top = int(rng.integers(0, surface.shape[0] - height + 1))
        left = int(rng.integers(0, surface.shape[1] - width + 1))
        return surface[top : top + height, left : left + width]

    def _spoil(self, gray: Gray, label: str, rng: np.random.Generator) -> Region:
        """Add one defect to `gray` in place; the box that holds what can be seen of it."""
        width, height = self.size_px
        paint, left, top = PAINTERS[label](rng, height / REFERENCE_HEIGHT_PX, self.look.contrast, width, height)
        rows, columns = paint.shape
        place = gray[top : top + rows, left : left + columns]
        # Relative to the light that falls there: a scratch in the dark is darker than one in the light.
        place *= 1.0 + paint
        seen = np.abs(paint) > 0.25 * np.abs(paint).max()
        ys, xs = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        return Region(
            x=(left + int(xs[0])) / width,
            y=(top + int(ys[0])) / height,
            width=(int(xs[-1] - xs[0]) + 1) / width,
            height=(int(ys[-1] - ys[0]) + 1) / height,
        )


def _number(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _light(look: Look, width: int, height: int) -> Gray:
    """Light that falls on the part: a slope across it and a loss towards the corners, float32 [h, w], mean about 1."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope = (np.cos(look.light_angle) * x + np.sin(look.light_angle) * y) / np.sqrt(2)
    light: Gray = 1.0 + 0.5 * look.falloff * slope - look.vignette * (0.5 * (x * x + y * y) - 1 / 3)
    return light.astype(np.float32)


def _tint_tables(look: Look) -> list[NDArray[np.uint8]]:
    levels = np.arange(256)
    return [(levels * gain).clip(0, 255).astype(np.uint8) for gain in look.tint]


def _surface(look: Look, rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Gray:
    texture = TEXTURES[look.texture](rng, shape, scale)
    texture = (texture - texture.mean()) / texture.std()
    # Extremes of a normal texture would look like defects of their own.
    surface: Gray = look.level + look.grain * np.clip(texture, -2.8, 2.8)
    return surface


# --- textures: float32 [h, w], any mean and spread ---------------------------------------------------------------


def _noise(rng: np.random.Generator, shape: tuple[int, int], sigma_x: float, sigma_y: float) -> Gray:
    """Gaussian noise blurred to the given grain, with standard deviation 1."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigmaX=max(sigma_x, 0.01), sigmaY=max(sigma_y, 0.01))
    result: Gray = blurred / blurred.std()
    return result


def _brushed(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Gray:
    """Fine parallel strokes of a few lengths."""
    strokes: Gray = 0.8 * _noise(rng, shape, 40 * scale, 0.5) + 0.5 * _noise(rng, shape, 9 * scale, 0.4)
    return strokes + 0.35 * _noise(rng, shape, 90 * scale, 5 * scale)


def _rolled(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Gray:
    """Rolled sheet: a dull grain with faint lines along the rolling direction."""
    grain: Gray = 0.6 * _noise(rng, shape, 1.2 * scale, 1.0 * scale) + 0.5 * _noise(rng, shape, 14 * scale, 8 * scale)
    return grain + 0.45 * _noise(rng, shape, 1.2 * scale, 60 * scale)


def _cast(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Gray:
    """Cast metal: bumps lit from one side, of two sizes, over a cloudy ground."""
    bumps = _noise(rng, shape, 2.6 * scale, 2.6 * scale) + 0.8 * _noise(rng, shape, 6 * scale, 6 * scale)
    lit = cv2.Sobel(bumps, cv2.CV_32F, 1, 0) + 0.7 * cv2.Sobel(bumps, cv2.CV_32F, 0, 1)
    result: Gray = lit / lit.std() + 0.5 * _noise(rng, shape, 22 * scale, 22 * scale)
    return result


def _woven(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Gray:
    """A plain weave: threads over and under in turn, with uneven yarn."""
    pitch = 8.0 * scale
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    x = x + 1.2 * scale * _noise(rng, shape, 18 * scale, 30 * scale)
    y = y + 1.2 * scale * _noise(rng, shape, 30 * scale, 18 * scale)
    warp, weft = np.abs(np.sin(np.pi * x / pitch)), np.abs(np.sin(np.pi * y / pitch))
    over = np.sin(np.pi * x / pitch) * np.sin(np.pi * y / pitch) > 0
    thread = np.where(over, warp, 0.9 * weft).astype(np.float32)
    yarn = 0.22 * _noise(rng, shape, 1.0 * scale, 30 * scale) + 0.22 * _noise(rng, shape, 30 * scale, 1.0 * scale)
    result: Gray = thread + yarn.astype(np.float32)
    return result


def _painted(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Gray:
    """Painted sheet: orange peel, nothing finer."""
    return _noise(rng, shape, 4 * scale, 4 * scale) + 0.7 * _noise(rng, shape, 30 * scale, 30 * scale)


TEXTURES: dict[str, Callable[[np.random.Generator, tuple[int, int], float], Gray]] = {
    "brushed": _brushed,
    "cast": _cast,
    "painted": _painted,
    "rolled": _rolled,
    "woven": _woven,
}


# --- defects: relative change of light float32 [h, w], and the left and top of its place --------------------------


def _place(rng: np.random.Generator, paint: Gray, width: int, height: int) -> tuple[Gray, int, int]:
    """Somewhere in the picture, cut where it does not fit."""
    paint = paint[:height, :width]
    top = int(rng.integers(0, height - paint.shape[0] + 1))
    left = int(rng.integers(0, width - paint.shape[1] + 1))
    return paint, left, top


def _strokes(path: NDArray[np.float64], widths: NDArray[np.float64], margin: int) -> Gray:
    """A line through `path` [n, 2] (x, y in px) with a width per segment, drawn with soft edges, 0 to 1."""
    path = path - path.min(axis=0) + margin
    size = np.ceil(path.max(axis=0)).astype(int) + margin + 1
    canvas = np.zeros((size[1], size[0]), np.uint8)
    points = np.round(path * 16).astype(np.int32)
    for start, end, thickness in zip(points[:-1], points[1:], widths, strict=True):
        cv2.line(canvas, start.tolist(), end.tolist(), 255, max(1, round(thickness)), cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255.0


def _scratch(rng: np.random.Generator, scale: float, contrast: float, width: int, height: int) -> tuple[Gray, int, int]:
    """A long, slightly bent line, light or dark, that fades towards its ends; some have a shadow beside them."""
    length = rng.uniform(60, 340) * scale
    angle = rng.uniform(0, np.pi)
    turn = rng.normal(0, 0.35)
    steps = np.linspace(0, 1, 13)
    headings = angle + turn * (steps - 0.5)
    moves = np.stack([np.cos(headings), np.sin(headings)], axis=1) * length / 12
    widths = np.full(12, rng.uniform(1.4, 3.4) * scale)
    line = _strokes(np.cumsum(moves, axis=0), widths[:12], margin=5)
    line *= _fade(line.shape, rng)
    sign = 1.0 if rng.random() < 0.6 else -1.0
    paint = sign * line
    if rng.random() < 0.5:
        paint[2:, 1:] -= 0.6 * sign * line[:-2, :-1]
    return _place(rng, (contrast * rng.uniform(0.24, 0.55) * paint).astype(np.float32), width, height)


def _fade(shape: tuple[int, ...], rng: np.random.Generator) -> Gray:
    """Uneven strength along a defect: 0.45 to 1, smooth."""
    coarse = rng.uniform(0.45, 1.0, size=(4, 4)).astype(np.float32)
    result: Gray = cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return result


def _pit(rng: np.random.Generator, scale: float, contrast: float, width: int, height: int) -> tuple[Gray, int, int]:
    """One to five small dark holes close together, each with a light rim on the far side."""
    count = int(rng.integers(1, 6))
    spread = rng.uniform(8, 34) * scale if count > 1 else 0.0
    size = int(2 * spread + 40 * scale) + 8
    paint = np.zeros((size, size), np.float32)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32)
    for _ in range(count):
        radius = rng.uniform(3.0, 9.0) * scale
        cx, cy = rng.uniform(-0.7, 0.7, size=2) * spread + size / 2
        stretch = rng.uniform(0.75, 1.3)
        distance = np.sqrt(((x - cx) / stretch) ** 2 + ((y - cy) * stretch) ** 2) / radius
        hole = 1.0 / (1.0 + np.exp(6.0 * (distance - 1.0)))
        rim = np.exp(-((distance - 1.35) ** 2) / 0.06) * (x - cx + y - cy > 0)
        paint = np.minimum(paint, 0) - 0.95 * hole + 0.35 * rim
    return _place(rng, (contrast * rng.uniform(0.32, 0.7) * paint).astype(np.float32), width, height)


def _stain(rng: np.random.Generator, scale: float, contrast: float, width: int, height: int) -> tuple[Gray, int, int]:
    """A soft, ragged patch, mostly darker, with a slightly stronger edge as drops leave behind."""
    size = max(16, int(rng.uniform(80, 230) * scale))
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    squeeze = rng.uniform(0.7, 1.4)
    radius = np.sqrt((x * squeeze) ** 2 + (y / squeeze) ** 2)
    ragged = radius + 0.13 * _noise(rng, (size, size), size / 9, size / 9)
    body = 1.0 / (1.0 + np.exp(18.0 * (ragged - 0.58)))
    edge = np.exp(-((ragged - 0.55) ** 2) / 0.008)
    sign = -1.0 if rng.random() < 0.8 else 1.0
    paint = sign * contrast * rng.uniform(0.15, 0.32) * (0.8 * body + 0.35 * edge)
    return _place(rng, paint.astype(np.float32), width, height)


def _crack(rng: np.random.Generator, scale: float, contrast: float, width: int, height: int) -> tuple[Gray, int, int]:
    """A dark, jagged line that gets thinner, with up to two branches."""
    steps = int(rng.integers(12, 30))
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.4, steps))
    stride = rng.uniform(6.0, 12.0) * scale
    trunk = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * stride
    paths, widths = [trunk], [np.linspace(3.4, 1.2, steps - 1) * scale * rng.uniform(0.7, 1.2)]
    for _ in range(int(rng.integers(0, 3))):
        start = int(rng.integers(2, steps - 2))
        count = int(rng.integers(4, 10))
        away = heading[start] + rng.choice([-0.9, 0.9]) + np.cumsum(rng.normal(0, 0.35, count))
        moves = np.stack([np.cos(away), np.sin(away)], axis=1) * stride * 0.8
        # From the trunk to the tip and back to the trunk: one path without a gap.
        branch = np.concatenate([trunk[start][None], trunk[start] + np.cumsum(moves, axis=0)])
        paths.append(np.concatenate([trunk[-1:0:-1][: steps - 1 - start], branch]))
        widths.append(np.full(len(paths[-1]) - 1, 1.3 * scale))
    line = _strokes(np.concatenate(paths), np.concatenate([np.append(w, 0.9) for w in widths])[:-1], margin=5)
    return _place(
        rng, (-contrast * rng.uniform(0.35, 0.7) * line * _fade(line.shape, rng)).astype(np.float32), width, height
    )


PAINTERS: dict[str, Paint] = {"scratch": _scratch, "pit": _pit, "stain": _stain, "crack": _crack}
