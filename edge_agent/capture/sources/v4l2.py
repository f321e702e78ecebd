"""USB and other V4L2 cameras by their stable path under /dev/v4l."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import cv2

from edge_agent.capture.addresses import Address
from edge_agent.capture.source import Picture, Terms
from edge_agent.capture.sources.opencv import V4L2, Capture
from edge_agent.capture.sysfs import identity_of
from edge_agent.capture.v4l2_locks import lock
from edge_agent.errors import CameraError
from edge_agent.records import CameraIdentity


class V4l2Source:
    """A camera `v4l2:PATH[?width=W&height=H&fourcc=MJPG]`. The link is followed anew at each open."""

    live = True
    decoding = None

    def __init__(self, address: Address, terms: Terms) -> None:
        self.description = str(address)
        self.identity: CameraIdentity | None = None
        self.unheld: tuple[str, ...] = ()
        self._address = address
        self._controls = terms.controls
        self._capture: Capture | None = None

    def open(self) -> None:
        path = Path(self._address.target)
        _require_device(path)
        self._capture = Capture(str(path), V4L2, self._parameters())
        if not self._capture.opened:
            raise CameraError(f"{path}: does not open as a camera; is it in use by another program, or no video node?")
        self.identity = identity_of(path.resolve().name)
        self.unheld = lock(self._capture, self._controls)

    def read(self) -> Picture | None:
        if self._capture is None:
            raise CameraError(f"{self.description}: is not open")
        image = self._capture.read()
        if image is None:
            raise CameraError(f"{self.description}: gives no picture; unplugged?")
        return Picture(image=image)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _parameters(self) -> list[int]:
        """The wanted format. The pixel format comes first: the sizes on offer depend on it."""
        wanted: list[int] = []
        if "fourcc" in self._address.options:
            wanted += [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self._address.options["fourcc"])]
        for option, name in ((cv2.CAP_PROP_FRAME_WIDTH, "width"), (cv2.CAP_PROP_FRAME_HEIGHT, "height")):
            number = self._address.number(name)
            wanted += [option, number] if number is not None else []
        return wanted


def connected_cameras(directory: Path = Path("/dev/v4l")) -> list[Path]:
    """Stable paths of the cameras that are connected now, by-path before by-id."""
    return sorted(directory.glob("by-path/*")) + sorted(directory.glob("by-id/*"))


def _require_device(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        present = ", ".join(str(camera) for camera in connected_cameras()) or "none"
        raise CameraError(f"{path}: not there ({error.strerror}); unplugged? connected now: {present}") from error
    if not stat.S_ISCHR(mode):
        raise CameraError(f"{path}: is not a device, expected a camera under /dev/v4l/by-id or /dev/v4l/by-path")
    if not os.access(path, os.R_OK | os.W_OK):
        raise CameraError(f"{path}: may not be opened; add the daemon's user to the group `video`")
