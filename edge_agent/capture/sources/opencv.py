"""The door to OpenCV's video captures, for streams, devices and files alike."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import cv2
import numpy as np

from edge_agent.capture.picture import Image
from edge_agent.capture.source import DEFAULT_READ_TIMEOUT_S
from edge_agent.errors import CameraError

# OpenCV takes these from the environment of the process only, so all cameras share them. They are set when this module
# is loaded: a setenv while another thread opens a camera (getenv) is undefined in C. What an operator set is kept.
#
# FFmpeg, read at each open:
#   rtsp_transport  UDP loses packets silently: half a picture looks like a defect
#   analyzeduration, probesize  the default looks at 1.5 s of stream first and delivers it as 27 stale frames; with
#     these the first comes after 0.26 s with 2 (measured at 20 fps). `fflags nobuffer` would save those 2 and wait for
#     the next key frame instead, which on a real camera is up to 10 s away.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;tcp|analyzeduration;100000|probesize;32768")
# V4L2, read once (cap_v4l.cpp): whole seconds that a read waits for a picture, 10 unless set.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(math.ceil(DEFAULT_READ_TIMEOUT_S)))

FFMPEG, V4L2 = cv2.CAP_FFMPEG, cv2.CAP_V4L2


class Capture:
    """One open capture. `target` may hold credentials: it never gets into a message."""

    def __init__(self, target: str, backend: int, parameters: Sequence[int]) -> None:
        try:
            self._capture = cv2.VideoCapture(target, backend, list(parameters))
        except cv2.error as error:  # parameters that the backend does not know
            raise CameraError(f"OpenCV does not open it: {error.err}") from error

    @property
    def opened(self) -> bool:
        """Whether there is something to read."""
        return bool(self._capture.isOpened())

    @property
    def frame_count(self) -> int:
        """Frames that a file promises, 0 when it says nothing."""
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def read(self) -> Image | None:
        """The next picture, uint8 [h, w, 3] BGR; None when none came.

        Raises:
            CameraError: OpenCV gave up.
        """
        try:
            came, image = self._capture.read()
        except cv2.error as error:
            raise CameraError(f"OpenCV cannot read on: {error.err}") from error
        return np.asarray(image, np.uint8) if came else None

    def set(self, number: int, value: float) -> bool:
        """Set a property; whether the driver took it."""
        return bool(self._capture.set(number, value))

    def get(self, number: int) -> float:
        """A property as it is now, -1 where there is none."""
        return float(self._capture.get(number))

    def release(self) -> None:
        """Let go of the device, connection or file."""
        self._capture.release()
