"""Locks for V4L2 cameras through OpenCV's properties: automatic off, the value, and both read back.

OpenCV hands the numbers to the driver as they are (cap_v4l.cpp), so the units are V4L2's
(docs.kernel.org/userspace-api/media/v4l/ext-ctrls-camera.html): exposure in 100 us, V4L2_EXPOSURE_MANUAL = 1. V4L2 has
one switch for automatic exposure and gain, so locking either stops both. Untested on hardware: the rules are tested
against a pretended device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import cv2

from edge_agent.capture.controls import Controls

# A driver rounds to its own steps; an exposure that is off by more than this is another exposure.
TOLERANCE = 0.02


class Device(Protocol):
    """An open capture of OpenCV."""

    def set(self, number: int, value: float) -> bool:
        """Whether the driver took it."""

    def get(self, number: int) -> float:
        """What it has now; -1 where it has no such control."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """How one control is locked: `off` is the property and value that end its automatic; `unit` what one step is,
    `least` the fewest of them.
    """

    off: tuple[int, int]
    number: int
    unit: float = 1.0
    least: int = 0


LOCKS: Mapping[str, Lock] = {
    "exposure_us": Lock(off=(cv2.CAP_PROP_AUTO_EXPOSURE, 1), number=cv2.CAP_PROP_EXPOSURE, unit=100.0, least=1),
    "gain_raw": Lock(off=(cv2.CAP_PROP_AUTO_EXPOSURE, 1), number=cv2.CAP_PROP_GAIN),
    "white_balance_k": Lock(off=(cv2.CAP_PROP_AUTO_WB, 0), number=cv2.CAP_PROP_WB_TEMPERATURE),
    "focus": Lock(off=(cv2.CAP_PROP_AUTOFOCUS, 0), number=cv2.CAP_PROP_FOCUS),
}


def lock(device: Device, controls: Controls) -> tuple[str, ...]:
    """Lock what is asked for; a line for each control that does not hold."""
    wanted = {name: value for name in LOCKS if (value := getattr(controls, name)) is not None}
    for name, value in wanted.items():
        device.set(*LOCKS[name].off)
        device.set(LOCKS[name].number, max(LOCKS[name].least, round(value / LOCKS[name].unit)))
    # Read back when all is set: one control may move another.
    return tuple(_faults(device, wanted))


def _faults(device: Device, wanted: Mapping[str, float]) -> Iterator[str]:
    for name, value in wanted.items():
        how = LOCKS[name]
        number, off = how.off
        found = device.get(how.number)
        if found == -1:
            yield f"{name} {value:g}: the camera has no such control"
        elif abs(found * how.unit - value) > max(TOLERANCE * value, how.unit / 2):
            yield f"{name} {value:g}: it has {found * how.unit:g} instead"
        elif device.get(number) not in (off, -1):  # -1: a camera without the automatic
            yield f"{name} {value:g}: its automatic cannot be switched off"
