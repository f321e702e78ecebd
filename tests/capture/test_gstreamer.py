"""Real pipelines in a real camera process: they play, change, end, break, hang and die, and the camera comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_agent.capture import bridge as bridge_module
from edge_agent.capture.addresses import parse
from edge_agent.capture.bridge import Bridge, BrokenBridgeError, StackUnavailableError, interpreter
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from tests.capture.watching import Rig

pytestmark = pytest.mark.gstreamer

BALL = "gstreamer:videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=30/1"


def opener(text, *, open_timeout_s=5.0, read_timeout_s=2.0, **terms):
    def make(stop):
        return make_source(
            parse(text),
            Terms(
                clock=SystemClock(), stop=stop, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s, **terms
            ),
        )

    return make


@pytest.fixture
def play(opened):
    """Opens a source of the address; all are closed at the end."""
    return lambda text, **terms: opened(opener(text, **terms))


def child_of(source):
    return source._camera.pid


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def fault_of(play, text, **terms):
    with pytest.raises(CameraError) as caught:  # noqa: PT012 - opening or one of these reads
        source = play(text, **terms)
        while source.read() is not None:
            pass
    return str(caught.value)


def test_a_pipeline_gives_numbered_frames_of_its_size():
    with Rig() as rig:
        _, watcher = rig.start(opener(BALL), capacity=16)
        frames = [rig.frame() for _ in range(5)]

        assert [frame.sequence for frame in frames] == [1, 2, 3, 4, 5]
        assert all(frame.image.shape == (240, 320, 3) for frame in frames)
        assert watcher.states() == ["opening", "streaming"]


def test_colours_arrive_as_they_were_made(play):
    source = play("gstreamer:videotestsrc is-live=true pattern=solid-color foreground-color=0xffc87828")

    assert source.read().image[10, 10].tolist() == [0x28, 0x78, 0xC8]


@pytest.mark.parametrize("format_", ["BGR", "BGRx", "BGRA", "RGB", "RGBx", "RGBA", "GRAY8", "YUY2", "UYVY"])
def test_an_appsink_of_ones_own_may_give_any_of_these_formats(play, format_):
    # 318 wide: rows of three bytes a pixel do not end at a multiple of four, so they have a stride of their own.
    source = play(
        "gstreamer:videotestsrc is-live=true pattern=solid-color foreground-color=0xff808080"
        f" ! videoconvert ! video/x-raw,format={format_},width=318,height=240 ! appsink"
    )
    image = source.read().image

    assert image.shape == (240, 318, 3)
    assert np.abs(image.astype(int) - 128).max() <= 3


def test_an_appsink_without_caps_is_given_a_format_that_we_take(play):
    assert play("gstreamer:videotestsrc is-live=true ! videoconvert ! appsink").read().image.shape[2] == 3


def test_the_newest_picture_is_given_and_its_moment_is_right(play):
    source = play("gstreamer:videotestsrc is-live=true ! video/x-raw,width=64,height=48,framerate=50/1")
    clock = SystemClock()
    moments = []
    for _ in range(6):
        clock.wait(threading.Event(), 0.1)  # a reader that is slower than the camera
        before_s = clock.mono_s()
        moments.append(source.read().captured_mono_s - before_s)

    assert max(moments) < 0.1
    assert sorted(moments)[2] > -0.06, moments


def test_a_size_that_changes_goes_on(play):
    """Two runs of one stream, the second four times as large: a camera whose mode is switched."""
    source = play(
        "gstreamer:concat name=c ! videoconvert ! video/x-raw,format=BGR ! appsink sync=true"
        " videotestsrc num-buffers=15 ! video/x-raw,width=160,height=120,framerate=30/1 ! c."
        " videotestsrc num-buffers=15 ! video/x-raw,width=640,height=480,framerate=30/1 ! c."
    )
    shapes = []
    while (picture := source.read()) is not None:
        shapes.append(picture.image.shape[:2])

    assert shapes[0] == (120, 160)
    assert shapes[-1] == (480, 640)


def test_a_stream_that_ends_is_opened_again():
    with Rig() as rig:
        _, watcher = rig.start(opener("gstreamer:videotestsrc num-buffers=4"), capacity=16)
        status = watcher.wait_state("waiting")

        assert "the stream ended" in status.reason
        watcher.wait_state("streaming", len(watcher.statuses) - 1)


def test_an_element_that_fails_later_says_so(play):
    fault = fault_of(play, "gstreamer:videotestsrc is-live=true ! identity error-after=5")

    assert "identity: Failed after iterations as requested" in fault


@pytest.mark.parametrize(
    ("pipeline", "words"),
    [
        ("videotestsrc ! nosuch", 'no element "nosuch"'),
        ("videotestsrc zork=1", 'no property "zork" in element "videotestsrc"'),
        ("videotestsrc pattern=zork", 'could not set property "pattern" in element "videotestsrc" to "zork"'),
        ("videotestsrc ! audioconvert", "could not link videotestsrc0 to audioconvert0"),
        ("videotestsrc ! appsink appsink", "2 appsinks, expected one"),
        ("appsink", "the pipeline is one element"),
        ("videotestsrc num-buffers=0", "the stream ended before its first picture"),
        (
            "videotestsrc ! video/x-raw,format=NV12 ! appsink",
            "before the appsink comes video/x-raw, format=(string)NV12",
        ),
        ("audiotestsrc ! appsink", "before the appsink comes audio/x-raw"),
        ("videotestsrc ! video/x-raw,format=NV12 ! appsink caps=video/x-raw", "pixel format NV12 is not known"),
        ("audiotestsrc ! appsink caps=audio/x-raw", "the appsink gets audio/x-raw"),
        ("v4l2src device=/dev/video99", "v4l2src: Cannot identify device '/dev/video99'"),
        ("filesrc location=/absent ! decodebin", 'No such file "/absent"'),
    ],
)
def test_a_wrong_pipeline_is_told_what_is_wrong_with_it(play, pipeline, words):
    assert words in fault_of(play, f"gstreamer:{pipeline}", open_timeout_s=3.0)


def test_a_pipeline_that_gives_nothing_is_left_at_the_time_out(play):
    clock = SystemClock()
    begun_s = clock.mono_s()
    fault = fault_of(play, "gstreamer:appsrc is-live=true", open_timeout_s=0.5, read_timeout_s=0.5)

    assert "does not answer within 1.0 s" in fault
    assert clock.mono_s() - begun_s < 3.0


def test_a_stream_that_falls_silent_is_left_at_the_time_out(play):
    form = "video/x-raw,format=BGR,width=64,height=48,framerate=30/1"
    source = play(
        f"gstreamer:concat name=c ! appsink videotestsrc num-buffers=5 ! {form} ! c. appsrc caps={form} format=time ! c.",
        read_timeout_s=0.6,
    )
    clock = SystemClock()
    begun_s = clock.mono_s()
    with pytest.raises(CameraError, match=r"no picture within (0\.[6-9]|1\.)"):  # noqa: PT012 - one of these reads
        while source.read() is not None:
            begun_s = clock.mono_s()
    assert clock.mono_s() - begun_s < 2.0


def test_credentials_of_a_pipeline_are_in_no_message_and_no_argument_list(play):
    secret = "s3cr3t"  # noqa: S105 - of no camera at all
    fault = fault_of(play, f"gstreamer:rtspsrc location=rtsp://op:{secret}@127.0.0.1:9/x user-pw={secret} ! fakesink")
    assert secret not in fault

    source = play(f'{BALL} ! identity name="{secret}"')
    assert secret not in Path(f"/proc/{child_of(source)}/cmdline").read_text()
    assert secret not in Path(f"/proc/{child_of(source)}/environ").read_text()


def test_a_frozen_process_is_killed_and_the_camera_comes_back():
    sources = []

    def make(stop):
        sources.append(opener(BALL, read_timeout_s=0.6)(stop))
        return sources[-1]

    with Rig() as rig:
        _, watcher = rig.start(make)
        rig.frame()
        heard = len(watcher.statuses)
        pid = child_of(sources[-1])
        os.kill(pid, signal.SIGSTOP)
        status = watcher.wait_state("waiting", heard)

        assert "does not answer within 0.6 s" in status.reason
        watcher.wait_state("streaming", heard)
        assert not alive(pid)


def test_a_killed_process_is_noticed_at_once_and_named(play):
    source = play(BALL)
    os.kill(child_of(source), signal.SIGKILL)
    clock = SystemClock()
    begun_s = clock.mono_s()

    with pytest.raises(CameraError, match="was ended by SIGKILL"):
        source.read()
    assert clock.mono_s() - begun_s < 1.0


def test_a_crash_in_the_native_library_is_named_with_its_signal(play):
    source = play(BALL)
    os.kill(child_of(source), signal.SIGSEGV)

    with pytest.raises(CameraError, match="was ended by SIGSEGV"):
        source.read()


def test_closing_ends_the_process(play):
    source = play(BALL)
    pid = child_of(source)
    source.close()

    assert not alive(pid)
    with pytest.raises(CameraError, match="is not open"):
        source.read()


def test_the_process_ends_when_the_daemon_dies(tmp_path):
    """A daemon that is killed cannot close anything, and one that hangs in the kernel cannot either."""
    text = (
        "import os, signal, sys, threading\n"
        "from tests.capture.test_gstreamer import BALL, child_of, opener\n"
        "source = opener(BALL)(threading.Event())\n"
        "source.open()\n"
        "print(child_of(source), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGSTOP if sys.argv[1:] else signal.SIGKILL)\n"
    )
    daemon = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    pid = int(daemon.stdout.readline())
    daemon.wait(10)
    daemon.stdout.close()
    with Ending(pid) as ended:
        assert ended.wait(5.0)


class Ending:
    """Waits for the end of a process that is not our child."""

    def __init__(self, pid):
        self._pid = pid
        self._file = None

    def __enter__(self):
        try:
            self._file = os.pidfd_open(self._pid)
        except ProcessLookupError:
            self._file = None
        return self

    def wait(self, seconds):
        import select

        return self._file is None or bool(select.select([self._file], [], [], seconds)[0])

    def __exit__(self, *fault):
        if self._file is not None:
            os.close(self._file)


def test_the_camera_process_loads_no_library_of_ours(play):
    """It may be another Python, for which our numpy and OpenCV were not built."""
    source = play(BALL)
    maps = Path(f"/proc/{child_of(source)}/maps").read_text()

    assert "libgstreamer-1.0" in maps
    assert "numpy" not in maps
    assert "cv2" not in maps


def test_without_a_python_that_has_gi_the_packages_are_named(monkeypatch):
    monkeypatch.setattr(bridge_module, "_found", [])
    monkeypatch.setattr(bridge_module, "find_spec", lambda _name: None)
    monkeypatch.setattr(bridge_module, "SYSTEM_PYTHON", "/bin/false")

    with pytest.raises(StackUnavailableError, match=r"apt-get install python3-gi gir1\.2-gst-plugins-base-1\.0"):
        interpreter()


def test_a_python_that_does_not_start_says_so(monkeypatch):
    monkeypatch.setattr(bridge_module, "_found", ["/absent/python3"])

    with pytest.raises(BrokenBridgeError, match="/absent/python3: cannot be started"):
        Bridge()


def test_a_process_that_cannot_even_begin_is_quoted(monkeypatch):
    monkeypatch.setattr(bridge_module, "CHILD", Path("/absent/child.py"))
    bridge = Bridge()
    with pytest.raises(BrokenBridgeError, match=r"ended with 2; its last words: .*No such file"):
        bridge.ask({"stack": "gstreamer"}, 5.0)
    bridge.close()


def test_a_dozen_sessions_leave_no_process_and_no_descriptor():
    def opened():
        return len(list(Path("/proc/self/fd").iterdir()))

    source = opener("gstreamer:videotestsrc ! nosuch")(threading.Event())
    before = None
    for _ in range(12):
        with pytest.raises(CameraError):
            source.open()
        source.close()
        before = before or opened()
    assert opened() == before
