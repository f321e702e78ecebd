"""A GigE Vision or USB3 Vision camera through aravis: found, set up, triggered, asked for its pictures."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import gi

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis, GLib  # noqa: E402 - the version comes first

from edge_agent.capture.native.genicam_setup import lock, set_up  # noqa: E402
from edge_agent.capture.native.genicam_stream import Receiver, chunk_stamp, leader_stamp  # noqa: E402
from edge_agent.capture.native.wire import REQUEST, SharedMemory, StackError  # noqa: E402

_FAKE = re.compile("Fake_[0-9]+")
_IP = re.compile(r"[0-9]+(\.[0-9]+){3}")
_LOOK_S = 2.0


class GenicamStack:
    """`job`: `target`, `trigger`, `formats` and the options of genicam_setup.py."""

    def __init__(self, job: Mapping[str, Any], memory: SharedMemory) -> None:
        self._job = job
        self._memory = memory
        self._camera: Any = None
        self._receiver: Receiver | None = None
        self._fired = False
        self._looked_s = 0.0

    def open(self) -> dict[str, Any]:
        try:
            self._camera = _find(self._job["target"])
            self._require_control()
            set_up(self._camera, self._job)
            unheld = lock(self._camera, self._job["controls"])
            stamp = chunk_stamp(self._camera) if self._job["chunk"] else leader_stamp
            keep_all = self._job["trigger"] is not None
            self._receiver = Receiver(self._camera, self._memory, keep_all=keep_all, stamp=stamp)
        except GLib.Error as error:
            raise StackError(error.message) from error
        while not keep_all and not self._receiver.wait(0.1):
            self._look()
        return {"identity": _identity(self._camera), "unheld": unheld}

    def next(self, within_s: float) -> dict[str, Any]:
        assert self._receiver is not None  # noqa: S101 - asked only once it is open
        self._receiver.give_back()
        if self._job["trigger"] == "Software" and not self._fired:
            self._fire()
        if not self._receiver.wait(within_s):
            self._look()
            return {"idle": True}
        self._fired = False
        return self._receiver.take()

    def close(self) -> None:
        if self._camera is None:
            return
        try:
            if self._receiver is not None:
                self._receiver.stop()
                self._camera.stop_acquisition()
            device = self._camera.get_device()
            if isinstance(device, Aravis.GvDevice):  # else it stays ours until its heartbeat runs out, seconds later
                device.leave_control()
        except GLib.Error:  # it is gone already
            return

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
