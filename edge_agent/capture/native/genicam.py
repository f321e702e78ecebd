"""A GigE Vision or USB3 Vision camera through aravis: found, set up, triggered, its pictures received in shared memory.

camera --packets--> stream buffers = slots of the memory file --puller thread--> waiting --> next()
                          ^-------------------- given back by the next question ---------------'
"""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import gi

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis, GLib  # noqa: E402 - the version comes first

from edge_agent.capture.native.device_time import DeviceClock, missing_between  # noqa: E402
from edge_agent.capture.native.genicam_setup import lock, set_up  # noqa: E402
from edge_agent.capture.native.wire import REQUEST, SharedMemory, StackError  # noqa: E402

_FAKE = re.compile("Fake_[0-9]+")
_IP = re.compile(r"[0-9]+(\.[0-9]+){3}")
_PULL_US = 100_000
# One is with the daemon, one waits, the others receive. A triggered camera may send a burst that has to wait.
_SLOTS_FREE, _SLOTS_TRIGGERED = 6, 16
_MOST_BAD = 100
# A burst must fit while this process is not running; the kernel gives at most net.core.rmem_max.
_SOCKET_PICTURES, _MOST_SOCKET_BYTES = 8, 64 * 1024 * 1024
_LOOK_S = 2.0
_NANOSECONDS = 1e9


class GenicamStack:
    """`job`: `target`, `trigger`, `formats` and the options of genicam_setup.py."""

    def __init__(self, job: Mapping[str, Any], memory: SharedMemory) -> None:
        self._job = job
        self._memory = memory
        self._camera: Any = None
        self._stream: Any = None
        self._format = ""
        self._chunks: Any = None
        self._ticks_per_s = _NANOSECONDS
        self._slots: dict[Any, int] = {}
        self._stop = threading.Event()
        self._arrival = _Waiting(keep_all=job["trigger"] is not None)
        self._with_daemon: Any = None
        self._fired = False
        self._looked_s = 0.0
        self._puller = threading.Thread(target=self._pull, daemon=True)

    def open(self) -> dict[str, Any]:
        try:
            self._camera = _find(self._job["target"])
            self._require_control()
            set_up(self._camera, self._job)
            unheld = lock(self._camera, self._job["controls"])
            self._format = self._camera.get_pixel_format_as_string()
            if self._job["chunk"]:
                self._chunks = self._camera.create_chunk_parser()
                self._ticks_per_s = _ticks_per_s(self._camera)
            self._start()
        except GLib.Error as error:
            raise StackError(error.message) from error
        while self._job["trigger"] is None and not self._arrival.wait(0.1):
            self._look()
        return {"identity": _identity(self._camera), "unheld": unheld}

    def next(self, within_s: float) -> dict[str, Any]:
        if self._with_daemon is not None:
            self._stream.push_buffer(self._with_daemon)
            self._with_daemon = None
        if self._job["trigger"] == "Software" and not self._fired:
            self._fire()
        if not self._arrival.wait(within_s):
            self._look()
            return {"idle": True}
        self._fired = False
        buffer, answer = self._arrival.take()
        self._with_daemon = buffer
        return answer

    def close(self) -> None:
        self._stop.set()
        if self._camera is None:
            return
        try:
            if self._puller.is_alive():
                self._puller.join()
                self._camera.stop_acquisition()
            device = self._camera.get_device()
            if isinstance(device, Aravis.GvDevice):  # else it stays ours until its heartbeat runs out, seconds later
                device.leave_control()
        except GLib.Error:  # it is gone already
            return

    def _start(self) -> None:
        if self._camera.is_gv_device():  # a raw socket needs rights that the daemon does not have
            self._camera.gv_set_stream_options(Aravis.GvStreamOption.PACKET_SOCKET_DISABLED)
        payload = self._camera.get_payload()
        self._stream = self._camera.create_stream()
        if self._stream is None:
            raise StackError("the camera gives no stream; is another program receiving it?")
        if isinstance(self._stream, Aravis.GvStream):
            self._stream.set_property("socket-buffer", Aravis.GvStreamSocketBuffer.FIXED)
            self._stream.set_property("socket-buffer-size", min(_MOST_SOCKET_BYTES, _SOCKET_PICTURES * payload))
        count = _SLOTS_FREE if self._job["trigger"] is None else _SLOTS_TRIGGERED
        first = self._memory.slots(count, payload)
        for slot in range(count):
            buffer = Aravis.Buffer.new(payload, first + self._memory.offset(slot))
            self._slots[buffer] = slot
            self._stream.push_buffer(buffer)
        self._camera.start_acquisition()
        self._puller.start()

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
                    self._arrival.bad("a picture of the camera did not arrive at all")
            last_id = frame_id
            if status != Aravis.BufferStatus.SUCCESS:
                self._arrival.bad(f"a picture arrived incomplete: {status.value_nick.replace('-', ' ')}")
                self._stream.push_buffer(buffer)
                continue
            # aravis notes when the first packet came, by the clock of the wall.
            age_s = min(max(0.0, popped_utc_s - buffer.get_system_timestamp() / 1e9), _LOOK_S)
            device_s = self._device_s(buffer)
            moment_s = clock.moment_s(device_s, popped_s - age_s) if device_s else popped_s - age_s
            for old in self._arrival.put(buffer, {"frame": self._described(buffer, moment_s)}):
                self._stream.push_buffer(old)

    def _device_s(self, buffer: Any) -> float:
        """The camera's own time of a picture: of its chunk where there is one, else of its leader; 0 if it has none."""
        if self._chunks is not None:
            try:
                return float(self._chunks.get_integer_value(buffer, "ChunkTimestamp")) / self._ticks_per_s
            except GLib.Error:  # this picture came without
                pass
        return float(buffer.get_timestamp()) / 1e9

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

    def _fire(self) -> None:
        try:
            self._camera.software_trigger()
        except GLib.Error as error:
            raise StackError(f"the camera does not take the trigger: {error.message}") from error
        self._fired = True

    def _look(self) -> None:
        """Whether the camera is still there. One that waits for its line is asked now and then; of one that runs
        freely the daemon itself notices that no picture comes.
        """
        self._require_control()
        now_s = time.monotonic()
        if self._job["trigger"] is None or now_s - self._looked_s < _LOOK_S:
            return
        self._looked_s = now_s
        try:
            self._camera.get_integer("Width")
        except GLib.Error as error:
            raise StackError(f"the camera does not answer any more: {error.message}") from error

    def _require_control(self) -> None:
        device = self._camera.get_device()
        if isinstance(device, Aravis.GvDevice) and not device.is_controller():
            raise StackError(
                "the camera is not ours: another program controls it, or it was away; it is free a few seconds after "
                "that program ended"
            )


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


def _find(target: str) -> Any:
    if _FAKE.fullmatch(target):
        Aravis.enable_interface("Fake")
    if _IP.fullmatch(target) or _FAKE.fullmatch(target):
        return Aravis.Camera.new(target)
    Aravis.update_device_list()
    places = range(Aravis.get_n_devices())
    fits = [place for place in places if not target or target in _names(place)]
    if len(fits) == 1:
        return Aravis.Camera.new(Aravis.get_device_id(fits[0]))
    found = "; ".join(" ".join(filter(None, _names(place))) for place in places) or "none"
    wanted = f"{len(fits)} cameras" if fits else "no camera"
    raise StackError(
        f"{wanted} with the serial number, address or name {target!r}; found on this network: {found}", REQUEST
    )


def _ticks_per_s(camera: Any) -> float:
    """In what a chunk counts time: in ticks on GigE Vision 1.x, in nanoseconds otherwise (SFNC 2.7, ChunkTimestamp)."""
    ticks = "GevTimestampTickFrequency"
    return float(camera.get_integer(ticks)) if camera.is_feature_available(ticks) else _NANOSECONDS


def _names(place: int) -> tuple[str, ...]:
    return (
        Aravis.get_device_id(place),
        Aravis.get_device_vendor(place),
        Aravis.get_device_model(place),
        Aravis.get_device_serial_nbr(place),
        Aravis.get_device_address(place),
        Aravis.get_device_physical_id(place),
    )


def _identity(camera: Any) -> dict[str, str | None]:
    device = camera.get_device()

    def ask(*features: str) -> str | None:
        present = next(filter(device.is_feature_available, features), None)
        try:
            return (device.get_string_feature_value(present) or None) if present is not None else None
        except GLib.Error:  # it has the feature and does not give it
            return None

    return {
        "vendor": ask("DeviceVendorName"),
        "model": ask("DeviceModelName"),
        "serial": ask("DeviceSerialNumber", "DeviceID"),
        "firmware": ask("DeviceFirmwareVersion", "DeviceVersion"),
    }
