"""Real H.264 and H.265 streams on loopback: it plays, freezes, dies, comes back changed, and refuses in every usual way."""

from __future__ import annotations

import itertools
import socket
import threading

import pytest

from edge_agent.capture.addresses import parse, with_login
from edge_agent.capture.rtsp_probe import refusal, verdict_on
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from tests.capture.watching import Rig
from tests.fakes.rtsp_server import CODECS, RtspServer

pytestmark = pytest.mark.rtsp

SECRET = "s3:c/r@t"  # noqa: S105 - of a camera that lives for a second


def opener(url, *, open_timeout_s=4.0, read_timeout_s=2.0):
    def make(stop):
        return make_source(
            parse(url),
            Terms(clock=SystemClock(), stop=stop, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s),
        )

    return make


def open_fault(url, **timeouts):
    source = opener(url, **timeouts)(threading.Event())
    with pytest.raises(CameraError) as caught:
        source.open()
    source.close()
    return str(caught.value)


@pytest.fixture(params=list(CODECS))
def codec(request):
    return request.param


def test_a_stream_gives_numbered_frames_of_its_size(codec):
    with RtspServer(320, 240, codec=codec) as server, Rig() as rig:
        _, watcher = rig.start(opener(server.url), capacity=16)
        frames = [rig.frame() for _ in range(10)]

        assert [frame.sequence for frame in frames] == list(range(1, 11))
        assert all(frame.image.shape == (240, 320, 3) for frame in frames)
        assert not frames[0].image.flags.writeable
        assert watcher.states() == ["opening", "streaming"]


def test_the_first_pictures_are_not_old_ones():
    with RtspServer(320, 240, 20) as server, Rig() as rig:
        rig.start(opener(server.url), capacity=64)
        times = [rig.frame().captured_mono_s for _ in range(20)]

        # What FFmpeg hoarded while it opened would come in one burst: 27 pictures with its default options.
        assert sum(later - earlier < 0.015 for earlier, later in itertools.pairwise(times)) <= 6


def test_a_frozen_camera_is_noticed_within_three_seconds_and_opened_again(codec):
    with RtspServer(codec=codec) as server, Rig() as rig:
        _, watcher = rig.start(opener(server.url))
        rig.frame()
        heard = len(watcher.statuses)
        frozen_s = rig.clock.mono_s()
        server.freeze()
        watcher.wait_state("waiting", heard)

        assert rig.clock.mono_s() - frozen_s < 3.5
        server.thaw()
        watcher.wait_state("streaming", heard)
        assert rig.queue.accounting("cam").reconnects >= 1


def test_a_camera_that_ffmpeg_waits_for_is_given_up_by_frame_age():
    with RtspServer() as server, Rig() as rig:
        _, watcher = rig.start(opener(server.url, read_timeout_s=30.0), stall_s=1.0)
        rig.frame()
        frozen_s = rig.clock.mono_s()
        server.freeze()
        status = watcher.wait_state("stalled")

        assert rig.clock.mono_s() - frozen_s < 2.0
        assert status.reason.startswith("no picture for 1.")
        server.thaw()


def test_a_camera_that_was_killed_comes_back_with_another_size(codec):
    with Rig() as rig:
        with RtspServer(320, 240, codec=codec) as server:
            _, watcher = rig.start(opener(server.url), capacity=64)
            last = rig.frame()
            port = server.port
        heard = len(watcher.statuses)
        status = watcher.wait_state("waiting")
        assert f"127.0.0.1:{port}" in status.reason
        with RtspServer(640, 480, codec=codec, port=port):
            watcher.wait_state("streaming", heard)
            frame = rig.frame()
            while frame.image.shape[0] == 240:
                frame, last = rig.frame(), frame

        assert frame.image.shape == (480, 640, 3)
        assert frame.sequence == last.sequence + 1


class MuteCapture:
    """An open capture that gives nothing: a camera between two key frames. (GStreamer makes one for each viewer.)"""

    opened = True
    read_timeouts_ms = ()

    def __init__(self, _target, _backend, parameters):
        MuteCapture.read_timeouts_ms += (parameters[3],)

    def read(self):
        return None

    def release(self):
        pass


def test_a_camera_with_rare_key_frames_is_given_more_time_at_each_attempt(monkeypatch):
    monkeypatch.setattr("edge_agent.capture.sources.rtsp.Capture", MuteCapture)
    source = opener("rtsp://cam/x", read_timeout_s=1.5)(threading.Event())
    for _ in range(5):
        source.open()
        with pytest.raises(CameraError, match="no picture within"):
            source.read()
        source.close()

    assert MuteCapture.read_timeouts_ms == (1500, 3000, 6000, 8000, 8000)


def test_a_refused_port_says_so():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]

    assert f"127.0.0.1:{port} refuses connections" in open_fault(f"rtsp://127.0.0.1:{port}/stream1")


def test_a_server_that_never_answers_is_left_at_the_time_out():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        clock = SystemClock()
        begun_s = clock.mono_s()
        message = open_fault(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/stream1", open_timeout_s=0.5)

        assert clock.mono_s() - begun_s < 3.0
        assert "does not answer within 0.5 s" in message


def test_a_wrong_path_and_a_missing_password_are_told_apart():
    with RtspServer(user="operator", password=SECRET) as server:
        host = f"127.0.0.1:{server.port}"

        assert "wants a user and a password; check" in open_fault(f"rtsp://{host}/stream1")
        wrong = open_fault(with_login(parse(f"rtsp://{host}/stream1"), "operator", f"wrong-{SECRET}").target)
        assert "did not take these" in wrong
        assert SECRET not in wrong
    with RtspServer() as server:
        assert "404, the camera has no stream of this name" in open_fault(f"rtsp://127.0.0.1:{server.port}/stream9")


def test_credentials_open_the_stream_and_are_never_shown():
    with RtspServer(user="operator", password=SECRET) as server, Rig() as rig:
        address = with_login(parse(server.url), "operator", SECRET)
        worker, watcher = rig.start(opener(address.target))
        rig.frame()
        server.kill()
        watcher.wait_state("waiting")

        assert SECRET not in repr((watcher.statuses, worker.status, address))
        assert worker.status.source == f"rtsp://***@127.0.0.1:{server.port}/stream1"


def test_stopping_does_not_wait_for_a_camera_that_hangs():
    with RtspServer() as server, Rig() as rig:
        worker, _ = rig.start(opener(server.url, read_timeout_s=3.0))
        rig.frame()
        server.freeze()
        begun_s = rig.clock.mono_s()
        worker.stop()

        assert rig.clock.mono_s() - begun_s < 1.5
        server.thaw()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "does not speak RTSP"),
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak RTSP"),
        (b"RTSP/1.0 garbage\r\n", "does not speak RTSP"),
        (b"RTSP/1.0 200 OK\r\n", "no video that can be decoded"),
        (b"RTSP/1.0 503 Service Unavailable\r\n", "no more viewers"),
        (b"RTSP/1.0 551 Option not supported\r\n", "551 Option not supported"),
    ],
)
def test_each_answer_of_a_camera_becomes_advice(answer, words):
    assert words in verdict_on(answer, "cam:554", has_user=False)


@pytest.mark.parametrize("python", ["/bin/false", "/absent/python3"])
def test_without_the_packages_these_tests_fail_and_say_what_to_install(monkeypatch, python):
    monkeypatch.setattr("tests.fakes.rtsp_server.SYSTEM_PYTHON", python)

    with pytest.raises(AssertionError, match=r"apt-get install gir1\.2-gst-rtsp-server-1\.0"):
        RtspServer()


def test_a_name_that_nobody_knows_says_so():
    assert "the name camera.invalid is not known" in refusal("rtsp://camera.invalid/x", timeout_s=1.0)
