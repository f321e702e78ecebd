"""Pixel formats of native camera stacks, by their names, as BGR. Pure.

A picture is read straight from the memory it was handed over in, so the one pass that converts is also the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.capture.picture import MOST_PICTURE_PIXELS, Image
from edge_agent.errors import BadPictureError, CameraError


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How a format lies in memory. `channels` interleaved samples a pixel; `bits` of the `sample_bytes` are used, from
    the lowest; `code` is OpenCV's conversion to BGR, None where it is BGR.
    """

    channels: int
    code: int | None
    sample_bytes: int = 1
    bits: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A picture in shared memory. `stride` is bytes from one row to the next, 0 where rows follow without a gap."""

    format: str
    width: int
    height: int
    stride: int = 0


def _bayer(code: int) -> Callable[[str], Mapping[str, PixelFormat]]:
    def named(letters: str) -> Mapping[str, PixelFormat]:
        return {
            f"Bayer{letters}{bits}": PixelFormat(channels=1, code=code, sample_bytes=1 + (bits > 8), bits=bits)
            for bits in (8, 10, 12, 16)
        }

    return named


# GStreamer's names (gstvideo-format) and those of the GenICam Pixel Format Naming Convention 2.1. Bayer patterns are
# named by their first row, RG of RGGB.
FORMATS: Mapping[str, PixelFormat] = {
    "BGR": PixelFormat(channels=3, code=None),
    "RGB": PixelFormat(channels=3, code=cv2.COLOR_RGB2BGR),
    "BGRx": PixelFormat(channels=4, code=cv2.COLOR_BGRA2BGR),
    "BGRA": PixelFormat(channels=4, code=cv2.COLOR_BGRA2BGR),
    "RGBx": PixelFormat(channels=4, code=cv2.COLOR_RGBA2BGR),
    "RGBA": PixelFormat(channels=4, code=cv2.COLOR_RGBA2BGR),
    "GRAY8": PixelFormat(channels=1, code=cv2.COLOR_GRAY2BGR),
    "YUY2": PixelFormat(channels=2, code=cv2.COLOR_YUV2BGR_YUY2),
    "UYVY": PixelFormat(channels=2, code=cv2.COLOR_YUV2BGR_UYVY),
    "BGR8": PixelFormat(channels=3, code=None),
    "RGB8": PixelFormat(channels=3, code=cv2.COLOR_RGB2BGR),
    "BGRa8": PixelFormat(channels=4, code=cv2.COLOR_BGRA2BGR),
    "RGBa8": PixelFormat(channels=4, code=cv2.COLOR_RGBA2BGR),
    "YUV422_8": PixelFormat(channels=2, code=cv2.COLOR_YUV2BGR_YUY2),
    "YUV422_8_UYVY": PixelFormat(channels=2, code=cv2.COLOR_YUV2BGR_UYVY),
    "Mono8": PixelFormat(channels=1, code=cv2.COLOR_GRAY2BGR),
    "Mono10": PixelFormat(channels=1, code=cv2.COLOR_GRAY2BGR, sample_bytes=2, bits=10),
    "Mono12": PixelFormat(channels=1, code=cv2.COLOR_GRAY2BGR, sample_bytes=2, bits=12),
    "Mono14": PixelFormat(channels=1, code=cv2.COLOR_GRAY2BGR, sample_bytes=2, bits=14),
    "Mono16": PixelFormat(channels=1, code=cv2.COLOR_GRAY2BGR, sample_bytes=2, bits=16),
    **_bayer(cv2.COLOR_BayerRGGB2BGR)("RG"),
    **_bayer(cv2.COLOR_BayerGRBG2BGR)("GR"),
    **_bayer(cv2.COLOR_BayerGBRG2BGR)("GB"),
    **_bayer(cv2.COLOR_BayerBGGR2BGR)("BG"),
}


def to_bgr(memory: memoryview, layout: Layout) -> Image:
    """A new uint8 [height, width, 3] BGR picture. Of more than 8 bits the upper 8 are kept.

    Raises:
        CameraError: a format that is not in the table.
        BadPictureError: of a size that the format does not have, too large, or more than there is in `memory`.
    """
    form = FORMATS.get(layout.format)
    if form is None:
        raise CameraError(f"pixel format {layout.format} is not known, expected one of {', '.join(FORMATS)}")
    image = _as_samples(memory, layout, form)
    if form.bits > 8:
        image = (image >> (form.bits - 8)).astype(np.uint8)
    if form.code is None:
        return np.array(image, np.uint8)
    try:
        return np.asarray(cv2.cvtColor(image, form.code), np.uint8)
    except cv2.error as error:  # an odd width in YUV, a mosaic of one row
        raise BadPictureError(f"{layout.format} of {layout.width} x {layout.height}: {error.err}") from error


def _as_samples(memory: memoryview, layout: Layout, form: PixelFormat) -> NDArray[np.uint8 | np.uint16]:
    """The samples where they lie: [height, width] for one channel, else [height, width, channels]."""
    row_bytes = layout.width * form.channels * form.sample_bytes
    stride = layout.stride or row_bytes
    pixels = layout.width * layout.height
    needed = stride * (layout.height - 1) + row_bytes
    if (
        min(layout.width, layout.height) < 1
        or pixels > MOST_PICTURE_PIXELS
        or stride < row_bytes
        or needed > len(memory)
    ):
        raise BadPictureError(
            f"{layout.format} picture of {layout.width} x {layout.height}, {stride} bytes a row, in {len(memory)} bytes"
        )
    shape = (layout.height, layout.width) if form.channels == 1 else (layout.height, layout.width, form.channels)
    steps = (stride, form.channels * form.sample_bytes, form.sample_bytes)[: len(shape)]
    samples: NDArray[np.uint8 | np.uint16] = np.ndarray(
        shape, np.dtype("<u2") if form.sample_bytes == 2 else np.dtype(np.uint8), memory, strides=steps
    )
    return samples
