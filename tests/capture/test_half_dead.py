"""Network cameras that half work: they trickle, accept and close, break again and again, or are away for long."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

import pytest

from edge_agent.capture.addresses import parse
from edge_agent.capture.knock import knock_of
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.clock import SystemClock
from tests.capture.watching import Rig, picture
from tests.fakes.camera import FakeCamera
from tests.fakes.mjpeg_camera import MjpegCamera
from tests.fakes.rtsp_server import RtspServer

BACK_WITHIN_S = 3.0


def opener(url, **patience):
    return lambda stop: make_source(parse(url), Terms(clock=SystemClock(), stop=stop, **patience))


def address_of(camera):
    return camera.url if isinstance(camera, RtspServer) else camera.url()


class Acceptor:
    """A server that accepts, says `words`, and closes; counts how often."""

    def __init__(self, words=b""):
        self.count = 0
        self._words = words
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._server.accept()
                self.count += 1
                with link:
                    link.sendall(self._words)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *fault):
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()


@pytest.mark.parametrize(
    "words", [b"", b"HTTP/1.1 200 OK\r\n", b"\x00\xff garbage"], ids=["nothing", "half", "garbage"]
)
@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_a_server_that_accepts_and_closes_is_not_hammered_and_the_others_go_on(scheme, words):
    with Acceptor(words) as server:
        url = f"{scheme}://127.0.0.1:{server.port}/stream"
        with Rig(knock=knock_of(parse(url))) as rig:
            _, watcher = rig.start(opener(url, open_timeout_s=1.0), "broken")
            rig.start(lambda stop: FakeCamera(stop, [picture()] * 50, live=False), "good")
            assert [rig.frame().camera for _ in range(50)] == ["good"] * 50
            third = watcher._wait(lambda: next((s for s in watcher.statuses if s.failures == 3), None), "three faults")
            opened = watcher.states().count("opening")

    assert third.state.value == "waiting"
    # A knock before each attempt but the first; FFmpeg asks once and then we ask why.
    assert server.count <= 5 * opened


def test_a_camera_that_gives_a_picture_and_falls_silent_is_opened_again_for_the_next_and_the_others_go_on():
    with MjpegCamera(fps=0.05) as camera, Rig() as rig:  # headers, a picture, and the next one in twenty seconds
        _, watcher = rig.start(opener(camera.url(), read_timeout_s=0.2), "slow")
        rig.start(lambda stop: FakeCamera(stop, [picture()] * 100, live=False), "good", fps=100.0)
        seen = [rig.frame().camera for _ in range(102)]
        watcher.wait_state("waiting")

    assert seen.count("good") >= 90
    assert seen.count("slow") >= 2
    assert "within 0.2 s" in watcher.wait_state("waiting").reason
    assert all(account.balanced for account in rig.queue.accountings().values())


def test_a_stream_that_breaks_a_hundred_times_leaves_no_thread_and_no_socket_behind():
    with MjpegCamera(fps=500.0) as camera:
        url = camera.url("prose-before")
        with Rig(knock=knock_of(parse(url)), backoff_s=lambda _failures, _chance: 0.001) as rig:
            rig.start(opener(url), "breaks")
            marks = {}
            while (number := rig.queue.accounting("breaks").reconnects) < 110:
                rig.frame()
                ours = [thread for thread in threading.enumerate() if thread.name.startswith("camera-breaks")]
                marks[number] = (len(ours), len(list(Path("/proc/self/fd").iterdir())))
            early, late = [marks[n] for n in marks if n <= 10], [marks[n] for n in marks if n >= 100]

    assert {threads for threads, _ in marks.values()} == {2}  # a reader and its watch
    assert min(files for _, files in late) <= max(files for _, files in early)


@pytest.mark.rtsp
@pytest.mark.parametrize("kind", [MjpegCamera, RtspServer])
def test_a_camera_is_back_within_seconds_of_its_return_however_long_it_is_waited_for(kind):
    with kind() as camera:
        url, port = address_of(camera), camera.port
    with Rig(knock=knock_of(parse(url)), backoff_s=lambda _failures, _chance: 300.0) as rig:
        _, watcher = rig.start(opener(url))
        watcher.wait_state("waiting")
        assert rig.queue.get(1.5) is None  # it has been knocked at in vain
        with kind(port=port):
            returned_s = rig.clock.mono_s()
            frame = rig.frame()

    assert frame.captured_mono_s - returned_s < BACK_WITHIN_S
    assert "it answers again" in [status.reason for status in watcher.statuses]
