"""`edge-agent check` on cameras: which one answers, and whether what is to be locked is."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.settings import loads
from edge_agent.processes.checks import cameras
from edge_agent.processes.checks.finding import Context, Level
from edge_agent.records import CameraIdentity
from tests.capture.test_stream import PIPELINES
from tests.cli.test_check_parts import snapshot
from tests.fakes.mjpeg_camera import MjpegCamera
from tests.fakes.onvif_camera import OnvifCamera
from tests.fakes.rtsp_server import RtspServer
from tests.fakes.vision_camera import VisionCamera

PASSWORD = "s3:c/r@t"  # noqa: S105 - of a camera that lives for a second


@pytest.fixture
def context(tmp_path):
    def make(camera):
        text = f"""\
version: 1
site: {{enterprise: acme, plant: lyon, gateway: gw-07}}
cameras:
  one: {camera}
mqtt: {{url: 'mqtt://127.0.0.1:1'}}
storage: {{state_dir: state, runtime_dir: run, min_free_bytes: 0}}
"""
        file = tmp_path / "agent.yaml"
        settings = loads(text.encode(), file=file, environment={"EDGE_AGENT_SECRET_CAM": PASSWORD})
        return Context(
            config_file=file,
            settings=settings,
            faults=(),
            root=tmp_path,
            machine="x86_64",
            environment={},
            clock=SystemClock(),
            frames=3,
        )

    return make


def test_a_network_camera_is_asked_which_one_it_is(context):
    login = ("op", PASSWORD)
    with MjpegCamera(login=login) as stream, OnvifCamera(serial="A1", login=login) as onvif:
        given = context(f"{{source: '{stream.url()}', onvif: '{onvif.url}', username: op, password: !secret cam}}")
        (frames,), (identity,) = cameras.frames(given), cameras.identities(given)

    assert frames.level is Level.OK
    assert "64x48, 3 frames in" in frames.text
    assert (identity.level, identity.text) == (Level.OK, "Acme Eye 4, serial A1, firmware 1.3.0")


def test_an_onvif_service_that_refuses_is_a_warning_because_the_camera_runs_without(context):
    with OnvifCamera(login=("op", PASSWORD)) as onvif:
        (finding,) = cameras.identities(context(f"{{source: 'rtsp://127.0.0.1:1/x', onvif: '{onvif.url}'}}"))

    assert finding.level is Level.WARNING
    assert "it refuses: Sender not Authorized" in finding.text
    assert "exchanged" in finding.advice


def test_cameras_without_onvif_are_not_asked(context):
    assert cameras.identities(context("{source: 'synthetic:scratches'}")) == ()


@pytest.mark.parametrize(
    ("unheld", "level", "words"),
    [
        ((), Level.OK, "frames/s; Acme Eye 4, serial A1"),
        (("focus 3: it has 4 instead",), Level.WARNING, "serial A1; not locked: focus 3: it has 4 instead"),
    ],
)
def test_what_the_daemon_knows_of_a_camera_is_shown(context, tmp_path, unheld, level, words):
    live = snapshot(SystemClock().utc_s(), 0.1)
    device = asdict(CameraIdentity(vendor="Acme", model="Eye 4", serial="A1"))
    live["cameras"]["one"] |= {"device": device, "unheld": unheld}
    (tmp_path / "run").mkdir()
    (tmp_path / "run/inspect.json").write_text(json.dumps(live))
    (finding,) = cameras.frames(context("{source: 'v4l2:/dev/v4l/by-id/gone'}"))

    assert finding.level is level
    assert finding.text.endswith(words)


@pytest.mark.gstreamer
def test_a_pipeline_is_played_and_a_wrong_one_is_told(context):
    ball = "gstreamer:videotestsrc is-live=true ! video/x-raw,width=320,height=240"
    (finding,) = cameras.frames(context(f"{{source: '{ball}'}}"))
    assert (finding.level, finding.text.partition(" in")[0]) == (Level.OK, "320x240, 3 frames")

    (finding,) = cameras.frames(context(f"{{source: '{ball} ! nosuch'}}"))
    assert finding.level is Level.ERROR
    assert 'no element "nosuch"' in finding.text


@pytest.mark.genicam
def test_a_vision_camera_says_which_one_it_is_and_one_that_waits_for_its_line_is_no_error(context):
    (finding,) = cameras.frames(context("{source: 'genicam:Fake_1?width=64&height=48'}"))
    assert finding.level is Level.OK
    assert "64x48, 3 frames" in finding.text
    assert "; Aravis Fake, serial 1, firmware " in finding.text

    waiting = "{source: 'genicam:127.0.0.1?trigger=Line0', open_timeout_s: 1, read_timeout_s: 0.1}"
    with VisionCamera():
        (finding,) = cameras.frames(context(waiting))
    assert (finding.level, finding.text) == (Level.WARNING, "opens, and gives no picture yet")
    assert "trigger it once" in finding.advice


def test_a_csi_camera_on_a_board_without_one_is_an_error(context):
    (finding,) = cameras.frames(context("{source: 'csi:0'}"))

    assert finding.level is Level.ERROR
    assert "the device profile has no pipeline `csi`" in finding.text


@pytest.mark.rtsp
@pytest.mark.gstreamer
def test_the_way_a_stream_is_decoded_is_shown(context, monkeypatch):
    monkeypatch.setattr(cameras, "_pipelines", lambda _context: PIPELINES)
    with RtspServer() as server:
        (finding,) = cameras.frames(context(f"{{source: '{server.url}'}}"))

    assert finding.level is Level.OK
    assert ", decoded by hardware: openh264dec" in finding.text
