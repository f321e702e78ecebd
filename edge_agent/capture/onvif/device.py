"""Asks a camera's ONVIF device service which camera it is.

    its clock --GetSystemDateAndTime--> a login it takes --GetDeviceInformation--> maker, model, serial, firmware

Cameras without a time server drift, and refuse a login whose time is not theirs; everybody may ask for their time
(Core Specification, access class PRE_AUTH).
"""

from __future__ import annotations

import datetime
import secrets
from xml.etree.ElementTree import Element

from edge_agent.capture.onvif import soap
from edge_agent.capture.web import Place, Request, ask, refusal
from edge_agent.clock import Clock
from edge_agent.errors import CameraError
from edge_agent.records import CameraIdentity

TIMEOUT_S = 2.0

_DEVICE = "http://www.onvif.org/ver10/device/wsdl"
_INFORMATION, _TIME = (f'<{name} xmlns="{_DEVICE}"/>' for name in ("GetDeviceInformation", "GetSystemDateAndTime"))
_HEADERS = {"Content-Type": "application/soap+xml; charset=utf-8"}


def ask_identity(place: Place, clock: Clock, *, timeout_s: float = TIMEOUT_S) -> CameraIdentity:
    """Which camera answers at this place, with the place's login. Each step may take `timeout_s`.

    Raises:
        CameraError: it does not answer, refuses, or answers what cannot be read.
    """
    if place.username is None:
        return identity_in(_call(place, _INFORMATION, "", clock, timeout_s))
    try:
        utc_s = utc_in(_call(place, _TIME, "", clock, timeout_s))
    except CameraError:  # it may still take ours
        utc_s = clock.utc_s()
    nonce = secrets.token_bytes(16)
    login = soap.Login(username=place.username, password=place.password, nonce=nonce, utc_s=utc_s)
    return identity_in(_call(place, _INFORMATION, soap.security(login), clock, timeout_s))


def identity_in(content: bytes) -> CameraIdentity:
    """What a GetDeviceInformationResponse says.

    Raises:
        CameraError: it is a fault, or something else.
    """
    root = _answer(content, "GetDeviceInformationResponse")
    return CameraIdentity(
        vendor=soap.text_of(root, "Manufacturer"),
        model=soap.text_of(root, "Model"),
        serial=soap.text_of(root, "SerialNumber"),
        firmware=soap.text_of(root, "FirmwareVersion"),
    )


def utc_in(content: bytes) -> float:
    """Seconds since 1970 by the camera's clock, from a GetSystemDateAndTimeResponse.

    Raises:
        CameraError: it does not say, or says no date.
    """
    root = _answer(content, "GetSystemDateAndTimeResponse")
    moment = next(soap.named(root, "UTCDateTime"), root)
    try:
        year, month, day, hour, minute, second = (
            int(soap.text_of(moment, name) or "") for name in ("Year", "Month", "Day", "Hour", "Minute", "Second")
        )
        return datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.timezone.utc).timestamp()
    except (ValueError, OverflowError) as error:
        raise CameraError(f"its time cannot be read ({error})") from error


def _answer(content: bytes, name: str) -> Element:
    root = soap.parse(content)
    if (refused := soap.fault(root)) is not None:
        raise CameraError(f"it refuses: {refused}; check username, password and the rights of this user")
    found = next(soap.named(root, name), None)
    if found is None:
        raise CameraError(f"its answer holds no {name}; is this its ONVIF device service?")
    return found


def _call(place: Place, body: str, header: str, clock: Clock, timeout_s: float) -> bytes:
    reply = ask(place, Request(headers=_HEADERS, body=soap.envelope(body, header=header)), timeout_s=timeout_s)
    try:
        # A fault comes with 400 or 500 (SOAP 1.2 part 2, table 20); what else there is has no envelope.
        if reply.status not in (200, 400, 500):
            raise CameraError(refusal(reply, place))
        return reply.read(soap.MOST_ANSWER_BYTES, within_s=timeout_s, clock=clock)
    finally:
        reply.close()
