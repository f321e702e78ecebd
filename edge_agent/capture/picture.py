"""Pixels: bytes to pictures, pictures to the encoder's input, pictures to JPEG.

    bytes --decode--> uint8 [h, w, 3] BGR --prepare--> uint8 [height, width, 3], what the encoder sees

`prepare` is the one definition of "make it fit": the gateway, the solver and the model builder all call it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.header import read_header
from edge_agent.errors import BadPictureError
from edge_agent.records import Canvas, Detection, Region

Image = NDArray[np.uint8]

# A 20-megapixel industrial camera makes 60 MB of raw pixels and a BMP as large: twice that in bytes, three times in
# pixels, is still a camera and no attack.
MOST_PICTURE_BYTES = 128 * 1024 * 1024
MOST_PICTURE_PIXELS = 64_000_000

# The largest factor at which a bilinear step still gives every source pixel at least a quarter of full weight.
MOST_BILINEAR_SHRINK = 1.5

# What detectors are trained with around a letterboxed picture: YOLOv5 and everything after it pad with 114.
LETTERBOX_GREY = 114

DEFAULT_JPEG_QUALITY = 90
_GREEN, _RED, _WHITE, _BLACK = (80, 200, 80), (60, 60, 230), (255, 255, 255), (0, 0, 0)
_BRIGHT_BAND = 355  # sum of the channels from which dark letters are read better than white ones: green's, not red's
# Letters of 12 pixels and boxes of some dozens want a picture of this size.
READABLE_PX = 480

# One thread per call. OpenCV's pool would spread a 0.1 ms resize over every core and take them from the encoder, whose
# latency is the product; camera threads already run beside one another. Process-wide, hence set at the one door.
cv2.setNumThreads(1)
# OpenCV reports a bad picture twice: to us, and as two lines on stderr. Ours carries the file and the advice.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(content: bytes) -> Image:
    """An encoded picture as uint8 [h, w, 3], BGR, C-contiguous.

    Defined for every input: grey becomes three equal channels; of 16 bits the upper 8 are kept; alpha is dropped, the
    colour under it stays; the EXIF orientation is applied (judged is what a person sees); of several pages the first.

    Raises:
        BadPictureError: not a picture, truncated, damaged, or beyond the limits. Damage inside the data of a JPEG that
            keeps its end mark cannot be seen by any decoder and is judged as it looks.
    """
    if len(content) > MOST_PICTURE_BYTES:
        raise BadPictureError(f"picture of {len(content)} bytes, at most {MOST_PICTURE_BYTES} are read")
    header = read_header(content)
    if header.width_px * header.height_px > MOST_PICTURE_PIXELS:
        raise BadPictureError(
            f"{header.kind} of {header.width_px} x {header.height_px} pixels, at most {MOST_PICTURE_PIXELS} are decoded"
        )
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BadPictureError(f"{header.kind} that cannot be decoded: {error}") from error
    if image is None:
        raise BadPictureError(f"{header.kind} of {header.width_px} x {header.height_px} pixels: the data is damaged")
    return np.asarray(image, np.uint8)


def read_picture(path: Path) -> Image:
    """The picture in a file, as `decode` gives it.

    Raises:
        BadPictureError: it cannot be read or decoded; the message begins with the path.
    """
    try:
        with path.open("rb") as file:
            # Asked for the limit itself, Python would make a buffer of that size for every picture.
            content = file.read(min(MOST_PICTURE_BYTES, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise BadPictureError(f"{path}: cannot be read ({error.strerror})", part=path.name) from error
    try:
        return decode(content)
    except BadPictureError as error:
        raise BadPictureError(f"{path}: {error}", part=path.name) from error


def prepare(image: Image, size: tuple[int, int]) -> Image:
    """`image` as uint8 [height, width, 3], C-contiguous, for `size` = (height, width); the aspect ratio is not kept.

    Exact halvings first (a bilinear sample midway between two pixels is their mean), then one step of less than a half:
    bilinear up to 1.5, above that the area mean, because a bilinear step of nearly 2 can pass over a whole column. So
    every source pixel takes part and no thin scratch vanishes. Thread time to 224 x 224 from 640 x 480 / 1280 x 720 /
    1920 x 1080: 0.11 / 0.68 / 0.57 ms (one area mean: 0.73 / 1.9 / 4.3; one bilinear step, which drops most of the
    pixels: 0.07).
    """
    height, width = size
    while image.shape[0] >= 2 * height or image.shape[1] >= 2 * width:
        image = _halve(image, rows=image.shape[0] >= 2 * height, columns=image.shape[1] >= 2 * width)
    if image.shape[:2] != (height, width):
        shrink = max(image.shape[0] / height, image.shape[1] / width)
        method = cv2.INTER_AREA if shrink > MOST_BILINEAR_SHRINK else cv2.INTER_LINEAR
        image = cv2.resize(image, (width, height), interpolation=method)
    return np.ascontiguousarray(image)


def prepare_for(image: Image, canvas: Canvas) -> Image:
    """`image` as the model of this canvas takes it: uint8 [height, width, 3], C-contiguous; see `prepare`."""
    top, left, height, width = canvas.inner(*image.shape[:2])
    inside = prepare(image, (height, width))
    if (height, width) == canvas.px:
        return inside
    whole = np.full((*canvas.px, 3), LETTERBOX_GREY, np.uint8)
    whole[top : top + height, left : left + width] = inside
    return whole


def _halve(image: Image, *, rows: bool, columns: bool) -> Image:
    odd_row, odd_column = int(rows and image.shape[0] % 2), int(columns and image.shape[1] % 2)
    if odd_row or odd_column:  # the last line counts twice, rather than every sample being off its midpoint
        image = cv2.copyMakeBorder(image, 0, odd_row, 0, odd_column, cv2.BORDER_REPLICATE)
    height, width = image.shape[0] >> rows, image.shape[1] >> columns
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def encode_jpeg(image: Image, quality: int = DEFAULT_JPEG_QUALITY) -> bytes:
    """uint8 [h, w, 3] BGR as JPEG, `quality` 1 to 100."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return encoded.tobytes()


def encode_png(image: Image) -> bytes:
    """uint8 [h, w, 3] BGR as PNG: every pixel comes back."""
    _, encoded = cv2.imencode(".png", image)
    return encoded.tobytes()


def encode_heat(heat: NDArray[np.float32]) -> bytes | None:
    """float32 [h, w] >= 0 as a PNG to lay over the picture: red, the opaquer the hotter; None where it says nothing."""
    peak = float(heat.max())
    if not 0.0 < peak < math.inf:
        return None
    pixels = np.empty((*heat.shape, 4), np.uint8)
    pixels[..., :3] = _RED
    pixels[..., 3] = np.nan_to_num(heat / peak, nan=0.0).clip(0, 1) * 255
    _, encoded = cv2.imencode(".png", pixels)
    return encoded.tobytes()


def draw(
    image: Image,
    *,
    where: Region | None = None,
    heat: NDArray[np.float32] | None = None,
    lines: Sequence[str] = (),
    good: bool = False,
    detections: Sequence[Detection] = (),
) -> Image:
    """A copy of `image` for people: `heat` float32 [h', w'] in red, boxes with label and score, `lines` on top.

    `where` is a box of its own; where a detector found things, theirs say more. A picture too small to write on comes
    back enlarged by a whole factor.
    """
    factor = -(-READABLE_PX // max(image.shape[:2])) if max(image.shape[:2]) < READABLE_PX else 1
    canvas = image.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else image.copy()
    height, width = canvas.shape[:2]
    if heat is not None and float(heat.max()) > 0:
        strength = cv2.resize(heat / heat.max(), (width, height), interpolation=cv2.INTER_LINEAR)[..., None] * 0.6
        canvas = (canvas * (1 - strength) + np.array(_RED, np.float32) * strength).astype(np.uint8)
    thickness = max(1, min(height, width) // 240)
    if where is not None and not detections:
        _box(canvas, where, _GREEN if good else _RED, thickness)
    # The surest is drawn last: where boxes overlap it is the one that can be read.
    for found in reversed(detections):
        colour = _RED if found.defect else _GREEN
        left, top, _, bottom = _box(canvas, found.where, colour, thickness)
        _write(canvas, f"{found.label} {found.score:.2f}", (left, top, bottom), colour, 0.6)
    scale = max(0.4, min(height, width) / 640)
    baseline = 0
    for line in lines:
        baseline += round(28 * scale) + 4  # letters, what hangs below them, and the band
        _write(canvas, line, (round(8 * scale), baseline, None), _BLACK, 0.8)
    return np.asarray(canvas, np.uint8)


def _box(canvas: Image, where: Region, colour: tuple[int, int, int], thickness: int) -> tuple[int, int, int, int]:
    """Draw a box; its left, top, right and bottom in pixels."""
    height, width = canvas.shape[:2]
    left, top = round(where.x * width), round(where.y * height)
    right, bottom = round((where.x + where.width) * width), round((where.y + where.height) * height)
    right, bottom = min(right, width - 1), min(bottom, height - 1)
    cv2.rectangle(canvas, (left, top), (right, bottom), colour, thickness)
    return left, top, right, bottom


def _write(
    canvas: Image, text: str, place: tuple[int, int, int | None], band: tuple[int, int, int], size: float
) -> None:
    """Text on a band, since an outline around thin letters cannot be read on a white part; small enough to fit.

    `place` is left, baseline, and the baseline to take where the first lies above the picture.
    """
    height, width = canvas.shape[:2]
    left, baseline, instead = place
    scale = size * max(0.4, min(height, width) / 640)
    thickness = max(1, min(height, width) // 360)
    (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    if wide > width - 6:
        scale *= (width - 6) / wide
        (wide, high), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    left = max(3, min(left, width - wide - 3))
    if instead is not None:
        # On top of the box; below it where that is outside the picture, and inside where both are.
        bottom = baseline - below
        if bottom - high < 0:
            bottom = instead + high + below
        baseline = min(bottom, height - below)
    corner, opposite = (left - 3, baseline - high - 4), (left + wide + 3, baseline + below)
    cv2.rectangle(canvas, corner, opposite, band, cv2.FILLED)
    ink = _WHITE if sum(band) < _BRIGHT_BAND else _BLACK
    cv2.putText(canvas, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA)
