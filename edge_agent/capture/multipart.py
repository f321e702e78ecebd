"""Bytes of a `multipart/x-mixed-replace` answer (RFC 2046, section 5.1) to the pictures in it. Pure.

    preamble --delimiter--> headers --blank line--> body --its length, the JPEG's end, the next delimiter--> picture

Without a stated length a picture is whole when its JPEG ends: the next delimiter may come with the next picture only, a
frame's time later. Cameras differ: some put the two dashes of the delimiter into the boundary's name, some end lines
with a line feed alone. Both are read. What contradicts itself is refused, not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from edge_agent.capture.jpeg_end import JpegEnd
from edge_agent.errors import CameraError

# A 20-megapixel JPEG at a camera's best quality has 10 to 15 MB.
MOST_PART_BYTES = 32 * 1024 * 1024
MOST_HEADER_BYTES = 8 * 1024
# Before the first delimiter a few lines of prose are allowed; a stream without any delimiter is no multipart.
MOST_PREAMBLE_BYTES = 64 * 1024
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"(?im)^content-length[ \t]*:[ \t]*([0-9]{1,12})[ \t]*\r?$")
_TYPE = re.compile(rb"(?im)^content-type[ \t]*:[ \t]*([^\s;]+)")
# Line ends, and the dashes of a delimiter whose name holds two more: what may stand between a picture and its end.
_BETWEEN = b"\r\n-"


class Parts:
    """Feed it what arrives, take the pictures that are complete. Used for one stream."""

    def __init__(self, boundary: str, *, most_bytes: int = MOST_PART_BYTES) -> None:
        self._delimiter = b"--" + boundary.removeprefix("--").encode("latin-1")
        self._most_bytes = most_bytes
        self._buffer = bytearray()
        self._searched = 0  # no delimiter begins before this place
        self._in_body = False
        self._length: int | None = None  # of the body, where the camera says it
        self._jpeg = JpegEnd()
        self._picture = False  # whether the body is one
        self.begun = False  # whether a delimiter was seen

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The encoded pictures that are complete with this chunk, in order.

        Raises:
            CameraError: this is no such stream; nothing more can be read of it.
        """
        self._buffer += chunk
        while True:
            if not self._in_body:
                if not self._begin():
                    return
            elif (body := self._end()) is None:
                return
            elif self._picture and body:
                yield body

    def _begin(self) -> bool:
        """Pass the delimiter and the headers; False when more has to come."""
        at = self._find()
        if at < 0:
            self._keep_to(MOST_PREAMBLE_BYTES, f"no {self._delimiter.decode('latin-1')!r}, the boundary it announced,")
            return False
        if self._length is not None and self._buffer[:at].strip(_BETWEEN):
            raise CameraError("a part goes on after the Content-Length that it stated")
        head_at = at + len(self._delimiter)
        blank = _BLANK_LINE.search(self._buffer, head_at)
        if blank is None:
            if bytes(self._buffer[head_at : head_at + 2]) == b"--" and b"\n" in self._buffer[head_at:]:
                raise CameraError("the camera ended the stream")
            if len(self._buffer) - head_at > MOST_HEADER_BYTES:
                raise CameraError(f"a part with more than {MOST_HEADER_BYTES} bytes of headers")
            return False
        head = bytes(self._buffer[head_at : blank.end()])
        stated, kind = _LENGTH.search(head), _TYPE.search(head)
        self._length = int(stated[1]) if stated else None
        if self._length is not None and self._length > self._most_bytes:
            raise CameraError(f"a part of {self._length} bytes, at most {self._most_bytes} are read")
        self._picture = kind is None or kind[1].lower().startswith(b"image/")
        self._cut(blank.end())
        self._jpeg = JpegEnd()
        self._in_body = self.begun = True
        return True

    def _end(self) -> bytes | None:
        """The body, None when more of it has to come."""
        if self._length is not None:
            if len(self._buffer) < self._length:
                return None
            body = bytes(self._buffer[: self._length])
            self._cut(self._length)
        elif (at := self._find()) >= 0:  # before the JPEG's end: one that was cut off would take the next for its rest
            # A JPEG ends with FF D9: nothing of it is stripped.
            body = bytes(self._buffer[:at]).rstrip(_BETWEEN)
            self._cut(at)
        elif (end := self._jpeg.find(self._buffer)) is not None:
            body = bytes(self._buffer[:end])
            self._cut(end)
        else:
            self._keep_to(self._most_bytes, "no end of a part")
            return None
        self._in_body = False
        return body

    def _find(self) -> int:
        at = self._buffer.find(self._delimiter, self._searched)
        if at < 0:
            self._searched = max(0, len(self._buffer) - len(self._delimiter) + 1)
        return at

    def _keep_to(self, most_bytes: int, what: str) -> None:
        if len(self._buffer) > most_bytes:
            raise CameraError(f"{what} within {most_bytes} bytes")

    def _cut(self, position: int) -> None:
        del self._buffer[:position]
        self._searched = 0
