"""A video file, from its first frame to its last, none left out."""

from __future__ import annotations

from pathlib import Path

import cv2

from edge_agent.capture.addresses import Address
from edge_agent.capture.source import Picture, Terms
from edge_agent.capture.sources.opencv import FFMPEG, Capture
from edge_agent.errors import BadPictureError, CameraError

# Some containers estimate their number of frames from duration and rate.
_COUNT_TOLERANCE = 0.02


class VideoSource:
    """A file `video:FILE` in any format that FFmpeg reads."""

    live = False
    identity = None
    unheld = ()
    decoding = None

    def __init__(self, address: Address, _terms: Terms) -> None:
        self.description = str(address)
        self._path = Path(address.target)
        self._capture: Capture | None = None
        self._expected = 0
        self._read = 0

    def open(self) -> None:
        try:
            with self._path.open("rb"):
                pass
        except OSError as error:
            raise CameraError(f"{self._path}: cannot be read ({error.strerror})") from error
        self._capture = Capture(str(self._path), FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if not self._capture.opened:
            raise CameraError(f"{self._path}: is not a video that can be decoded; it is damaged or truncated")
        self._expected = self._capture.frame_count

    def read(self) -> Picture | None:
        """The next frame.

        Raises:
            BadPictureError: once, when the file ends before the number of frames that it promised.
        """
        if self._capture is None:
            raise CameraError(f"{self.description}: is not open")
        image = self._capture.read()
        if image is not None:
            self._read += 1
            return Picture(image=image, path=str(self._path))
        expected, self._expected = self._expected, 0
        if self._read < expected * (1 - _COUNT_TOLERANCE) - 1:
            raise BadPictureError(
                f"{self._path}: ends after {self._read} of {expected} frames; it is truncated or damaged"
            )
        return None

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
