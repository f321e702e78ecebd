"""Which cameras can be reached from here: on USB, on the network (ONVIF), GenICam. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edge_agent.capture.bridge import Bridge
from edge_agent.capture.onvif.discovery import MULTICAST, discover
from edge_agent.capture.sysfs import identity_of
from edge_agent.clock import Clock
from edge_agent.device.video import stable_cameras
from edge_agent.errors import CameraError
from edge_agent.processes.identities import describe
from edge_agent.records import CameraIdentity

# aravis asks every network for half a second and every USB camera for its description.
GENICAM_WAIT_S = 10.0
PATH_OF_STREAM = "PATH-OF-ITS-STREAM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One camera: how it is reached, what it says of itself, and the keys that a configuration needs for it."""

    kind: str
    where: str
    what: str
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Everything in sight; `remarks` say what could not be looked for, or was ignored."""

    sights: tuple[Sight, ...]
    remarks: tuple[str, ...]


def look_around(clock: Clock, *, root: Path = Path("/"), target: tuple[str, int] = MULTICAST) -> Outlook:
    """Look for cameras of every kind. `target` is where ONVIF's probe goes; takes a few seconds."""
    parts = (_on_usb(root), _on_network(clock, target), _genicam())
    return Outlook(
        sights=tuple(sight for part in parts for sight in part.sights),
        remarks=tuple(remark for part in parts for remark in part.remarks),
    )


def _on_usb(root: Path) -> Outlook:
    sights = []
    for camera in stable_cameras(root / "dev/v4l"):
        identity = identity_of(camera.node.name, root / "sys")
        what = describe(identity) if identity is not None else "says nothing of itself"
        sights.append(Sight(kind="v4l2", where=str(camera.link), what=what, keys={"source": f"v4l2:{camera.link}"}))
    return Outlook(sights=tuple(sights), remarks=())


def _on_network(clock: Clock, target: tuple[str, int]) -> Outlook:
    try:
        cameras, ignored = discover(clock, target=target)
    except CameraError as error:
        return Outlook(sights=(), remarks=(f"onvif: {error}",))
    sights = []
    for camera in cameras:
        host = urlsplit(camera.service).netloc.rpartition(":")[0] or urlsplit(camera.service).netloc
        what = ", ".join(word for word in (camera.name, camera.model) if word) or "says nothing of itself"
        keys = {"source": f"rtsp://{host}/{PATH_OF_STREAM}", "onvif": camera.service}
        sights.append(Sight(kind="onvif", where=camera.service, what=what, keys=keys))
    remarks = (f"onvif: {ignored} answers were none and are ignored",) if ignored else ()
    return Outlook(sights=tuple(sights), remarks=remarks)


def _genicam() -> Outlook:
    try:
        bridge = Bridge()
        try:
            found = bridge.ask({"stack": "genicam-list"}, GENICAM_WAIT_S).get("open", {}).get("cameras", [])
        finally:
            bridge.close()
    except CameraError as error:
        return Outlook(sights=(), remarks=(f"genicam: {error}",))
    return Outlook(sights=tuple(_genicam_sight(camera) for camera in found), remarks=())


def _genicam_sight(said: Mapping[str, Any]) -> Sight:
    words = {name: str(value) for name, value in said.items() if value}
    identity = CameraIdentity(vendor=words.get("vendor"), model=words.get("model"), serial=words.get("serial"))
    where = words.get("serial") or words.get("address") or words.get("id", "")
    return Sight(kind="genicam", where=where, what=describe(identity), keys={"source": f"genicam:{where}"})
