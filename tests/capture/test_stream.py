"""Decoding a real RTSP stream by "hardware": the same path as on a board, with decoders that any machine has."""

from __future__ import annotations

import threading

import pytest

from edge_agent.capture.addresses import parse, with_login
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.capture.sources.rtsp import RtspSource
from edge_agent.clock import SystemClock
from edge_agent.device.profile import profiles
from edge_agent.errors import CameraError
from tests.capture.watching import Rig
from tests.fakes.rtsp_server import RtspServer

SECRET = "s3:c/r@t"  # noqa: S105 - of a camera that lives for a second
END = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
START = "rtspsrc location={url} protocols=tcp latency=100 drop-on-latency=true"
PIPELINES = {
    "rtsp-h264": f"{START} ! rtph264depay ! h264parse ! openh264dec ! {END}",
    "rtsp-h265": f"{START} ! rtph265depay ! h265parse ! libde265dec ! {END}",
}


def opener(url, **terms):
    def make(stop):
        settings = {"pipelines": PIPELINES, **terms}
        return make_source(parse(url), Terms(clock=SystemClock(), stop=stop, **settings))

    return make


@pytest.fixture
def play(opened):
    """Opens a source of the stream; all are closed at the end."""
    return lambda url, **terms: opened(opener(url, **terms))


@pytest.mark.rtsp
@pytest.mark.gstreamer
class TestARealStream:
    @pytest.mark.parametrize(("codec", "decoder"), [("h264", "openh264dec"), ("h265", "libde265dec")])
    def test_the_pipeline_of_its_codec_is_chosen_and_named(self, play, codec, decoder):
        with RtspServer(320, 240, codec=codec) as server:
            source = play(server.url)

            assert source.decoding == f"decoded by hardware: {decoder}"
            assert source.read().image.shape == (240, 320, 3)

    def test_the_choice_is_in_the_status_of_the_camera(self):
        with RtspServer() as server, Rig() as rig:
            _, watcher = rig.start(opener(server.url))
            rig.frame()

            assert watcher.wait_state("streaming").reason == "streaming, decoded by hardware: openh264dec"

    def test_without_the_decoder_auto_takes_the_processor_and_says_why(self, play):
        absent = {kind: text.replace("openh264dec", "nvv4l2decoder") for kind, text in PIPELINES.items()}
        absent.pop("rtsp-h265")
        with RtspServer() as server:
            source = play(server.url, pipelines=absent)

            assert source.decoding == "decoded in software: nvv4l2decoder not installed"
            assert source.read().image.shape == (240, 320, 3)

    def test_a_codec_without_a_pipeline_is_decoded_by_the_processor(self, play):
        with RtspServer(codec="h265") as server:
            source = play(server.url, pipelines={"rtsp-h264": PIPELINES["rtsp-h264"]})

            assert source.decoding == "decoded in software: the stream is H265, which is decoded by H264 pipelines only"
            assert source.read() is not None

    @pytest.mark.parametrize(
        "decoder",
        [
            "identity error-after=1 ! openh264dec",  # at once, as one whose sessions are used up
            "identity error-after=30 ! openh264dec",  # after a while
            "openh264dec ! audioconvert",  # a pipeline that cannot be built
            "openh264dec ! video/x-raw,format=RGB",  # one whose formats do not fit
            "openh264dec zork=1",
        ],
    )
    def test_a_decoder_that_fails_is_left_for_the_processor(self, decoder):
        broken = PIPELINES["rtsp-h264"].replace("openh264dec", decoder)
        with RtspServer() as server, Rig() as rig:
            _, watcher = rig.start(opener(server.url, pipelines={"rtsp-h264": broken}))
            heard = 0
            while (status := watcher.wait_state("streaming", heard)).reason.startswith(
                "streaming, decoded by hardware"
            ):
                heard = watcher.statuses.index(status) + 1

            assert status.reason.startswith("streaming, decoded in software: ")
            assert rig.frame().image.shape == (240, 320, 3)

    def test_hardware_alone_is_refused_where_there_is_none(self, play):
        absent = {"rtsp-h264": PIPELINES["rtsp-h264"].replace("openh264dec", "nvv4l2decoder")}
        with RtspServer() as server:
            with pytest.raises(CameraError, match="nvv4l2decoder not installed"):
                play(server.url, pipelines=absent, decode="hardware")
            with pytest.raises(CameraError, match="the device profile has no pipeline rtsp-h264 or rtsp-h265"):
                play(server.url, pipelines={}, decode="hardware")

    def test_a_frozen_and_a_killed_camera_come_back(self):
        with Rig() as rig:
            with RtspServer() as server:
                port = server.port
                _, watcher = rig.start(opener(server.url, read_timeout_s=1.0))
                rig.frame()
                heard = len(watcher.statuses)
                server.freeze()
                assert "no picture within" in watcher.wait_state("waiting", heard).reason
                server.thaw()
                watcher.wait_state("streaming", heard)
                heard = len(watcher.statuses)
            watcher.wait_state("waiting", heard)
            with RtspServer(640, 480, port=port):
                watcher.wait_state("streaming", heard)

    def test_credentials_open_the_stream_and_a_wrong_password_is_told(self, play):
        with RtspServer(user="operator", password=SECRET) as server:
            right = with_login(parse(server.url), "operator", SECRET)
            source = play(right.target)
            assert source.decoding == "decoded by hardware: openh264dec"
            assert SECRET not in source.description

            wrong = with_login(parse(server.url), "operator", f"wrong-{SECRET}")
            with pytest.raises(CameraError, match="Unauthorized") as caught:
                play(wrong.target)
            assert SECRET not in str(caught.value)

    def test_a_refused_port_says_so(self, play):
        with pytest.raises(CameraError, match=r"rtspsrc: .*onnect"):
            play("rtsp://127.0.0.1:9/x")


@pytest.mark.parametrize(
    ("url", "terms"),
    [
        ("rtsp://cam/x", {"decode": "software", "pipelines": PIPELINES}),
        ("rtsp://cam/x", {"decode": "auto", "pipelines": {}}),
        ("rtsp://cam/x", {"decode": "auto", "pipelines": {"csi": "x"}}),
        ("rtsps://cam/x", {"decode": "auto", "pipelines": PIPELINES}),
    ],
)
def test_where_there_is_no_choice_the_processor_decodes_without_a_word(url, terms):
    source = opener(url, **terms)(threading.Event())

    assert isinstance(source, RtspSource)
    assert source.decoding is None


def test_every_profile_pipeline_can_be_filled_and_ends_where_we_take_over():
    from edge_agent.capture.launch import complete, elements, fault_in, fill

    values = {"url": "rtsp://u:p w@h/x", "sensor": 0, "width": 1, "height": 1, "fps": 1, "device": "/dev/video0"}
    seen = 0
    for profile in profiles().values():
        for text in profile.capture.pipelines.values():
            seen += 1
            whole = fill(text, values)
            assert fault_in(whole) is None
            assert complete(whole) == whole.strip()
            assert elements(whole)[-1] == "appsink"
    assert seen
