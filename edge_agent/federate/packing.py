"""Bytes that are not trusted yet: fixed headers, sections with lengths, zstd that ends at a limit. Pure.

Whoever reads knows from the header how long each thing may be, and nothing is allocated before that was checked. A
frame that would grow beyond its limit (a decompression bomb) is left after the first byte too many.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import zstandard
from numpy.typing import NDArray

from edge_agent.errors import BadContributionError

FORMAT_BYTES = 28
# Level 6: at 19 the quotients of real sums were 1 % smaller and took ten times as long.
ZSTD_LEVEL = 6
# The window is what a frame makes its reader allocate; 8 MiB is what every zstd decoder must support (RFC 8878, 3.1.1).
WINDOW_MAX_BYTES = 8 * 1024 * 1024

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]


def pack_header(layout: struct.Struct, format_name: str, total_bytes: int, *fields: int | bytes) -> bytes:
    """A header: the length of everything, the format's name, and the fields of `layout`."""
    return layout.pack(total_bytes, format_name.encode(), *fields)


def unpack_header(layout: struct.Struct, format_name: str, content: bytes, limit_bytes: int) -> tuple[int | bytes, ...]:
    """The fields of the header without length and format, which were checked.

    Raises:
        BadContributionError: longer than the limit, shorter or longer than it says, or of another format.
    """
    if len(content) > limit_bytes:
        raise BadContributionError(f"{format_name}: {len(content)} bytes, at most {limit_bytes} are taken")
    if len(content) < layout.size:
        raise BadContributionError(f"{format_name}: {len(content)} bytes, the header alone has {layout.size}")
    total_bytes, name, *fields = layout.unpack_from(content)
    found = name.rstrip(b"\0")
    if found != format_name.encode():
        raise BadContributionError(f"format is {found!r}, expected {format_name!r}; the older side needs an update")
    if total_bytes != len(content):
        raise BadContributionError(f"{format_name}: {len(content)} bytes, its header says {total_bytes}; truncated")
    return tuple(fields)


def cut(content: bytes, start: int, lengths: Sequence[int], what: str) -> list[bytes]:
    """The sections that follow one another from `start` to the very end of `content`.

    Raises:
        BadContributionError: they do not fill it exactly.
    """
    if start + sum(lengths) != len(content):
        raise BadContributionError(
            f"{what}: sections of {list(lengths)} bytes after {start}, found {len(content) - start} bytes for them"
        )
    sections, place = [], start
    for length in lengths:
        sections.append(content[place : place + length])
        place += length
    return sections


def squeeze(content: bytes) -> bytes:
    """A zstd frame, without its own checksum: the whole file has a sha256."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content)


def inflate(frame: bytes, size_bytes: int, what: str) -> bytes:
    """The `size_bytes` that a zstd frame holds, no byte more decoded than that.

    Raises:
        BadContributionError: damaged, another size, a window that is too large, or something after the frame.
    """
    decoder = zstandard.ZstdDecompressor(max_window_size=WINDOW_MAX_BYTES)
    try:
        with decoder.stream_reader(frame, read_size=len(frame), read_across_frames=False) as reader:
            content = _read_up_to(reader, size_bytes + 1)
    except zstandard.ZstdError as error:
        raise BadContributionError(f"{what}: no zstd frame ({error})") from error
    if len(content) != size_bytes:
        found = f"more than {size_bytes}" if len(content) > size_bytes else str(len(content))
        raise BadContributionError(f"{what}: {found} bytes in the zstd frame, expected {size_bytes}")
    return content


def _read_up_to(reader: zstandard.ZstdDecompressionReader, size_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = size_bytes
    while left and (part := reader.read(min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def zigzag(numbers: Integers) -> NDArray[np.uint64]:
    """0, -1, 1, -2, 2 ... as 0, 1, 2, 3, 4: small numbers of either sign have small codes."""
    result: NDArray[np.uint64] = ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)
    return result


def unzigzag(codes: NDArray[np.uint64]) -> Integers:
    """What `zigzag` was given."""
    result: Integers = (codes >> np.uint64(1)).view(np.int64) ^ -(codes & np.uint64(1)).view(np.int64)
    return result


def planes(numbers: Integers) -> bytes:
    """Integers as eight planes of bytes, lowest first: zstd finds the empty ones empty."""
    return np.ascontiguousarray(zigzag(numbers).astype("<u8").view(np.uint8).reshape(-1, 8).T).tobytes()


def unplanes(content: bytes) -> Integers:
    """The integers of `planes`; the length of `content` is a multiple of eight."""
    codes = np.ascontiguousarray(np.frombuffer(content, np.uint8).reshape(8, -1).T).view("<u8")[:, 0]
    return unzigzag(codes.astype(np.uint64))
