"""Bytes to pixels: every format in one defined way, everything else refused with its reason."""

from __future__ import annotations

import dataclasses
import struct

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.capture.header import read_header
from edge_agent.capture.picture import (
    MOST_PICTURE_BYTES,
    decode,
    draw,
    encode_heat,
    encode_jpeg,
    encode_png,
    prepare,
    read_picture,
)
from edge_agent.errors import BadPictureError
from edge_agent.records import Detection, Region


def smooth(height=60, width=80, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


def encoded(extension, image=None):
    return cv2.imencode(extension, smooth() if image is None else image)[1].tobytes()


LOSSLESS = (".png", ".bmp", ".tiff")
ALL_FORMATS = (*LOSSLESS, ".jpg", ".webp")


@pytest.mark.parametrize("extension", ALL_FORMATS)
def test_each_format_decodes_to_bgr_bytes(extension):
    image = decode(encoded(extension))

    assert image.shape == (60, 80, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.abs(image.astype(int) - smooth()).mean() < (0.01 if extension in LOSSLESS else 6)


@pytest.mark.parametrize("extension", ALL_FORMATS)
def test_the_header_tells_the_size_that_decoding_gives(extension):
    for height, width in ((1, 1), (7, 300), (300, 7)):
        header = read_header(encoded(extension, smooth(height, width)))

        assert (header.height_px, header.width_px) == (height, width)


@pytest.mark.parametrize("extension", ALL_FORMATS)
def test_every_prefix_of_a_picture_is_refused_or_is_the_whole_picture(extension):
    content = encoded(extension)
    whole = decode(content)
    for size in sorted({*range(200), *range(200, len(content), 97), len(content) - 1}):
        try:
            image = decode(content[:size])
        except BadPictureError:
            continue
        # A TIFF or BMP may keep a byte or two of padding at its end.
        assert len(content) - size < 4
        np.testing.assert_array_equal(image, whole)


@pytest.mark.parametrize("extension", ALL_FORMATS)
def test_bytes_after_a_picture_do_not_matter(extension):
    np.testing.assert_array_equal(decode(encoded(extension) + b"\x00" * 64), decode(encoded(extension)))


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF", b"II*\x00", b"MM\x00*"]),
)
@settings(max_examples=300, deadline=None)
def test_hostile_bytes_are_refused_and_nothing_else_is_raised(tail, magic):
    with pytest.raises(BadPictureError):
        decode(magic + tail)


def test_grey_becomes_three_equal_channels():
    image = decode(encoded(".png", smooth()[..., 0]))

    assert (image[..., 0] == image[..., 2]).all()
    np.testing.assert_array_equal(image[..., 0], smooth()[..., 0])


def test_of_sixteen_bits_the_upper_eight_are_kept():
    deep = smooth().astype(np.uint16) * 256 + 200

    np.testing.assert_array_equal(decode(encoded(".png", deep)), smooth())


def test_alpha_is_dropped_and_the_colour_under_it_stays():
    transparent = np.dstack([smooth(), np.zeros((60, 80), np.uint8)])

    np.testing.assert_array_equal(decode(encoded(".png", transparent)), smooth())


def test_the_exif_orientation_is_applied():
    jpeg = encoded(".jpg")
    tiff = b"MM\x00*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)  # orientation 6: turn right
    segment = b"Exif\x00\x00" + tiff
    rotated = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]

    np.testing.assert_array_equal(decode(rotated), np.rot90(decode(jpeg), -1))


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    bomb = bytearray(encoded(".png"))
    bomb[16:24] = struct.pack(">II", 60000, 60000)

    with pytest.raises(BadPictureError, match="60000 x 60000 pixels, at most 64000000"):
        decode(bytes(bomb))


def test_a_file_beyond_the_limit_is_refused_by_its_length():
    with pytest.raises(BadPictureError, match="at most"):
        decode(bytes(MOST_PICTURE_BYTES + 1))


def test_a_damaged_file_is_named_in_the_message(tmp_path):
    path = tmp_path / "part-7.jpg"
    path.write_bytes(encoded(".jpg")[:-200])

    with pytest.raises(BadPictureError, match=r"part-7\.jpg: JPEG without its end mark: it is truncated"):
        read_picture(path)
    with pytest.raises(BadPictureError, match="No such file"):
        read_picture(tmp_path / "absent.jpg")
    with pytest.raises(BadPictureError, match="directory"):
        read_picture(tmp_path)


@pytest.mark.parametrize(
    "shape", [(480, 640), (720, 1280), (1080, 1920), (1079, 1919), (224, 224), (100, 50), (3, 4000)]
)
def test_prepare_gives_the_size_and_is_contiguous(shape):
    image = prepare(smooth(*shape), (224, 192))

    assert image.shape == (224, 192, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


@pytest.mark.parametrize("shape", [(480, 640), (720, 1280), (1080, 1920)])
def test_prepare_agrees_with_the_area_mean_and_does_not_alias(shape):
    smooth_picture = cv2.GaussianBlur(smooth(*shape), (0, 0), max(shape) / 60)
    area = cv2.resize(smooth_picture, (224, 224), interpolation=cv2.INTER_AREA)
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)

    assert np.abs(prepare(smooth_picture, (224, 224)).astype(int) - area).mean() < 0.5
    assert prepare(noise, (224, 224)).std() < 0.6 * cv2.resize(noise, (224, 224)).std()


def test_prepare_lets_every_row_and_column_take_part():
    for side in (300, 360, 447, 449, 640, 1919):
        for at in range(0, side, 7):
            line = np.zeros((side, side, 3), np.uint8)
            line[:, at] = 255
            assert prepare(line, (224, 224)).any(), f"column {at} of {side} vanished"


def test_prepare_takes_cut_outs_and_read_only_pictures():
    whole = smooth(500, 700)
    whole.flags.writeable = False
    cut = whole[10:480, 20:660]

    np.testing.assert_array_equal(prepare(cut, (224, 224)), prepare(np.ascontiguousarray(cut), (224, 224)))


def test_png_gives_back_every_pixel_and_jpeg_nearly():
    np.testing.assert_array_equal(decode(encode_png(smooth())), smooth())
    assert np.abs(decode(encode_jpeg(smooth(), 95)).astype(int) - smooth()).mean() < 4


def test_drawing_leaves_the_picture_alone():
    image = smooth(120, 160)
    image.flags.writeable = False
    before = image.copy()
    heat = np.zeros((7, 7), np.float32)
    heat[3, 3] = 2

    drawn = draw(image, where=Region(x=0.1, y=0.1, width=0.5, height=0.5), heat=heat, lines=["FAIL scratch 0.97"])

    np.testing.assert_array_equal(image, before)
    assert drawn.shape == (360, 480, 3)  # a whole factor, so that there is room to write
    assert (drawn != image.repeat(3, axis=0).repeat(3, axis=1)).any()


def test_a_large_picture_is_drawn_on_in_its_own_size():
    assert draw(smooth(700, 900), lines=["PASS"]).shape == (700, 900, 3)


@pytest.mark.parametrize("size", [(16, 16), (17, 400), (480, 640), (1, 1)])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.9, 0.0), (0.0, 0.9), (0.9, 0.9)])
def test_a_detection_anywhere_is_drawn_with_its_label_inside_the_picture(size, corner):
    where = Region(x=corner[0], y=corner[1], width=0.1, height=0.1)
    bad = Detection(label="a name that is long", score=0.97, where=where, defect=True)
    good = dataclasses.replace(bad, defect=False)

    red, green = (draw(smooth(*size), detections=[found]).astype(int) for found in (bad, good))

    differs = (red != green).any(axis=2)
    assert differs.any()
    assert red[differs][:, 2].mean() > red[differs][:, 1].mean()
    assert green[differs][:, 1].mean() > green[differs][:, 2].mean()


def test_a_detectors_boxes_take_the_place_of_the_single_one():
    found = Detection(label="dent", score=0.5, where=Region(x=0.6, y=0.6, width=0.2, height=0.2), defect=True)
    where = Region(x=0.1, y=0.1, width=0.2, height=0.2)
    image = smooth(480, 640)

    np.testing.assert_array_equal(draw(image, where=where, detections=[found]), draw(image, detections=[found]))


def test_heat_becomes_a_picture_to_lay_over_opaque_where_it_is_hottest():
    heat = np.zeros((3, 5), np.float32)
    heat[1, 3], heat[2, 0] = 8, 4

    pixels = cv2.imdecode(np.frombuffer(encode_heat(heat), np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == (3, 5, 4)
    assert (pixels[1, 3, 3], pixels[2, 0, 3], pixels[0, 0, 3]) == (255, 127, 0)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -1.0])
def test_heat_that_says_nothing_is_no_picture(value):
    assert encode_heat(np.full((3, 3), value, np.float32)) is None
