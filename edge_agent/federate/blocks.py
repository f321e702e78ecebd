"""One block of a transfer as bytes, `xf/<xid>/blk`: a header with lengths first, then a piece of the file. Pure.

    0   4  length of the piece, little-endian as all numbers     38  2  zero
    4   8  "ea-blk/1"                                            40  8  offset in the file
    12 26  transfer (ULID)                                       48  4  CRC-32 of bytes 4 to 47 and of the piece
                                                                 52     the piece

The CRC only finds early what must be asked for again; the sha256 of the whole file decides.
"""

from __future__ import annotations

import struct
import zlib

from edge_agent.errors import BadMessageError
from edge_agent.sync.fleet_payloads import ManifestPayload

_HEADER = struct.Struct("<I8s26s2xQI")
_MAGIC = b"ea-blk/1"
HEADER_BYTES = _HEADER.size
_CRC_BYTES = 4


def piece(manifest: ManifestPayload, number: int) -> tuple[int, int]:
    """Where block `number` lies in the file: its offset and its length in bytes.

    Raises:
        BadMessageError: there is no such block.
    """
    if not 0 <= number < manifest.blocks:
        raise BadMessageError(f"transfer {manifest.id}: block {number} of {manifest.blocks}")
    offset = number * manifest.chunk_bytes
    return offset, min(manifest.chunk_bytes, manifest.size_bytes - offset)


def write_block(manifest: ManifestPayload, number: int, content: bytes) -> bytes:
    """The message with block `number`; `content` is that piece of the file.

    Raises:
        BadMessageError: there is no such block, or it has another length.
    """
    offset, length = piece(manifest, number)
    if len(content) != length:
        raise BadMessageError(f"transfer {manifest.id}: block {number} of {len(content)} bytes, expected {length}")
    head = _HEADER.pack(length, _MAGIC, manifest.id.encode(), offset, 0)
    crc = zlib.crc32(content, zlib.crc32(head[4:-_CRC_BYTES]))
    return head[:-_CRC_BYTES] + struct.pack("<I", crc) + content


def read_block(manifest: ManifestPayload, message: bytes) -> tuple[int, bytes]:
    """The number of the block in a message, and its content.

    Raises:
        BadMessageError: truncated, altered, of another transfer, or not a block of this file.
    """
    where = f"transfer {manifest.id}"
    if len(message) < HEADER_BYTES:
        raise BadMessageError(f"{where}: a block of {len(message)} bytes, the header alone has {HEADER_BYTES}")
    length, magic, xid, offset, crc = _HEADER.unpack_from(message)
    if magic != _MAGIC:
        raise BadMessageError(f"{where}: a block that begins with {magic!r}, expected {_MAGIC!r}")
    if xid != manifest.id.encode():
        raise BadMessageError(f"{where}: a block of another transfer, {xid!r}")
    if length != len(message) - HEADER_BYTES:
        raise BadMessageError(f"{where}: a block of {len(message) - HEADER_BYTES} bytes, its header says {length}")
    number, rest = divmod(offset, manifest.chunk_bytes)
    if rest or number >= manifest.blocks or length != piece(manifest, number)[1]:
        raise BadMessageError(f"{where}: {length} bytes at {offset} are no block of {manifest.size_bytes} bytes")
    content = message[HEADER_BYTES:]
    if crc != zlib.crc32(content, zlib.crc32(message[4 : HEADER_BYTES - _CRC_BYTES])):
        raise BadMessageError(f"{where}: block {number} is damaged (CRC-32); it will be asked for again")
    return number, content
