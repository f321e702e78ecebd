"""Which network cameras there are: one WS-Discovery probe, and whoever answers in time (ONVIF Core Specification,
section 7; WS-Discovery, April 2005).

    Probe --UDP multicast 239.255.255.250:3702--> every camera of this network segment
    ProbeMatches <--UDP-- each, with the address of its device service, and scopes that hold name and model

Anybody may answer anything: what is no answer to our probe, or names no address, is counted and ignored.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from xml.etree.ElementTree import Element

from edge_agent.capture.onvif import soap
from edge_agent.clock import Clock
from edge_agent.errors import CameraError

MULTICAST = ("239.255.255.250", 3702)
# Cameras spread their answers over half a second (WS-Discovery, section 3.1.3: APP_MAX_DELAY 500 ms).
WAIT_S = 2.0
# Routers are not crossed: what answers stands in this segment.
HOPS = 1
MOST_ANSWERS = 1024

_ACTION = "http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe"
_ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
_SCOPE = re.compile(r"onvif://www\.onvif\.org/(name|hardware)/(\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """One camera. `service` is the address of its device service; `name` and `model` as its scopes say."""

    service: str
    name: str | None = None
    model: str | None = None


def discover(
    clock: Clock, *, target: tuple[str, int] = MULTICAST, wait_s: float = WAIT_S
) -> tuple[tuple[Discovered, ...], int]:
    """The cameras that answer, each once, by address; and how many answers were none.

    Raises:
        CameraError: the probe cannot be sent: no network, or no route for multicast.
    """
    identity = f"uuid:{uuid.uuid4()}"
    found: dict[str, Discovered] = {}
    ignored = 0
    for content in _answers(probe(identity), clock, target, wait_s):
        cameras = _cameras_or_none(content, identity)
        ignored += not cameras
        for camera in cameras:
            found.setdefault(camera.service, camera)
    return tuple(sorted(found.values(), key=lambda camera: camera.service)), ignored


def probe(identity: str) -> bytes:
    """The question for every network video transmitter, with this MessageID."""
    header = (
        f'<a:Action xmlns:a="{_ADDRESSING}">{_ACTION}</a:Action>'
        f'<a:MessageID xmlns:a="{_ADDRESSING}">{identity}</a:MessageID>'
        f'<a:To xmlns:a="{_ADDRESSING}">urn:schemas-xmlsoap-org:ws:2005:04:discovery</a:To>'
    )
    body = (
        '<d:Probe xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"'
        ' xmlns:n="http://www.onvif.org/ver10/network/wsdl"><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe>'
    )
    return soap.envelope(body, header=header)


def cameras_in(content: bytes, identity: str) -> tuple[Discovered, ...]:
    """The cameras of one answer to the probe with this MessageID.

    Raises:
        CameraError: it is none.
    """
    root = soap.parse(content)
    if soap.text_of(root, "RelatesTo") != identity:
        raise CameraError("an answer to somebody else's question, or to none")
    cameras = tuple(_camera(match) for match in soap.named(root, "ProbeMatch"))
    if not cameras:
        raise CameraError("an answer without a camera")
    return cameras


def _cameras_or_none(content: bytes, identity: str) -> tuple[Discovered, ...]:
    try:
        return cameras_in(content, identity)
    except CameraError:
        return ()


def _camera(match: Element) -> Discovered:
    # A camera names an address for each of its networks; the first that can be one is taken.
    services = (soap.words_of(match, "XAddrs") or "").split()
    service = next((service for service in services if _is_service(service)), None)
    if service is None:
        raise CameraError("an answer that names no address")
    scopes = dict(_SCOPE.findall(soap.words_of(match, "Scopes") or ""))
    return Discovered(service=service, name=_said(scopes.get("name")), model=_said(scopes.get("hardware")))


def _is_service(text: str) -> bool:
    if not (text.isascii() and text.isprintable() and len(text) <= soap.MOST_TEXT_CHARS):
        return False
    try:
        parts = urlsplit(text)
        usual = parts.scheme in ("http", "https") and parts.port != 0
    except ValueError:
        return False
    return usual and parts.hostname is not None and parts.username is None


def _said(words: str | None) -> str | None:
    return None if words is None else soap.printable(unquote(words))


def _answers(question: bytes, clock: Clock, target: tuple[str, int], wait_s: float) -> Iterator[bytes]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        _send(link, question, target)
        due_s = clock.mono_s() + wait_s
        for _ in range(MOST_ANSWERS):
            left_s = due_s - clock.mono_s()
            if left_s <= 0:
                return
            link.settimeout(left_s)
            try:
                yield link.recv(soap.MOST_ANSWER_BYTES + 1)
            except TimeoutError:
                return
            except ConnectionRefusedError:  # nobody listens at a target on loopback
                return


def _send(link: socket.socket, question: bytes, target: tuple[str, int]) -> None:
    """Ask on every interface: a gateway's cameras often stand in a network of their own, behind no default route."""
    link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, HOPS)
    try:
        address = socket.gethostbyname(target[0])
    except OSError as error:
        raise CameraError(f"the name {target[0]} is not known") from error
    faults = []
    for index, _name in socket.if_nameindex():
        # struct ip_mreqn (ip(7)): group, local address, interface
        link.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s4si", bytes(4), bytes(4), index))
        try:
            link.sendto(question, (address, target[1]))
        except OSError as error:  # an interface that is down, or has no address
            faults.append(error)
        else:
            if not ipaddress.ip_address(address).is_multicast:
                return
    if len(faults) == len(socket.if_nameindex()):
        why = faults[0].strerror if faults else "no network interface"
        raise CameraError(f"cannot ask {target[0]}:{target[1]}: {why}")
