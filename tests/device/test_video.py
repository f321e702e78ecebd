from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.device.video import stable_cameras


@pytest.fixture
def plug(tmp_path):
    """Make the links that udev makes: kind/name -> node."""

    def make(links: dict[str, str]) -> Path:
        for link, node in links.items():
            target = tmp_path / node
            target.touch()
            path = tmp_path / "v4l" / link
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(target)
        return tmp_path / "v4l"

    return make


def found(directory: Path) -> list[tuple[str, str]]:
    cameras = stable_cameras(directory)
    return [(str(camera.link.relative_to(directory)), camera.node.name) for camera in cameras]


def test_without_cameras_there_are_none(tmp_path):
    assert stable_cameras(tmp_path / "v4l") == ()


def test_a_camera_is_named_by_its_id_and_its_metadata_node_is_left_out(plug):
    directory = plug(
        {
            "by-id/usb-C920_123-video-index0": "video0",
            "by-id/usb-C920_123-video-index1": "video1",
            "by-path/pci-usb-0:2:1.0-video-index0": "video0",
            "by-path/pci-usb-0:2:1.0-video-index1": "video1",
        }
    )
    assert found(directory) == [("by-id/usb-C920_123-video-index0", "video0")]


def test_identical_cameras_share_an_id_and_are_named_by_their_sockets(plug):
    directory = plug(
        {
            "by-id/usb-C270-video-index0": "video2",
            "by-path/pci-usb-0:1:1.0-video-index0": "video0",
            "by-path/pci-usb-0:2:1.0-video-index0": "video2",
        }
    )
    assert found(directory) == [
        ("by-path/pci-usb-0:1:1.0-video-index0", "video0"),
        ("by-path/pci-usb-0:2:1.0-video-index0", "video2"),
    ]


def test_a_camera_with_two_paths_is_one_camera(plug):
    directory = plug(
        {
            "by-path/platform-3610000.usb-usb-0:2.1:1.0-video-index0": "video0",
            "by-path/platform-3610000.usb-usbv2-0:2.1:1.0-video-index0": "video0",
        }
    )
    assert found(directory) == [("by-path/platform-3610000.usb-usb-0:2.1:1.0-video-index0", "video0")]


def test_cameras_are_listed_in_the_order_of_their_numbers(plug):
    directory = plug({f"by-id/usb-cam_{n}-video-index0": f"video{n}" for n in (10, 2, 0)})
    assert [node for _, node in found(directory)] == ["video0", "video2", "video10"]
