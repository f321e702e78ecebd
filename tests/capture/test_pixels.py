"""Pixel formats: every one that is in the table gives the colours that were put in; what is not is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.pixels import FORMATS, Layout, to_bgr
from edge_agent.errors import BadPictureError, CameraError

BLUE, GREEN, RED = 40, 120, 200
ORDER = {"B": BLUE, "G": GREEN, "R": RED, "x": 9, "A": 9, "a": 9}


def mosaic(pattern, bits):
    """One colour as a sensor with this Bayer pattern sees it: [8, 12]."""
    quad = np.array([ORDER[letter] for letter in pattern], np.uint16).reshape(2, 2)
    samples = np.tile(quad, (4, 6)) << (bits - 8)
    return samples.astype("<u2") if bits > 8 else samples.astype(np.uint8)


BAYER = {"RG": "RGGB", "GR": "GRBG", "GB": "GBRG", "BG": "BGGR"}


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("name", BAYER)
def test_a_mosaic_of_one_colour_becomes_that_colour(name, bits):
    samples = mosaic(BAYER[name], bits)
    image = to_bgr(memoryview(samples.tobytes()), Layout(format=f"Bayer{name}{bits}", width=12, height=8))

    np.testing.assert_array_equal(image, np.broadcast_to(np.array([BLUE, GREEN, RED], np.uint8), (8, 12, 3)))


@pytest.mark.parametrize("name", ["BGR", "RGB", "BGRx", "BGRA", "RGBx", "RGBA", "BGR8", "RGB8", "BGRa8", "RGBa8"])
def test_the_order_of_colours_is_in_the_name(name):
    pixel = bytes(ORDER[letter] for letter in name.rstrip("8"))
    image = to_bgr(memoryview(pixel * 6), Layout(format=name, width=3, height=2))

    np.testing.assert_array_equal(image, np.broadcast_to(np.array([BLUE, GREEN, RED], np.uint8), (2, 3, 3)))


@pytest.mark.parametrize(
    ("name", "bits"), [("GRAY8", 8), ("Mono8", 8), ("Mono10", 10), ("Mono12", 12), ("Mono14", 14), ("Mono16", 16)]
)
def test_grey_keeps_its_upper_eight_bits(name, bits):
    grey = np.arange(0, 256, 16).astype(np.uint16) << (bits - 8)
    samples = grey.astype("<u2") if bits > 8 else grey.astype(np.uint8)
    image = to_bgr(memoryview(samples.tobytes()), Layout(format=name, width=4, height=4))

    np.testing.assert_array_equal(image[..., 0].ravel(), np.arange(0, 256, 16))
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("YUY2", (90, 128, 90, 128)),
        ("UYVY", (128, 90, 128, 90)),
        ("YUV422_8", (90, 128, 90, 128)),
        ("YUV422_8_UYVY", (128, 90, 128, 90)),
    ],
)
def test_a_grey_in_yuv_is_grey(name, pair):
    image = to_bgr(memoryview(bytes(pair) * 8), Layout(format=name, width=4, height=4))

    assert image.shape == (4, 4, 3)
    assert len({int(value) for value in image.ravel()}) == 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.sampled_from(["BGR", "BGRx", "GRAY8", "Mono12"]))
def test_bytes_between_rows_are_passed_over(width, height, gap, name):
    form = FORMATS[name]
    row = width * form.channels * form.sample_bytes
    stride = row + gap * form.sample_bytes
    rng = np.random.default_rng(width * 100 + height)
    rows = rng.integers(0, 256 if form.bits == 8 else 16, (height, row), np.uint8)
    padded = np.full((height, stride), 255, np.uint8)
    padded[:, :row] = rows

    tight = to_bgr(memoryview(rows.tobytes()), Layout(format=name, width=width, height=height))
    loose = to_bgr(memoryview(padded.tobytes()), Layout(format=name, width=width, height=height, stride=stride))
    np.testing.assert_array_equal(tight, loose)


@pytest.mark.parametrize("name", FORMATS)
def test_the_picture_is_a_copy(name):
    memory = bytearray(16 * 16 * 8)
    image = to_bgr(memoryview(memory).toreadonly(), Layout(format=name, width=8, height=8))
    before = image.copy()
    memory[:] = b"\xff" * len(memory)

    np.testing.assert_array_equal(image, before)
    image[:] = 1
    assert image.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    "layout",
    [
        Layout(format="BGR", width=0, height=4),
        Layout(format="BGR", width=-4, height=-4),
        Layout(format="BGR", width=4, height=5),
        Layout(format="BGR", width=4, height=4, stride=11),
        Layout(format="BGR", width=4, height=4, stride=13),
        Layout(format="BGR", width=40_000, height=40_000),
    ],
)
def test_a_picture_that_cannot_lie_in_its_memory_is_refused(layout):
    with pytest.raises(BadPictureError, match="BGR picture of"):
        to_bgr(memoryview(bytes(48)), layout)


def test_an_unknown_format_is_named_with_those_that_are_known():
    with pytest.raises(CameraError, match=r"NV12 is not known, expected one of BGR, RGB"):
        to_bgr(memoryview(bytes(48)), Layout(format="NV12", width=4, height=4))
