"""Receiving from a GenICam camera: its packets go straight into the shared memory, its pictures wait for the daemon.

camera --packets--> stream buffers = slots of the memory file --puller thread--> waiting --take()--> daemon
                          ^------------------------- give_back() ----------------------------'
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gi

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis, GLib  # noqa: E402 - the version comes first

from edge_agent.capture.native.device_time import DeviceClock, missing_between  # noqa: E402
from edge_agent.capture.native.wire import SharedMemory, StackError  # noqa: E402

_PULL_US = 100_000
# One is with the daemon, one waits, the others receive. A triggered camera may send a burst that has to wait.
_SLOTS_FREE, _SLOTS_TRIGGERED = 6, 16
_MOST_BAD = 100
# A burst must fit while this process is not running; the kernel gives at most net.core.rmem_max.
_SOCKET_PICTURES, _MOST_SOCKET_BYTES = 8, 64 * 1024 * 1024
_OLDEST_S = 2.0  # a first packet cannot be older; more is a clock of the wall that was set
_NANOSECONDS = 1e9


class Receiver:
    """`keep_all`: every picture is a part and waits; else only the newest does. `stamp` gives a picture's device time
    in seconds, 0 where it has none.
    """

    def __init__(self, camera: Any, memory: SharedMemory, *, keep_all: bool, stamp: Callable[[Any], float]) -> None:
        self._memory = memory
        self._stamp = stamp
        self._format = camera.get_pixel_format_as_string()
        self._waiting = _Waiting(keep_all=keep_all)
        self._slots: dict[Any, int] = {}
        self._with_daemon: Any = None
        self._stop = threading.Event()
        self._stream = self._made(camera, _SLOTS_TRIGGERED if keep_all else _SLOTS_FREE)
        camera.start_acquisition()
        self._puller = threading.Thread(target=self._pull, daemon=True)
        self._puller.start()

    def wait(self, within_s: float) -> bool:
        """Whether there is something to take. Raises StackError when nothing will ever be."""
        if self._waiting.wait(within_s):
            return True
        if not self._puller.is_alive():
            raise StackError("receiving ended by a fault of the camera process")
        return False

    def take(self) -> dict[str, Any]:
        """The next answer. Its picture stays where it is until `give_back`."""
        self._with_daemon, answer = self._waiting.take()
        return answer

    def give_back(self) -> None:
        """The daemon has read what it took."""
        if self._with_daemon is not None:
            self._stream.push_buffer(self._with_daemon)
            self._with_daemon = None

    def stop(self) -> None:
        """Receive no more."""
        self._stop.set()
        self._puller.join()

    def _made(self, camera: Any, count: int) -> Any:
        if camera.is_gv_device():  # a raw socket needs rights that the daemon does not have
            camera.gv_set_stream_options(Aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
        payload = camera.get_payload()
        stream = camera.create_stream()
        if stream is None:
            raise StackError("the camera gives no stream; is another program receiving it?")
        if isinstance(stream, Aravis.GvStream):
            stream.set_property("socket-buffer", Aravis.GvStreamSocketBuffer.FIXED)
            stream.set_property("socket-buffer-size", min(_MOST_SOCKET_BYTES, _SOCKET_PICTURES * payload))
        first = self._memory.slots(count, payload)
        for slot in range(count):
            buffer = Aravis.Buffer.new(payload, first + self._memory.offset(slot))
            self._slots[buffer] = slot
            stream.push_buffer(buffer)
        return stream

    def _pull(self) -> None:
        clock, last_id = DeviceClock(), None
        while not self._stop.is_set():
            buffer = self._stream.timeout_pop_buffer(_PULL_US)
            if buffer is None:
                continue
            popped_s, popped_utc_s = time.monotonic(), time.time()
            frame_id, status = buffer.get_frame_id(), buffer.get_status()
            if last_id is not None:
                for _ in range(missing_between(last_id, frame_id)):
                    self._waiting.bad("a picture of the camera did not arrive at all")
            last_id = frame_id
            if status != Aravis.BufferStatus.SUCCESS:
                self._waiting.bad(f"a picture arrived incomplete: {status.value_nick.replace('-', ' ')}")
                self._stream.push_buffer(buffer)
                continue
            # aravis notes when the first packet came, by the clock of the wall.
            age_s = min(max(0.0, popped_utc_s - buffer.get_system_timestamp() / _NANOSECONDS), _OLDEST_S)
            device_s = self._stamp(buffer)
            moment_s = clock.moment_s(device_s, popped_s - age_s) if device_s else popped_s - age_s
            for old in self._waiting.put(buffer, {"frame": self._described(buffer, moment_s)}):
                self._stream.push_buffer(old)

    def _described(self, buffer: Any, moment_s: float) -> dict[str, Any]:
        width = buffer.get_image_width()
        padding = buffer.get_image_padding()[0] if hasattr(buffer, "get_image_padding") else 0  # aravis 0.8.23
        pixel_bits = (buffer.get_image_pixel_format() >> 16) & 0xFF  # PFNC: bits a pixel takes
        return {
            "format": self._format,
            "width": width,
            "height": buffer.get_image_height(),
            "stride": width * pixel_bits // 8 + padding if padding else 0,
            "offset": self._memory.offset(self._slots[buffer]),
            "size": len(buffer.get_data()) if padding else width * buffer.get_image_height() * pixel_bits // 8,
            "captured_s": moment_s,
        }


def leader_stamp(buffer: Any) -> float:
    """The device time that comes with each picture."""
    return float(buffer.get_timestamp()) / _NANOSECONDS


def chunk_stamp(camera: Any) -> Callable[[Any], float]:
    """The device time in a picture's chunk data, counted in ticks on GigE Vision 1.x and in nanoseconds otherwise
    (SFNC 2.7, ChunkTimestamp).
    """
    chunks, ticks = camera.create_chunk_parser(), "GevTimestampTickFrequency"
    per_s = float(camera.get_integer(ticks)) if camera.is_feature_available(ticks) else _NANOSECONDS

    def stamp(buffer: Any) -> float:
        try:
            return float(chunks.get_integer_value(buffer, "ChunkTimestamp")) / per_s
        except GLib.Error:  # this picture came without
            return 0.0

    return stamp


class _Waiting:
    """Pictures between the puller and the daemon. `keep_all`: each is a part; else the newest makes the others free."""

    def __init__(self, *, keep_all: bool) -> None:
        self._keep_all = keep_all
        self._changed = threading.Condition()
        self._queue: deque[tuple[Any, dict[str, Any]]] = deque()

    def put(self, buffer: Any, answer: dict[str, Any]) -> list[Any]:
        """Add a picture; the buffers that are not needed any more."""
        with self._changed:
            old = [] if self._keep_all else [entry for entry in self._queue if entry[0] is not None]
            for entry in old:
                self._queue.remove(entry)
            self._queue.append((buffer, answer))
            self._changed.notify()
        return [entry[0] for entry in old]

    def bad(self, why: str) -> None:
        with self._changed:
            if sum(buffer is None for buffer, _ in self._queue) < _MOST_BAD:
                self._queue.append((None, {"bad": why}))
                self._changed.notify()

    def wait(self, within_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._queue), within_s)

    def take(self) -> tuple[Any, dict[str, Any]]:
        with self._changed:
            return self._queue.popleft()
