"""Cameras by names that last: /dev/videoN changes with the order of plugging, the links of udev do not.

    /dev/v4l/by-id/usb-VENDOR_MODEL_SERIAL-video-index0   -> ../../video0     follows the camera
    /dev/v4l/by-path/pci-...-usb-0:2:1.0-video-index0     -> ../../video0     follows the socket it is plugged into

Cameras without a serial number share one by-id name, so one of two identical ones has none: then all are named by path
(viam rdk #6436: two identical cameras swapped their pictures).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# A camera has further nodes for metadata (index1); pictures come from index 0.
PICTURES = "*-index0"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDevice:
    """A camera: the link to configure, and the node it leads to now."""

    link: Path
    node: Path


def stable_cameras(directory: Path) -> tuple[VideoDevice, ...]:
    """The cameras below `directory` ("/dev/v4l"), each once, in the order of their nodes."""
    by_id, by_path = (_links(directory / kind) for kind in ("by-id", "by-path"))
    nodes = sorted({*by_id, *by_path}, key=lambda node: (len(node.name), node.name))
    prefer_id = all(node in by_id for node in nodes)
    return tuple(VideoDevice(link=(by_id if prefer_id else {**by_id, **by_path})[node], node=node) for node in nodes)


def _links(directory: Path) -> dict[Path, Path]:
    """Node -> link. A Jetson may publish two links for one camera (WendyOS #1853): the first by name is taken."""
    found: dict[Path, Path] = {}
    for link in sorted(directory.glob(PICTURES)):
        found.setdefault(link.resolve(), link)
    return found
