"""The size of a picture from its first bytes, before anything is decoded: a decompression bomb is refused unopened.

JPEG (ITU-T T.81 annex B), PNG (ISO/IEC 15948), BMP, WebP (RFC 9649), TIFF 6.0. Pure: bytes in, numbers out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.errors import BadPictureError

FORMATS = "JPEG, PNG, BMP, WebP or TIFF"

_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0..15 without DHT, JPG, DAC
_JPEG_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_TYPES = {3: "H", 4: "I"}  # SHORT, LONG
_TIFF_MOST_ENTRIES = 512  # a real picture has a dozen or two


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the first bytes promise. `kind` is "JPEG", "PNG", "BMP", "WebP" or "TIFF"."""

    kind: str
    width_px: int
    height_px: int


def read_header(content: bytes) -> Header:
    """Kind and size of an encoded picture.

    Raises:
        BadPictureError: the bytes begin like none of the formats we take, or end before the size (or, for JPEG, before
            the end mark: a truncated JPEG decodes to a grey lower half, which must never be judged).
    """
    for magic, reader in _READERS.items():
        if content.startswith(magic):
            try:
                header = reader(content)
            except (struct.error, IndexError) as error:
                raise BadPictureError(
                    "the picture ends inside its header; it is truncated or still being written"
                ) from error
            if header.width_px <= 0 or header.height_px <= 0:
                raise BadPictureError(
                    f"{header.kind} of {header.width_px} x {header.height_px} pixels: it has no pixels"
                )
            return header
    found = content[:8].hex(" ") or "nothing"
    raise BadPictureError(f"begins with {found}, expected {FORMATS}")


def _jpeg(content: bytes) -> Header:
    position, size = 2, None
    while size is None or content[position + 1] != _JPEG_SCAN:
        if content[position] != 0xFF:
            raise BadPictureError(f"JPEG without a marker at byte {position}: the header is damaged")
        marker = content[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            size = struct.unpack_from(">HH", content, position + 5)
        (length,) = struct.unpack_from(">H", content, position + 2)
        position += 2 + length
    # Inside a scan every 0xFF is stuffed with 0x00, so the end mark can only be the end mark. Cameras may pad after it.
    if content.rfind(_JPEG_END) < position:
        raise BadPictureError("JPEG without its end mark: it is truncated or still being written")
    return Header(kind="JPEG", width_px=size[1], height_px=size[0])


def _png(content: bytes) -> Header:
    width, height = struct.unpack_from(">II", content, 16)
    return Header(kind="PNG", width_px=width, height_px=height)


def _bmp(content: bytes) -> Header:
    (header_size,) = struct.unpack_from("<I", content, 14)
    # BITMAPCOREHEADER (12 bytes) has 16-bit sizes; a negative height means the rows run from the top.
    width, height = struct.unpack_from("<HH" if header_size == 12 else "<ii", content, 18)
    return Header(kind="BMP", width_px=width, height_px=abs(height))


def _webp(content: bytes) -> Header:
    form, chunk = content[8:12], content[12:16]
    if form != b"WEBP":
        raise BadPictureError(f"a RIFF file of kind {form!r}, expected {FORMATS}")
    if chunk == b"VP8X":
        width = 1 + int.from_bytes(content[24:27], "little")
        height = 1 + int.from_bytes(content[27:30], "little")
    elif chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 26))
    return Header(kind="WebP", width_px=width, height_px=height)


def _tiff(content: bytes) -> Header:
    order = "<" if content.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(order + "I", content, 4)
    (entries,) = struct.unpack_from(order + "H", content, directory)
    sides = {}
    for entry in range(min(entries, _TIFF_MOST_ENTRIES)):
        position = directory + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", content, position)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT) and kind in _TIFF_TYPES:
            (sides[tag],) = struct.unpack_from(order + _TIFF_TYPES[kind], content, position + 8)
    return Header(kind="TIFF", width_px=sides.get(_TIFF_WIDTH, 0), height_px=sides.get(_TIFF_HEIGHT, 0))


_READERS: dict[bytes, Callable[[bytes], Header]] = {
    b"\xff\xd8\xff": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"BM": _bmp,
    b"RIFF": _webp,
    b"II*\x00": _tiff,
    b"MM\x00*": _tiff,
}
