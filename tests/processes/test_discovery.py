"""Which cameras can be reached: on USB by a tree of /dev and /sys, on the network by a real responder, GenICam by aravis."""

from __future__ import annotations

import shutil

import pytest

from edge_agent.clock import SystemClock
from edge_agent.config.settings import loads
from edge_agent.processes.discovery import look_around
from tests.capture.test_discovery import EYE, match
from tests.capture.test_sysfs import TREE
from tests.config.samples import FILE, SMALLEST
from tests.fakes.onvif_camera import Responder


@pytest.fixture
def root(tmp_path):
    """A machine with one camera on USB."""
    shutil.copytree(TREE, tmp_path / "sys")
    device = next((tmp_path / "sys/devices").rglob("video2"))
    node = tmp_path / "sys/class/video4linux/video2"
    node.mkdir(parents=True)
    (node / "device").symlink_to(device.parents[1])
    (tmp_path / "dev/v4l/by-id").mkdir(parents=True)
    (tmp_path / "dev/video2").touch()
    (tmp_path / "dev/v4l/by-id/usb-See3CAM-video-index0").symlink_to(tmp_path / "dev/video2")
    return tmp_path


def test_each_camera_comes_with_the_keys_that_a_configuration_needs(root):
    with Responder(match(EYE), match("http://10.0.0.7:8080/onvif", "")) as responder:
        outlook = look_around(SystemClock(), root=root, target=responder.target)

    usb, *network = (sight for sight in outlook.sights if sight.kind != "genicam")
    assert (usb.kind, usb.what) == ("v4l2", "e-con systems See3CAM_CU135, serial 0B2A6E08, firmware 1.02")
    assert usb.keys == {"source": f"v4l2:{root}/dev/v4l/by-id/usb-See3CAM-video-index0"}
    assert [(sight.where, sight.what) for sight in network] == [
        (EYE, "Acme Eye, E4"),
        ("http://10.0.0.7:8080/onvif", "says nothing of itself"),
    ]
    for sight in network:
        keys = "".join(f"    {key}: {value}\n" for key, value in sight.keys.items())
        text = SMALLEST.replace("    source: rtsp://10.0.0.12/stream1", keys.rstrip("\n"))
        assert loads(text.encode(), file=FILE, environment={}).cameras["press-3-top"].onvif == sight.where


def test_what_cannot_be_looked_for_is_said_and_the_rest_is_found(root, monkeypatch):
    monkeypatch.setattr("edge_agent.capture.bridge._found", [])
    monkeypatch.setattr("edge_agent.capture.bridge.find_spec", lambda _name: None)
    monkeypatch.setattr("edge_agent.capture.bridge.SYSTEM_PYTHON", "/absent/python3")
    outlook = look_around(SystemClock(), root=root, target=("camera.invalid", 3702))

    assert [sight.kind for sight in outlook.sights] == ["v4l2"]
    onvif, genicam = outlook.remarks
    assert onvif == "onvif: the name camera.invalid is not known"
    assert genicam.startswith("genicam: neither ")
