"""RTSP cameras through OpenCV's FFmpeg: over TCP, with time-outs, close to the live edge.

Why OpenCV and not PyAV: docs/capture.md. The first time-out is FFmpeg's, the second the worker's, which also holds when
FFmpeg's does not (opencv/opencv #22677).
"""

from __future__ import annotations

import cv2

from edge_agent.capture.addresses import Address
from edge_agent.capture.rtsp_probe import refusal
from edge_agent.capture.source import Picture, Terms
from edge_agent.capture.sources.opencv import FFMPEG, Capture
from edge_agent.config.redact import redact
from edge_agent.errors import CameraError

# Asking for the reason comes on top of a failed open.
_MOST_PROBE_S = 2.0

# The last read before a time-out gives an old picture as if it were new (measured: ok after 2.00 s of a 2 s time-out).
_STALE_SHARE = 0.9

# A camera that sends its key frames rarely gives nothing before the next one, and a read that was timed out once never
# recovers (measured). So after a session without any picture the next one may wait twice as long, up to this. The
# frame age that the worker watches still holds: it does not depend on this.
_MOST_READ_TIMEOUT_S = 8.0


class RtspSource:
    """A stream `rtsp://` or `rtsps://`."""

    live = True
    identity = None
    unheld = ()
    decoding = None

    def __init__(self, address: Address, terms: Terms) -> None:
        self.description = str(address)
        self._url = address.target
        self._terms = terms
        self._read_timeout_s = terms.read_timeout_s
        self._streaming = False
        self._capture: Capture | None = None

    def open(self) -> None:
        self._streaming = False
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(self._terms.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(self._read_timeout_s * 1000),
            # One decoding thread: more of them hold back as many frames, and two cores are all there is.
            cv2.CAP_PROP_N_THREADS, 1,
        ]  # fmt: skip
        self._capture = Capture(self._url, FFMPEG, parameters)
        if not self._capture.opened:
            reason = refusal(self._url, timeout_s=min(_MOST_PROBE_S, self._terms.open_timeout_s))
            raise CameraError(f"{self.description}: did not open: {redact(reason)}")

    def read(self) -> Picture | None:
        if self._capture is None:
            raise CameraError(f"{self.description}: is not open")
        before_s = self._terms.clock.mono_s()
        image = self._capture.read()
        waited_s = self._terms.clock.mono_s() - before_s
        if image is None and not self._streaming:
            self._read_timeout_s = min(_MOST_READ_TIMEOUT_S, 2 * self._read_timeout_s)
        stale = self._streaming and waited_s > self._terms.read_timeout_s * _STALE_SHARE
        if image is None or stale:
            raise CameraError(
                f"{self.description}: no picture within {waited_s:.1f} s; the stream ended or fell silent"
            )
        self._streaming = True
        return Picture(image=image)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
