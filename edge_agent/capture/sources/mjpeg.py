"""Cameras that send JPEG after JPEG in one HTTP answer. Why not through OpenCV's FFmpeg: docs/capture.md."""

from __future__ import annotations

from collections import deque

from edge_agent.capture.addresses import Address
from edge_agent.capture.multipart import Parts
from edge_agent.capture.picture import decode
from edge_agent.capture.source import Picture, Terms
from edge_agent.capture.web import Place, Reply, Request, ask, place_of, refusal, shown
from edge_agent.clock import Clock
from edge_agent.errors import CameraError

_CHUNK_BYTES = 64 * 1024
_ACCEPT = "multipart/x-mixed-replace, image/jpeg;q=0.1, */*;q=0.01"

# What else a camera has at its addresses, and where its stream may be.
_INSTEAD = {
    "text/html": "a web page, not a stream: take the address of its MJPEG stream",
    "image/jpeg": "one picture, not a stream: snapshots cannot be watched, take the address of its MJPEG stream",
    "application/vnd.apple.mpegurl": "an HLS playlist, not MJPEG: take its rtsp:// address",
}


class MjpegSource:
    """A stream `http://` or `https://` of type multipart/x-mixed-replace."""

    live = True
    identity = None
    unheld = ()
    decoding = None

    def __init__(self, address: Address, terms: Terms) -> None:
        self.description = str(address)
        self._place = place_of(address.target, tls_verify=terms.tls_verify)
        self._terms = terms
        self._stream: _Stream | None = None

    def open(self) -> None:
        try:
            reply = ask(self._place, Request(headers={"Accept": _ACCEPT}), timeout_s=self._terms.open_timeout_s)
            try:
                self._stream = _Stream(reply, _boundary(reply, self._place), self._terms.clock)
            except CameraError:
                reply.close()
                raise
        except CameraError as error:
            raise CameraError(f"{self.description}: did not open: {error}") from error

    def read(self) -> Picture | None:
        """The next picture.

        Raises:
            BadPictureError: this part is no picture that can be decoded; the next may be.
            CameraError: no picture in time, or the stream ended or broke.
        """
        if self._stream is None:
            raise CameraError(f"{self.description}: is not open")
        try:
            encoded = self._stream.next(self._terms.read_timeout_s)
        except CameraError as error:
            raise CameraError(f"{self.description}: {error}") from error
        return Picture(image=decode(encoded))

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Stream:
    """One open answer: what arrives, and the pictures that are whole."""

    def __init__(self, reply: Reply, boundary: str, clock: Clock) -> None:
        self._reply = reply
        self._parts = Parts(boundary)
        self._clock = clock
        self._ready: deque[bytes] = deque()
        self._fault: CameraError | None = None

    def next(self, patience_s: float) -> bytes:
        """The next encoded picture; all that came whole before a fault are given before it is raised."""
        due_s = self._clock.mono_s() + patience_s
        came_bytes = 0
        while not self._ready:
            if self._fault is not None:
                raise self._fault
            left_s = due_s - self._clock.mono_s()
            if left_s <= 0:  # also while bytes come drop by drop, which a socket's own time-out never sees
                strange = "" if self._parts.begun else ", none of them the boundary that was announced"
                raise CameraError(f"no whole picture within {patience_s:g} s; {came_bytes} bytes came{strange}")
            came_bytes += self._receive(left_s)
        return self._ready.popleft()

    def _receive(self, within_s: float) -> int:
        chunk = self._reply.read1(_CHUNK_BYTES, within_s=within_s)
        if chunk is None:
            return 0
        try:
            self._ready.extend(self._parts.feed(chunk))
            if not chunk:
                raise CameraError("the stream ended")
        except CameraError as error:
            self._fault = error
        return len(chunk)

    def close(self) -> None:
        self._reply.close()


def _boundary(reply: Reply, place: Place) -> str:
    if reply.status != 200:
        raise CameraError(refusal(reply, place))
    kind = reply.headers.get_content_type()
    if not kind.startswith("multipart/"):
        told = _INSTEAD.get(kind, f"{shown(kind)}, not a stream")
        raise CameraError(f"{place.where} sends {told} (multipart/x-mixed-replace)")
    boundary = reply.headers.get_boundary()
    if not boundary:
        raise CameraError(f"{place.where} sends {shown(kind)} without a boundary")
    return boundary
