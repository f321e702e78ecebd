"""Where a JPEG ends, found while it still arrives (ITU-T T.81, annex B). Pure.

    SOI  segments with their lengths  SOS  coded data, in which FF is followed by 00 or RSTn  ...  EOI

A search for FF D9 alone would stop at the end of a thumbnail: segments are passed over by their lengths.
"""

from __future__ import annotations

import re

_START, _END, _SCAN = b"\xff\xd8", 0xD9, 0xDA
_MARKER_BYTES, _LENGTH_BYTES = 2, 2  # a segment's length counts itself, not its marker
# In coded data: the next marker that is no stuffed byte, no restart and no filling.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class JpegEnd:
    """For one picture at the start of a buffer that grows."""

    def __init__(self) -> None:
        self._at = 0  # of the next marker, or where to look for it
        self._in_scan = False

    def find(self, buffer: bytearray) -> int | None:
        """How long the picture is; None while its end has not come, or if it is no JPEG."""
        if self._at == 0 and buffer.startswith(_START):
            self._at = len(_START)
        while self._at > 0 and len(buffer) >= self._at + _MARKER_BYTES:
            if self._in_scan:
                marker = _MARKER.search(buffer, self._at)
                if marker is None:
                    self._at = len(buffer) - 1  # the first byte of one may be there already
                    return None
                self._at, self._in_scan = marker.start(), False
            elif buffer[self._at] != 0xFF:
                return None
            elif buffer[self._at + 1] == _END:
                return self._at + _MARKER_BYTES
            elif buffer[self._at + 1] == 0xFF:  # a marker may be filled up before
                self._at += 1
            elif len(buffer) < self._at + _MARKER_BYTES + _LENGTH_BYTES:
                return None
            else:
                self._in_scan = buffer[self._at + 1] == _SCAN
                length = buffer[self._at + _MARKER_BYTES : self._at + _MARKER_BYTES + _LENGTH_BYTES]
                self._at += _MARKER_BYTES + int.from_bytes(length, "big")
        return None
