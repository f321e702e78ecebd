"""What all cameras behind a native stack share: a camera process for each session, its answers as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_agent.capture.bridge import Bridge, BrokenBridgeError
from edge_agent.capture.native.wire import IDLE_S
from edge_agent.capture.pixels import Layout, to_bgr
from edge_agent.capture.source import Picture, Terms
from edge_agent.errors import BadPictureError, CameraError


class NativeCamera:
    """One camera process at a time. `patient`: a picture may stay out for any time, as long as the process answers."""

    def __init__(self, description: str, terms: Terms, *, patient: bool = False) -> None:
        self._description = description
        self._terms = terms
        self._patient = patient
        self._bridge: Bridge | None = None

    @property
    def pid(self) -> int | None:
        """The camera process, None while there is none."""
        return self._bridge.pid if self._bridge is not None else None

    def open(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """What the stack knows of the camera.

        Raises:
            CameraError: not now; StackUnavailableError: not on this machine.
        """
        self.close()
        try:
            self._bridge = Bridge()
            # Opening includes the first picture, where pictures come by themselves.
            allowed_s = self._terms.open_timeout_s + self._terms.read_timeout_s
            facts = self._bridge.ask(job, allowed_s).get("open")
        except CameraError as error:
            raise type(error)(f"{self._description}: {error}") from error
        if not isinstance(facts, dict):
            raise CameraError(f"{self._description}: the camera process does not say what it opened")
        return facts

    def read(self) -> Picture | None:
        """As `Source.read`; StackUnavailableError when the decoder fails."""
        if self._bridge is None:
            raise CameraError(f"{self._description}: is not open")
        try:
            return self._read(self._bridge)
        except CameraError as error:
            raise type(error)(f"{self._description}: {error}") from error

    def close(self) -> None:
        """End the process, if there is one."""
        bridge, self._bridge = self._bridge, None
        if bridge is not None:
            bridge.close()

    def _read(self, bridge: Bridge) -> Picture | None:
        clock, limit_s = self._terms.clock, self._terms.read_timeout_s
        begun_s = clock.mono_s()
        while not self._terms.stop.is_set():
            waited_s = clock.mono_s() - begun_s
            if waited_s >= limit_s and not self._patient:
                raise CameraError(f"no picture within {waited_s:.1f} s")
            answer = bridge.ask({"next": True}, max(limit_s, 2 * IDLE_S))
            if "frame" in answer:
                return _picture(bridge, answer["frame"])
            if "bad" in answer:
                raise BadPictureError(f"{self._description}: {answer['bad']}")
            if "end" in answer:
                return None
        return None


def _picture(bridge: Bridge, frame: Mapping[str, Any]) -> Picture:
    try:
        layout = Layout(
            format=str(frame["format"]),
            width=int(frame["width"]),
            height=int(frame["height"]),
            stride=int(frame["stride"]),
        )
        offset, size_bytes, captured_s = int(frame["offset"]), int(frame["size"]), float(frame["captured_s"])
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenBridgeError(f"the camera process describes a picture without {error}") from error
    image = to_bgr(bridge.memory(offset, size_bytes), layout)
    return Picture(image=image, captured_mono_s=captured_s)
