"""Addresses: what can be written, what a wrong one is told, and that no password is ever repeated."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.addresses import SCHEMES, fault_of, parse, with_login
from edge_agent.capture.sources import OPENERS, opener
from edge_agent.config.redact import redact
from edge_agent.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "scheme", "target", "options"),
    [
        ("rtsp://10.0.0.12/stream1", "rtsp", "rtsp://10.0.0.12/stream1", {}),
        ("rtsps://cam:322/a?b=c&d=e", "rtsps", "rtsps://cam:322/a?b=c&d=e", {}),
        ("http://cam:8080/mjpeg?fps=5", "http", "http://cam:8080/mjpeg?fps=5", {}),
        ("v4l2:/dev/v4l/by-id/usb-Cam-index0", "v4l2", "/dev/v4l/by-id/usb-Cam-index0", {}),
        (
            "v4l2:///dev/v4l/by-path/pci-0?width=1280&height=720",
            "v4l2",
            "/dev/v4l/by-path/pci-0",
            {"width": "1280", "height": "720"},
        ),
        ("folder:/srv/parts", "folder", "/srv/parts", {}),
        ("folder:parts?watch=1", "folder", "parts", {"watch": "1"}),
        ("video:clips/a.mp4", "video", "clips/a.mp4", {}),
        ("synthetic:scratches", "synthetic", "scratches", {}),
        ("synthetic:lyon?seed=7", "synthetic", "lyon", {"seed": "7"}),
    ],
)
def test_each_scheme_is_read(text, scheme, target, options):
    address = parse(text)

    assert (address.scheme, address.target, dict(address.options)) == (scheme, target, options)
    assert address.warning is None
    assert fault_of(text) is None


def test_a_bare_video_device_is_accepted_with_advice():
    assert "by-id or /dev/v4l/by-path" in parse("v4l2:/dev/video0").warning


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected one of: rtsp://"),
        ("0", "expected one of"),
        ("ftp://cam/mjpeg", "expected one of"),
        ("http:///mjpeg", "names no host, expected http://"),
        ("rtsp://", "names no host"),
        ("rtsp:///stream1", "names no host"),
        ("rtsp://cam:99999/x", "is no URL"),
        ("v4l2:video0", "expected v4l2:/dev/v4l/by-id/NAME"),
        ("v4l2:/dev/v4l/by-id/x?width=wide", "option width is 'wide'"),
        ("folder:", "names no path"),
        ("folder:/srv?wacth=1", "unknown option 'wacth', folder knows: loop, watch"),
        ("folder:/srv?watch=yes", "option watch is 'yes'"),
        ("video:", "names no path"),
        ("video:a.mp4?loop=1", "video knows: none"),
        ("synthetic:", "expected scratches | pits"),
        ("synthetic:Two Words", "or the name of a plant"),
    ],
)
def test_a_wrong_address_is_told_what_is_allowed(text, words):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert fault_of(text) == str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://user:hunter2@cam/stream1",
        "rtsp://user:hunter2@cam:99999/stream1",
        "rtsp://user:hunter2/x@cam/stream1",
        "rtsp://user:hunter2@x@cam/stream1",
        "rtsp://cam/live?user=admin&password=hunter2",
        "rtsp://cam/user=admin_password=hunter2_channel=1.sdp",
        "rtsps://:hunter2@cam/",
        "htsp://user:hunter2@cam/",
        "http://user:hunter2@cam/mjpeg",
        "two rtsp://u:hunter2@a/ and rtsp://u:hunter2@b/x of them",
    ],
)
def test_credentials_appear_nowhere(text):
    assert "hunter2" not in redact(text)
    assert "hunter2" not in (fault_of(text) or "")
    if fault_of(text) is None:
        assert "hunter2" not in f"{parse(text)} {parse(text)!r}"


@given(st.text(max_size=40), st.sampled_from(["", *(f"{name}:" for name in SCHEMES), "rtsp://"]))
def test_any_text_is_an_address_or_a_configuration_error(text, start):
    fault = fault_of(start + text)
    assert fault is None or "expected" in fault or "knows" in fault


def test_a_password_in_the_address_is_advised_against():
    assert "!secret" in parse("rtsp://user:hunter2@cam/stream1").warning


def test_a_login_is_added_to_a_stream_and_hidden_again():
    address = with_login(parse("rtsp://cam:554/a?b=1"), "op@plant", "p/w:@#?")

    assert address.target == "rtsp://op%40plant:p%2Fw%3A%40%23%3F@cam:554/a?b=1"
    assert str(address) == "rtsp://***@cam:554/a?b=1"
    with pytest.raises(ConfigError, match="names a user already"):
        with_login(address, "other", "x")
    with pytest.raises(ConfigError, match="takes no username"):
        with_login(parse("folder:/srv"), "u", "p")


def test_redacting_leaves_an_address_without_credentials_alone():
    for text in ("rtsp://10.0.0.12/stream1", "folder:/srv/parts?watch=1", "v4l2:/dev/v4l/by-id/usb@1.2"):
        assert redact(text) == text


def test_every_scheme_has_an_opener():
    assert SCHEMES.keys() == OPENERS.keys()
    assert all(callable(opener(scheme)) for scheme in OPENERS)
