"""Which camera a video device is, from trees of sysfs as Linux writes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_agent.capture.sysfs import identity_of
from edge_agent.records import CameraIdentity

TREE = Path(__file__).parents[1] / "data/cameras/usb/sys"


@pytest.fixture
def sysfs(tmp_path):
    """The tree with the links that the kernel makes: a checkout does not keep them everywhere."""
    shutil.copytree(TREE, tmp_path / "sys")
    for node in (tmp_path / "sys/devices").rglob("video4linux/video*"):
        link = tmp_path / "sys/class/video4linux" / node.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(node)
        (node / "device").symlink_to(node.parents[1])
    return tmp_path / "sys"


@pytest.mark.parametrize(
    ("node", "identity"),
    [
        # No maker's name among its strings: the number that USB-IF gave it stands in.
        ("video0", CameraIdentity(vendor="046d", model="HD Pro Webcam C920", serial="1A2B3C4D", firmware="0.11")),
        ("video2", CameraIdentity(vendor="e-con systems", model="See3CAM_CU135", serial="0B2A6E08", firmware="1.02")),
        ("video4", CameraIdentity(vendor="HD Camera Manufacturer", model="9331", firmware="0.00")),
        ("video6", CameraIdentity(model="vi-output, imx219 9-0010")),
        ("video9", None),
    ],
)
def test_a_camera_is_what_its_usb_device_says(sysfs, node, identity):
    assert identity_of(node, sysfs) == identity


def test_a_camera_that_is_unplugged_while_we_look_has_no_identity(sysfs):
    shutil.rmtree(sysfs / "devices")

    assert identity_of("video0", sysfs) is None


def test_what_a_device_calls_itself_is_cut_and_made_printable(sysfs):
    device = next((sysfs / "devices").rglob("1-2"))
    (device / "serial").write_bytes(b"\x1b[31m" + b"9" * 5000 + b"\xff\n")
    (device / "product").write_bytes(b"\n")

    found = identity_of("video2", sysfs)

    assert found.serial.startswith("[31m999")
    assert len(found.serial) < 256
    assert found.model == "c1d0"
