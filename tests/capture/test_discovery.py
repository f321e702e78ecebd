"""Cameras are found by one probe: a real responder on loopback that answers well, twice, wrongly, and with malice."""

from __future__ import annotations

import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.onvif import soap
from edge_agent.capture.onvif.discovery import MULTICAST, Discovered, cameras_in, discover, probe
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from tests.fakes.onvif_camera import Responder

WAIT_S = 0.3
SCOPES = (
    "onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/Acme%20Eye onvif://www.onvif.org/hardware/E4"
)


def match(addresses, scopes=SCOPES):
    """What a camera answers, as a function of the probe's MessageID."""

    def answer(identity):
        return (
            '<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"'
            ' xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"'
            ' xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing">'
            f"<s:Header><w:RelatesTo>{identity}</w:RelatesTo></s:Header><s:Body><d:ProbeMatches><d:ProbeMatch>"
            f"<d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>{scopes}</d:Scopes><d:XAddrs>{addresses}</d:XAddrs>"
            "</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"
        ).encode()

    return answer


EYE = "http://10.0.0.12/onvif/device_service"


def found_by(*answers):
    with Responder(*answers) as responder:
        return discover(SystemClock(), target=responder.target, wait_s=WAIT_S)


def test_each_camera_is_found_once_with_its_name_and_model_in_the_order_of_addresses():
    cameras, ignored = found_by(match("http://10.0.0.7/onvif/device_service", ""), match(EYE), match(EYE))

    assert cameras == (
        Discovered(service=EYE, name="Acme Eye", model="E4"),
        Discovered(service="http://10.0.0.7/onvif/device_service"),
    )
    assert ignored == 0


def test_where_nobody_answers_nothing_is_found_in_time():
    clock = SystemClock()
    begun_s = clock.mono_s()

    assert found_by() == ((), 0)
    assert clock.mono_s() - begun_s < WAIT_S + 0.5


def test_the_first_address_that_can_be_one_is_taken():
    cameras, _ = found_by(match(f"urn:x ftp://a/b http:// http://a:b/ http://user:pw@x/ {EYE} http://[fe80::1]/onvif"))

    assert [camera.service for camera in cameras] == [EYE]


@pytest.mark.parametrize(
    "hostile",
    [
        lambda _identity: b"no xml",
        lambda _identity: b"",
        lambda _identity: match(EYE)("uuid:somebody-elses"),
        match(""),
        match("x" * 60_000),
        lambda identity: b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + match(EYE)(identity),
        lambda identity: f"<a><RelatesTo>{identity}</RelatesTo></a>".encode(),
    ],
)
def test_a_hostile_answer_is_ignored_and_counted_and_the_others_are_heard(hostile):
    cameras, ignored = found_by(hostile, match(EYE))

    assert [camera.service for camera in cameras] == [EYE]
    assert ignored == 1


def test_what_a_camera_calls_itself_can_be_printed():
    (camera,) = found_by(match(EYE, "onvif://www.onvif.org/name/%1b%5B31m" + "x" * 500))[0]

    assert camera.name.startswith("[31mxxx")
    assert len(camera.name) == soap.MOST_TEXT_CHARS


def test_the_probe_asks_for_video_and_carries_its_own_name():
    with Responder() as responder:
        discover(SystemClock(), target=responder.target, wait_s=WAIT_S)
        discover(SystemClock(), target=responder.target, wait_s=WAIT_S)

    one, other = responder.probes
    assert "<d:Types>n:NetworkVideoTransmitter</d:Types>" in one
    assert one != other
    assert soap.text_of(soap.parse(probe("uuid:1")), "MessageID") == "uuid:1"


def test_a_closed_port_finds_nothing():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        target = unused.getsockname()

    assert discover(SystemClock(), target=target, wait_s=WAIT_S) == ((), 0)


def test_without_a_network_it_is_said(monkeypatch):
    monkeypatch.setattr("socket.if_nameindex", list)

    with pytest.raises(CameraError, match=r"cannot ask 239\.255\.255\.250:3702: no network interface"):
        discover(SystemClock(), target=MULTICAST, wait_s=WAIT_S)


def test_a_network_that_carries_nothing_is_said(monkeypatch):
    def unreachable(*_args):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket.socket, "sendto", unreachable)
    with pytest.raises(CameraError, match=r"cannot ask .*: Network is unreachable"):
        discover(SystemClock(), target=MULTICAST, wait_s=WAIT_S)


@given(st.binary(max_size=300))
def test_any_bytes_are_cameras_or_a_camera_error(content):
    with contextlib.suppress(CameraError):
        assert cameras_in(content, "uuid:1")
