"""From bytes to pictures: however they are cut, whatever a camera makes of the format, and what is refused."""

from __future__ import annotations

import contextlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.jpeg_end import JpegEnd
from edge_agent.capture.multipart import MOST_HEADER_BYTES, MOST_PREAMBLE_BYTES, Parts
from edge_agent.errors import CameraError
from tests.fakes.mjpeg_camera import jpeg, part

PICTURES = [jpeg(number) for number in range(4)]


def pictures_in(stream, boundary="frame", cut=None):
    """What comes of it, fed in pieces of so many bytes."""
    parts, found = Parts(boundary), []
    for start in range(0, len(stream), cut or len(stream)):
        found += parts.feed(stream[start : start + (cut or len(stream))])
    return found


def stream_of(bodies, **how):
    return b"".join(part(body, **how) for body in bodies)


def encoded(*flags):
    picture = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", picture, list(flags))[1].tobytes()


# Two ends are not the end: that of a thumbnail in an APP1 segment, and the two bytes in a table.
THUMBNAIL = PICTURES[0][:2] + b"\xff\xe1" + (len(PICTURES[1]) + 2).to_bytes(2, "big") + PICTURES[1] + PICTURES[0][2:]
COMMENT = PICTURES[0][:2] + b"\xff\xff\xfe\x00\x06\xff\xd9--" + PICTURES[0][2:]
KINDS = {
    "plain": encoded(),
    "progressive": encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "with restarts": encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "with a thumbnail": THUMBNAIL,
    "with a comment": COMMENT,
}


@pytest.mark.parametrize("cut", [1, 3, 50, None])
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_picture_without_a_stated_length_is_whole_when_its_jpeg_ends_not_when_the_next_begins(kind, cut):
    assert pictures_in(part(KINDS[kind], length=False)[:-2], cut=cut) == [KINDS[kind]]


@pytest.mark.parametrize("cut", [1, 50, None])
def test_a_picture_that_was_cut_off_does_not_take_the_next_for_its_rest(cut):
    half = encoded()[:-300]
    stream = part(half, length=False) + part(PICTURES[1], length=False) + part(PICTURES[2], length=False)

    assert pictures_in(stream, cut=cut) == [half, *PICTURES[1:3]]


def test_what_a_camera_adds_behind_a_picture_is_passed_over():
    stream = part(PICTURES[0] + bytes(30), length=False) + part(PICTURES[1], length=False)

    assert [picture[: len(PICTURES[0])] for picture in pictures_in(stream, cut=10)] == PICTURES[:2]


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_after_a_jpegs_start_end_or_do_not_and_nothing_breaks(content, cut):
    end, buffer, whole = JpegEnd(), bytearray(), b"\xff\xd8" + content
    for start in range(0, len(whole), cut):
        buffer += whole[start : start + cut]
        found = end.find(buffer)
        if found is not None:
            assert bytes(buffer[:found]).endswith(b"\xff\xd9")
            return


@pytest.mark.parametrize("cut", [1, 7, 100, None])
def test_pictures_come_out_as_they_went_in_however_the_bytes_are_cut(cut):
    assert pictures_in(stream_of(PICTURES), cut=cut) == PICTURES


@pytest.mark.parametrize("cut", [1, 7, None])
@pytest.mark.parametrize(
    ("boundary", "how"),
    [
        ("frame", {"length": False}),
        ("--frame", {"length": False}),
        ("--frame", {"length": False, "name": "----frame"}),
        ("--frame", {"name": "----frame"}),
    ],
)
def test_cameras_that_bend_the_format_are_read(boundary, how, cut):
    stream = stream_of(PICTURES, **how) + how.get("name", "--frame").encode()

    assert pictures_in(stream, boundary, cut) == PICTURES


def test_bare_line_feeds_small_letters_and_prose_before_the_first_part_are_read():
    body = PICTURES[0]
    stream = b"This is a stream.\n--frame\ncontent-length: %d\n\n%s\n--frame" % (len(body), body)

    assert pictures_in(stream) == [body]


def test_parts_that_are_no_pictures_or_empty_are_passed_over():
    text = b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"

    assert pictures_in(text + part(b"") + part(PICTURES[1])) == [PICTURES[1]]


def test_a_picture_that_holds_the_delimiter_is_whole_where_its_length_is_stated():
    body = b"\xff\xd8--frame\r\n\r\n\xff\xd9"

    assert pictures_in(part(body) + part(PICTURES[0])) == [body, PICTURES[0]]


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (bytes(MOST_PREAMBLE_BYTES + 1), "no '--frame', the boundary it announced"),
        (b"--frame\r\n" + b"X: y\r\n" * MOST_HEADER_BYTES, "bytes of headers"),
        (b"--frame\r\nContent-Length: 99999999999\r\n\r\n", "a part of 99999999999 bytes, at most"),
        (part(PICTURES[0], stated=100) + part(PICTURES[1]), "goes on after the Content-Length"),
        (b"--frame\r\n\r\n" + bytes(2000), "no end of a part within 1000 bytes"),
        (part(PICTURES[0]) + b"--frame--\r\n", "ended the stream"),
    ],
)
def test_what_contradicts_itself_is_refused(stream, words):
    parts = Parts("frame", most_bytes=1000)

    with pytest.raises(CameraError, match=words):
        list(parts.feed(stream))


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=5), st.integers(1, 50), st.booleans())
def test_any_bodies_survive_any_cut(bodies, cut, length):
    bodies = [body.replace(b"--", b"").strip(b"\r\n-") or b"x" for body in bodies]

    assert pictures_in(stream_of(bodies, length=length) + b"--frame\r\n", cut=cut) == bodies


@given(st.binary(max_size=400))
def test_any_bytes_give_pictures_or_a_camera_error(content):
    with contextlib.suppress(CameraError):
        pictures_in(b"--frame\r\n" + content, cut=50)
