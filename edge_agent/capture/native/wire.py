"""What the daemon and its camera process say to one another, and the memory that pictures pass through.

daemon  --{"stack": ..., ...}-->  child        one packet each: JSON on a SEQPACKET socket
        <--{"open": {...}}------
        --{"next": true}------->               asked one by one, so the newest picture is handed out and none is
        <--{"frame": {...}}-----               overwritten while it is read; the next question gives it back
        <--{"idle": true} | {"bad": ...} | {"end": true} | {"error": ..., "kind": ...}
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import socket
from collections.abc import Mapping
from typing import Any

MOST_PACKET_BYTES = 65_536
# A question is answered within this, if only by {"idle": true}: silence means that the process hangs.
IDLE_S = 0.25

# Kinds of trouble: what the daemon makes of it.
CAMERA = "camera"  # not there, or broken: try again
MISSING = "missing"  # something is not installed on this machine
DECODER = "decoder"  # the camera gives, the decoder does not take
REQUEST = "request"  # what was asked for cannot be: a wrong pipeline, an unknown option

_PAGE = mmap.PAGESIZE


class StackError(Exception):
    """The native stack refuses or fails; `kind` is one of the words above."""

    def __init__(self, message: str, kind: str = CAMERA) -> None:
        super().__init__(message)
        self.kind = kind


def send(link: socket.socket, message: Mapping[str, Any]) -> None:
    """One packet.

    Raises:
        OSError: nobody is there any more, or (a timeout) nobody reads.
    """
    link.send(json.dumps(message).encode())


def receive(link: socket.socket) -> dict[str, Any] | None:
    """The next packet, None when the other side is gone.

    Raises:
        OSError: nothing came within the socket's time-out, or the link broke.
        ValueError: not a JSON object.
    """
    packet = link.recv(MOST_PACKET_BYTES)
    if not packet:
        return None
    message = json.loads(packet)
    if not isinstance(message, dict):
        raise ValueError(f"expected an object, got {type(message).__name__}")  # noqa: TRY004 - see Raises
    return message


class SharedMemory:
    """The child's side of the memory file: slots of one size, grown when pictures become larger, never shrunk."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._map: mmap.mmap | None = None
        self._slot_bytes = 0

    def slots(self, count: int, size_bytes: int) -> int:
        """Make room for `count` pictures of so many bytes; the address of the first one in this process.

        What was handed out before may no longer be used.
        """
        self._slot_bytes = -(-size_bytes // _PAGE) * _PAGE
        wanted = count * self._slot_bytes
        if self._map is None or len(self._map) < wanted:
            os.ftruncate(self._file, wanted)
            self._map = mmap.mmap(self._file, wanted)
        return ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def offset(self, slot: int) -> int:
        """Where a slot begins in the memory file, in bytes."""
        return slot * self._slot_bytes
