"""Cameras over HTTP: a real server that streams, stalls, breaks off, lies, and asks for a login in each usual way."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from edge_agent.capture.addresses import parse, with_login
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.clock import SystemClock
from edge_agent.errors import BadPictureError, CameraError
from tests.capture.watching import Rig
from tests.fakes.broker import Authority
from tests.fakes.mjpeg_camera import MjpegCamera, jpeg
from tests.waiting import until

SECRET = "s3:c/r@t"  # noqa: S105 - of a camera that lives for a second


def opener(url, *, open_timeout_s=2.0, read_timeout_s=0.4, **terms):
    def make(stop):
        given = {"open_timeout_s": open_timeout_s, "read_timeout_s": read_timeout_s, **terms}
        return make_source(parse(url), Terms(clock=SystemClock(), stop=stop, **given))

    return make


def opened(url, **terms):
    source = opener(url, **terms)(threading.Event())
    source.open()
    return source


def open_fault(url, **terms):
    with pytest.raises(CameraError) as caught:
        opened(url, **terms)
    return str(caught.value)


def read_fault(url, pictures, **terms):
    """What is said after so many pictures."""
    source = opened(url, **terms)
    for _ in range(pictures):
        assert source.read().image.shape == (48, 64, 3)
    with pytest.raises(CameraError) as caught:
        source.read()
    source.close()
    return str(caught.value)


@pytest.fixture(scope="module")
def camera():
    with MjpegCamera() as camera:
        yield camera


@pytest.mark.parametrize("path", ["stream", "without-length", "dashes-in-the-name", "more-dashes"])
def test_pictures_come_in_order_from_cameras_of_each_habit(camera, path):
    source = opened(camera.url(path))
    levels = [round(float(source.read().image.mean())) for _ in range(5)]
    source.close()

    assert levels == [20, 30, 40, 50, 60]


def test_a_stream_is_numbered_and_ends_when_it_is_stopped(camera):
    with Rig() as rig:
        worker, watcher = rig.start(opener(camera.url()), capacity=16)
        frames = [rig.frame() for _ in range(5)]
        worker.stop()

        assert [frame.sequence for frame in frames] == [1, 2, 3, 4, 5]
        assert watcher.states() == ["opening", "streaming", "stopped"]


def test_a_part_that_is_no_picture_is_one_hold_and_the_next_is_judged(camera):
    source = opened(camera.url("garbage-between"))
    source.read()
    with pytest.raises(BadPictureError):
        source.read()
    source.read()
    source.close()


def test_half_a_picture_is_a_hold_and_never_filled_up(camera):
    # FFmpeg completes it with what the part before showed (docs/capture.md).
    source = opened(camera.url("half-pictures"))
    source.read()
    for _ in range(3):
        with pytest.raises(BadPictureError, match="ends inside"):
            source.read()
    source.close()


@pytest.mark.parametrize(
    ("path", "pictures", "words"),
    [
        ("closed-inside", 3, "the stream ended"),
        ("ended", 3, "the camera ended the stream"),
        ("no-multipart", 0, "no '--frame', the boundary it announced, within 65536 bytes"),
        ("another-boundary", 0, "bytes came, none of them the boundary that was announced"),
        ("huge-part", 1, "a part of 100000000000 bytes, at most 33554432 are read"),
        ("endless-headers", 0, "more than 8192 bytes of headers"),
        ("byte-by-byte", 1, "no whole picture within 0.4 s"),
    ],
)
def test_a_stream_that_breaks_or_lies_gives_what_came_whole_and_then_says_what_is_wrong(camera, path, pictures, words):
    assert words in read_fault(camera.url(path), pictures)


def test_a_stated_length_that_is_too_short_is_never_a_picture(camera):
    source = opened(camera.url("too-short-length"))
    source.read()
    with pytest.raises(BadPictureError):
        source.read()
    with pytest.raises(CameraError, match="goes on after the Content-Length"):
        source.read()
    source.close()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("page", "sends a web page, not a stream: take the address of its MJPEG stream"),
        ("snapshot", "sends one picture, not a stream: snapshots cannot be watched"),
        ("film", "sends video/mp4, not a stream"),
        ("no-boundary", "without a boundary"),
        ("moved", r"answers 302: it is at https://***@elsewhere/stream now"),
        ("forbidden", "answers 403, the camera refuses this user"),
        ("busy", "answers 503, the camera serves no more viewers"),
        ("absent", "answers 404, the camera has nothing of this name; check the path"),
        ("odd", "answers 418 I'm a Teapot"),
    ],
)
def test_what_comes_instead_of_a_stream_is_named(camera, path, words):
    assert words.lower() in open_fault(camera.url(path)).lower()


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_a_login_opens_the_stream_and_is_never_shown(scheme):
    with MjpegCamera(login=("op@plant", SECRET), scheme=scheme) as camera:
        address = with_login(parse(camera.url("stream?channel=1")), "op@plant", SECRET)
        opened(address.target).close()
        nobody = open_fault(camera.url())
        wrong = open_fault(with_login(parse(camera.url()), "op@plant", f"wrong-{SECRET}").target)

        assert "answers 401: it wants a user and a password and was given none" in nobody
        assert "did not take these" in wrong
        assert SECRET not in wrong + repr(address)


@pytest.mark.parametrize("scheme", ["unknown", "broken"])
def test_a_login_of_a_kind_that_we_do_not_know_is_a_refusal(scheme):
    with MjpegCamera(login=("user", SECRET), scheme=scheme) as camera:
        assert "answers 401" in open_fault(with_login(parse(camera.url()), "user", SECRET).target)


def test_a_certificate_is_checked_unless_the_camera_is_said_to_have_none_that_counts(tmp_path, monkeypatch):
    authority = Authority(tmp_path)
    with MjpegCamera(certificate=authority.issue("cam")) as camera:
        message = open_fault(camera.url())
        assert "its certificate is not trusted" in message
        assert "tls_verify: false" in message
        opened(camera.url(), tls_verify=False).close()
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        opened(camera.url()).close()
    with MjpegCamera() as camera:
        assert "does not speak TLS" in open_fault(camera.url().replace("http:", "https:"))


def test_a_frozen_camera_is_noticed_at_the_read_time_out_and_opened_again():
    with MjpegCamera() as camera, Rig() as rig:
        _, watcher = rig.start(opener(camera.url()), stall_s=2.0)
        rig.frame()
        heard = len(watcher.statuses)
        camera.freeze()
        frozen_s = rig.clock.mono_s()
        status = watcher.wait_state("waiting", heard)

        assert rig.clock.mono_s() - frozen_s < 1.5
        assert "no whole picture within 0.4 s; 0 bytes came" in status.reason
        camera.thaw()
        watcher.wait_state("streaming", heard)
        assert rig.queue.accounting("cam").reconnects >= 1


def test_a_camera_that_was_switched_off_comes_back_with_another_size():
    with Rig() as rig:
        with MjpegCamera() as camera:
            _, watcher = rig.start(opener(camera.url()), capacity=64)
            last = rig.frame()
            port = camera.port
        heard = len(watcher.statuses)
        watcher.wait_state("waiting")
        with MjpegCamera(size=(96, 128), port=port):
            watcher.wait_state("streaming", heard)
            frame = rig.frame()
            while frame.image.shape[0] == 48:
                frame, last = rig.frame(), frame

        assert frame.image.shape == (96, 128, 3)
        assert frame.sequence == last.sequence + 1


def test_a_size_that_changes_within_one_stream_is_followed():
    with MjpegCamera() as camera:
        source = opened(camera.url())
        source.read()
        camera.size = (96, 128)
        while (picture := source.read()).image.shape[0] == 48:
            pass
        source.close()

        assert picture.image.shape == (96, 128, 3)


def test_a_hundred_connections_leave_nothing_behind():
    def left():
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    with MjpegCamera() as camera:
        descriptors, threads = left()
        for _ in range(100):
            source = opened(camera.url())
            source.read()
            source.close()
            open_fault(camera.url("page"))

        # The camera itself notices only at its next picture that a viewer has gone.
        until(lambda: left()[0] <= descriptors and left()[1] <= threads)


def answering(*pieces):
    """A server that sends these bytes to whoever connects, then keeps silent; its port."""
    server = socket.create_server(("127.0.0.1", 0))
    kept = []

    def serve():
        try:
            link, _ = server.accept()
        except OSError:
            return
        kept.append(link)
        link.recv(4096)
        for piece in pieces:
            link.sendall(piece)

    threading.Thread(target=serve, daemon=True).start()
    return server, kept


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "does not answer within 0.3 s"),
        (b"RTSP/1.0 400 Bad Request\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: \x1b[31mred\r\n\r\n", "not a stream"),
    ],
)
def test_a_server_that_is_silent_or_no_camera_is_left(answer, words):
    server, kept = answering(answer)
    message = open_fault(f"http://127.0.0.1:{server.getsockname()[1]}/stream", open_timeout_s=0.3)
    for link in (server, *kept):
        link.close()

    assert words in message
    assert "\x1b" not in message


def test_pictures_in_chunks_are_read():
    body = jpeg(1)
    whole = b"--x\r\nContent-Length: %d\r\n\r\n%s\r\n--x\r\n" % (len(body), body)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(whole[at : at + 50]), whole[at : at + 50]) for at in range(0, len(whole), 50)
    )
    head = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: multipart/x-mixed-replace;boundary=x\r\n\r\n"
    )
    server, kept = answering(head, chunks, b"no length\r\n")
    source = opened(f"http://127.0.0.1:{server.getsockname()[1]}/stream")

    assert source.read().image.shape == (48, 64, 3)
    with pytest.raises(CameraError, match="the connection broke"):
        source.read()
    source.close()
    for link in (server, *kept):
        link.close()


def test_a_refused_port_and_an_unknown_name_say_so():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    assert f"127.0.0.1:{port} refuses connections" in open_fault(f"http://127.0.0.1:{port}/x")
    assert "the name camera.invalid is not known" in open_fault("http://camera.invalid/x")
