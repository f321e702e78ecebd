"""CSI cameras: what becomes of the profile's pipeline; no board is here to play it."""

from __future__ import annotations

import threading

import pytest

from edge_agent.capture.addresses import fault_of, parse
from edge_agent.capture.controls import Controls
from edge_agent.capture.source import Terms
from edge_agent.capture.sources import make_source
from edge_agent.clock import SystemClock
from edge_agent.device.profile import profiles
from edge_agent.errors import CameraError

# Drawn by a test source, at the place where Argus would be.
TEMPLATE = (
    "videotestsrc is-live=true num-buffers={sensor} ! video/x-raw,width={width},height={height},framerate={fps}/1"
    " ! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
)


def source_of(text, **terms):
    return make_source(parse(text), Terms(clock=SystemClock(), stop=threading.Event(), **terms))


@pytest.mark.gstreamer
def test_the_template_of_the_profile_is_filled_and_played():
    source = source_of("csi:90?width=320&height=240&fps=60", pipelines={"csi": TEMPLATE})
    source.open()

    assert source.read().image.shape == (240, 320, 3)
    source.close()


def test_a_board_without_csi_says_so():
    source = source_of("csi:0", pipelines={})
    with pytest.raises(CameraError, match="csi:0: the device profile has no pipeline `csi`"):
        source.open()
    source.close()


@pytest.mark.gstreamer
def test_a_board_whose_element_is_missing_names_it():
    source = source_of("csi:0", pipelines={"csi": profiles()["jetson-agx-orin-32gb"].capture.pipelines["csi"]})
    with pytest.raises(CameraError, match='no element "nvarguscamerasrc"'):
        source.open()
    source.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("csi:", "expected csi:SENSOR"),
        ("csi:x", "the first sensor is 0"),
        ("csi:0?zork=1", "csi knows: fps, height, width"),
        ("csi:0?width=0", "option width is '0'"),
    ],
)
def test_a_wrong_csi_address_is_told_what_is_allowed(text, words):
    assert words in fault_of(text)


def test_locks_become_properties_of_the_sensor():
    template = "nvarguscamerasrc sensor-id={sensor} ! nvvidconv ! appsink"
    source = source_of("csi:1", pipelines={"csi": template}, controls=Controls(exposure_us=2000))

    assert source._job["pipeline"] == (
        'nvarguscamerasrc exposuretimerange="2000000 2000000" sensor-id=1 ! nvvidconv ! appsink'
    )
    assert source.unheld == ()
    free = source_of("csi:1", pipelines={"csi": template})
    assert free._job["pipeline"] == "nvarguscamerasrc sensor-id=1 ! nvvidconv ! appsink"


def test_a_lock_on_another_pipeline_is_said_not_to_hold():
    source = source_of("csi:0", pipelines={"csi": TEMPLATE}, controls=Controls(exposure_us=100))

    assert source.unheld == (
        'exposuretimerange="100000 100000": the pipeline of this board has no nvarguscamerasrc to lock',
    )
