"""Cameras behind GStreamer and aravis in a whole gateway: their processes die, and with them nothing else."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.gateway.conftest import NO_SENSOR
from tests.gateway.witness import without_gaps
from tests.waiting import until

pytestmark = [pytest.mark.gstreamer, pytest.mark.genicam]

COMMON = {"mode": "trained", "stall_s": 1, "open_timeout_s": 5, "read_timeout_s": 1, **NO_SENSOR}
PIPELINE = {"source": "gstreamer:videotestsrc is-live=true ! video/x-raw,width=64,height=64,framerate=20/1", **COMMON}
VISION = {"source": "genicam:Fake_1?width=64&height=64", **COMMON}


def camera_processes(gateway):
    """The children of inspect that hold a native camera."""
    children = psutil.Process(gateway.pid("inspect")).children()
    return [child for child in children if any(word.endswith("native/__main__.py") for word in child.cmdline())]


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_camera_process_that_dies_or_hangs_is_replaced_and_the_other_camera_goes_on(gateway_with, witness, number):
    gateway = gateway_with({"pipe": PIPELINE, "vision": VISION}).start()
    until(lambda: len(witness.parts("pipe")) > 3 and len(witness.parts("vision")) > 3, 30)
    processes = until(lambda: (found := camera_processes(gateway)) and len(found) == 2 and found)

    for process in processes:
        os.kill(process.pid, number)
        until(lambda process=process: ended(process.pid))
        seen = {camera: max(witness.parts(camera)) for camera in ("pipe", "vision")}
        until(lambda seen=seen: all(max(witness.parts(camera)) > seen[camera] + 5 for camera in seen), 30)

    until(lambda: gateway.camera("pipe")["reconnects"] >= 1 and gateway.camera("vision")["reconnects"] >= 1)
    for camera in ("pipe", "vision"):
        until(lambda camera=camera: without_gaps(witness.parts(camera)))


def test_no_camera_process_outlives_the_gateway(gateway_with, witness):
    gateway = gateway_with({"pipe": PIPELINE, "vision": VISION}).start()
    until(lambda: len(witness.parts("pipe")) > 3 and len(witness.parts("vision")) > 3, 30)

    first = [process.pid for process in camera_processes(gateway)]
    gateway.kill("inspect")
    until(lambda: all(ended(pid) for pid in first))

    second = until(
        lambda: gateway.pid("inspect") and (found := camera_processes(gateway)) and len(found) == 2 and found, 30
    )
    gateway.stop()
    until(lambda: all(ended(process.pid) for process in second))


def test_a_wrong_pipeline_is_told_and_the_other_camera_goes_on(gateway_with, line, witness):
    secret = "s3cr3t"  # noqa: S105 - of no camera at all
    wrong = {"source": f"gstreamer:rtspsrc location=rtsp://cam/x user-pw={secret} ! nosuch", **COMMON}
    gateway = gateway_with({"top": line, "wrong": wrong}).start()

    alarm = until(lambda: witness.alarm("camera-lost.wrong"))
    assert 'no element "nosuch"' in alarm["text"]
    heard = len(witness.parts("top"))
    until(lambda: len(witness.parts("top")) > heard + 10)
    assert secret not in gateway.log
    assert secret not in alarm["text"]
