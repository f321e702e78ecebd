"""Locks and ONVIF in the configuration: which kinds of camera take them, and what a wrong one is told."""

from __future__ import annotations

import pytest

from edge_agent.config.controls import LOCKABLE, ControlKeys
from edge_agent.config.diff import cameras_to_reopen, diff
from tests.config.samples import SMALLEST, faults, read

SOURCES = {
    "v4l2": "v4l2:/dev/v4l/by-id/x",
    "csi": "csi:0",
    "genicam": "genicam:GV01",
    "rtsp": "rtsp://10.0.0.12/stream1",
}


def text(source, *lines):
    camera = SMALLEST.replace("rtsp://10.0.0.12/stream1", source).replace("    fps: 10\n", "    fps: 10\n@")
    return camera.replace("@", "".join(f"    {line}\n" for line in lines))


def test_nothing_is_locked_unless_it_is_asked_for():
    assert read(SMALLEST).cameras["press-3-top"].controls is None
    assert not read(text(SOURCES["v4l2"], "controls:")).cameras["press-3-top"].controls


@pytest.mark.parametrize("name", list(ControlKeys.model_fields))
@pytest.mark.parametrize("scheme", list(SOURCES))
def test_a_camera_is_asked_only_for_what_its_kind_can_lock(scheme, name):
    content = text(SOURCES[scheme], f"controls: {{{name}: {6 if name == 'gain_db' else 5000}}}")
    if name in LOCKABLE.get(scheme, ()):
        assert getattr(read(content).cameras["press-3-top"].controls, name) > 0
        return
    (fault,) = faults(content)
    assert fault.key == "cameras.press-3-top.controls"
    assert fault.expected == f"no {name}"
    assert fault.hint.startswith(f"a {scheme} source ")


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("controls: {exposure_us: 0}", "controls.exposure_us"),
        ("controls: {white_balance_k: 200}", "controls.white_balance_k"),
        ("controls: {focus: soft}", "controls.focus"),
        ("controls: {shutter: 3}", "controls.shutter"),
        ("controls: locked", "controls"),
    ],
)
def test_a_value_that_cannot_be_locked_is_told_at_its_place(line, key):
    (fault,) = faults(text(SOURCES["v4l2"], line))

    assert fault.key == f"cameras.press-3-top.{key}"


def test_a_changed_lock_reopens_only_its_camera():
    old, new = (read(text(SOURCES["v4l2"], f"controls: {{exposure_us: {us}}}")) for us in (1000, 2000))

    assert cameras_to_reopen(diff(old, new)) == {"press-3-top"}
    assert cameras_to_reopen(diff(read(text(SOURCES["v4l2"])), new)) == {"press-3-top"}


@pytest.mark.parametrize(
    "address",
    ["http://10.0.0.12/onvif/device_service", "https://cam.plant.local:8443/onvif", "http://[fe80::1]/onvif"],
)
def test_a_network_camera_may_have_an_onvif_service(address):
    assert read(text(SOURCES["rtsp"], f"onvif: {address}")).cameras["press-3-top"].onvif == address


@pytest.mark.parametrize(
    ("source", "address", "hint"),
    [
        ("rtsp", "10.0.0.12", "username and password"),
        ("rtsp", "http://op:hunter2@10.0.0.12/onvif", "username and password"),
        ("rtsp", "rtsp://10.0.0.12/onvif", "username and password"),
        ("v4l2", "http://10.0.0.12/onvif", "only network cameras"),
    ],
)
def test_a_wrong_onvif_address_is_told_without_its_password(source, address, hint):
    (fault,) = faults(text(SOURCES[source], f"onvif: {address}"))

    assert fault.key == "cameras.press-3-top.onvif"
    assert hint in fault.hint
    assert "hunter2" not in str(fault)


def test_a_camera_over_http_has_a_user_too():
    camera = read(text("http://10.0.0.12/mjpeg", "username: op", "tls_verify: false")).cameras["press-3-top"]

    assert (camera.username, camera.tls_verify) == ("op", False)
