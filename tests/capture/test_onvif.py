"""A camera is asked over ONVIF which one it is: a real service on loopback, honest, strict, slow, silent, hostile."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.onvif import soap
from edge_agent.capture.onvif.device import ask_identity, identity_in, utc_in
from edge_agent.capture.sources.identified import FIRST_RETRY_S, IdentifiedSource
from edge_agent.capture.web import place_of
from edge_agent.clock import SystemClock
from edge_agent.errors import CameraError
from edge_agent.records import CameraIdentity
from tests.capture.watching import Rig, picture
from tests.fakes.camera import FAULT, FakeCamera
from tests.fakes.clock import FakeClock
from tests.fakes.onvif_camera import HEAD, TAIL, OnvifCamera, information
from tests.waiting import until

SECRET = "s3:c/r@t<&"  # noqa: S105 - of a camera that lives for a second
ACME = CameraIdentity(vendor="Acme", model="Eye 4", serial="A1", firmware="1.3.0")


def asked(camera, username=None, password="", timeout_s=1.0):
    place = replace(place_of(camera.url), username=username, password=password)
    return ask_identity(place, SystemClock(), timeout_s=timeout_s)


def refused(camera, **how):
    with pytest.raises(CameraError) as caught:
        asked(camera, **how)
    return str(caught.value)


def test_an_open_camera_says_which_one_it_is():
    with OnvifCamera() as camera:
        assert asked(camera) == ACME
        assert camera.asked == ["GetDeviceInformation"]


@pytest.mark.parametrize("slow_s", [0, 86_400 * 365, -3600])
def test_a_login_is_taken_by_the_cameras_own_clock_however_wrong_it_is(slow_s):
    with OnvifCamera(login=("op", SECRET), slow_s=slow_s) as camera:
        assert asked(camera, "op", SECRET) == ACME


def test_a_login_that_is_asked_for_as_web_servers_do_is_given_so():
    with OnvifCamera(http_login=("op", SECRET)) as camera:
        assert asked(camera, "op", SECRET) == ACME
        assert "401: it wants a user and a password and did not take these" in refused(camera, username="op")


def test_a_wrong_or_missing_password_is_said_and_not_shown():
    with OnvifCamera(login=("op", SECRET)) as camera:
        message = refused(camera, username="op", password=f"wrong-{SECRET}")

        assert "it refuses: Sender not Authorized (env:Sender, ter:NotAuthorized); check username" in message
        assert SECRET not in message
        assert "it refuses" in refused(camera)


def test_a_camera_that_says_nothing_is_left_at_the_time_out():
    clock = SystemClock()
    with OnvifCamera(mute=True) as camera:
        begun_s = clock.mono_s()
        assert "does not answer within 0.2 s" in refused(camera, timeout_s=0.2)
        assert clock.mono_s() - begun_s < 1.0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "no XML"),
        (b"<html><body>camera</body></html>", "holds no GetDeviceInformationResponse"),
        (b"\xff\xfe<\0a\0/\0>\0", "no UTF-8"),
        (b"x" * 70_000, "more than 65536 bytes"),
        (
            b'<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>',
            "declarations",
        ),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "declarations"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer, words):
    with OnvifCamera(answer=answer) as camera:
        assert words in refused(camera)


def test_what_a_camera_says_of_itself_is_cut_and_made_printable():
    content = HEAD + information("9" * 5000, firmware=" \n ", model="Eye\t\x7f4") + TAIL

    found = identity_in(content.encode())

    assert found == CameraIdentity(vendor="Acme", model="Eye4", serial="9" * 128, firmware=None)


def test_names_are_known_whatever_their_namespace():
    content = b"<e><b><GetDeviceInformationResponse xmlns='x'><SerialNumber>7</SerialNumber></GetDeviceInformationResponse></b></e>"

    assert identity_in(content) == CameraIdentity(serial="7")


@pytest.mark.parametrize("inside", ["", "<Year>x</Year>", "<Year>2026</Year><Month>13</Month>"])
def test_a_time_that_is_none_is_refused(inside):
    moment = f"<a><GetSystemDateAndTimeResponse><UTCDateTime>{inside}</UTCDateTime></GetSystemDateAndTimeResponse></a>"
    with pytest.raises(CameraError, match="its time cannot be read"):
        utc_in(moment.encode())


def test_the_password_digest_is_that_of_the_profile():
    # Worked by hand from WS-Security UsernameToken Profile 1.0, section 3.1, and checked with openssl.
    login = soap.Login(username="a<b", password="secret", nonce=bytes(range(16)), utc_s=1_700_000_000.0)  # noqa: S106

    token = soap.security(login)

    assert "<w:Username>a&lt;b</w:Username>" in token
    assert ">AAECAwQFBgcICQoLDA0ODw==<" in token
    assert ">2023-11-14T22:13:20.000Z<" in token
    assert ">L+LjmbVqUZDPRVePCHyHvbHovtU=<" in token


@given(st.binary(max_size=200))
def test_any_bytes_are_an_identity_or_a_camera_error(content):
    with contextlib.suppress(CameraError):
        assert isinstance(identity_in(content), CameraIdentity)


def test_the_stream_does_not_wait_for_onvif_and_later_pictures_know_the_camera():
    answer = threading.Event()

    def ask():
        answer.wait(10)
        return ACME

    def make(stop):
        source = FakeCamera(stop, [picture(level) for level in range(100, 110)], pace=pace)
        return IdentifiedSource(source, ask, SystemClock())

    pace = threading.Semaphore(1)
    heard = []
    with Rig(on_identity=lambda _camera, identity: heard.append(identity)) as rig:
        rig.start(make)
        assert rig.frame().device is None
        answer.set()
        until(lambda: not any(thread.name == "onvif" for thread in threading.enumerate()))
        pace.release()
        assert rig.frame().device == ACME
        pace.release(100)

    assert heard == [None, ACME]


def test_a_camera_whose_onvif_comes_up_later_is_asked_again():
    answers = [CameraError("not yet"), CameraError("not yet"), ACME]

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, CameraError):
            raise answer
        return answer

    clock = FakeClock()
    source = IdentifiedSource(FakeCamera(threading.Event()), ask, clock)
    source.open()
    until(lambda: source.identity)

    assert clock.mono_s() >= 3 * FIRST_RETRY_S
    source.close()
    assert source.identity is None


def test_a_stream_that_does_not_open_ends_the_question():
    source = IdentifiedSource(FakeCamera(threading.Event(), opens=FAULT), lambda: ACME, SystemClock())
    with pytest.raises(CameraError):
        source.open()
    source.close()

    assert source.identity is None
