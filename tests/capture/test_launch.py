"""Pipelines as text: what is added, what is filled in, what is wrong before GStreamer sees it, what is never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.addresses import fault_of, parse
from edge_agent.capture.launch import OUR_END, complete, elements, fault_in, fill, quoted
from edge_agent.config.redact import redact
from edge_agent.errors import ConfigError

SECRET = "hunter2"  # noqa: S105 - of no camera at all


@pytest.mark.parametrize(
    "text", ["videotestsrc", "videotestsrc ! ", " videotestsrc is-live=true !  video/x-raw,width=8"]
)
def test_a_pipeline_without_an_appsink_gets_ours(text):
    whole = complete(text)

    assert whole.endswith(f" ! {OUR_END}")
    assert "! !" not in whole
    assert complete(whole) == whole


@pytest.mark.parametrize("text", ["a ! appsink", "a ! tee name=t ! queue ! appsink sync=false t. ! queue ! udpsink"])
def test_an_appsink_of_its_own_is_respected(text):
    assert complete(text) == text


def test_the_word_appsink_inside_a_value_is_no_element():
    assert complete('filesrc location="x ! appsink"').endswith(OUR_END)


def test_elements_are_named_in_order_without_caps_properties_and_pads():
    text = "a b=c ! video/x-raw(memory:NVMM),width=8 ! ( queue name=\"x ! y\" ! t. ! d3 q='a b' ) ! e-f"

    assert elements(text) == ("a", "queue", "d3", "e-f")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("! a", "no element before the `!` at character 1"),
        ("a ! ! b", "no element before the `!` at character 5"),
        ('a b="c ! d', "the quote at character 5 is not closed"),
        ("a b='c\" ! d", "the quote at character 5 is not closed"),
    ],
)
def test_broken_links_and_quotes_are_found_with_their_place(text, words):
    assert words in fault_in(text)
    assert words in fault_of(f"gstreamer:{text}")


def test_a_pipeline_may_hold_what_other_addresses_use_as_signs():
    text = "souphttpsrc location=http://cam/a?b=c&d=e:f ! jpegdec"
    address = parse(f"gstreamer:{text}")

    assert (address.scheme, address.target, dict(address.options)) == ("gstreamer", text, {})
    assert str(address) == f"gstreamer:{text}"


@given(st.text(max_size=30))
def test_any_value_is_one_quoted_value(value):
    text = fill("a location={url} ! b n={number}", {"url": value, "number": 7})

    assert fault_in(text) is None
    assert elements(text) == ("a", "b")
    assert text.endswith(" ! b n=7")
    assert quoted(value) in text


def test_a_template_that_asks_for_more_than_there_is_says_so():
    with pytest.raises(ConfigError, match=r"pipeline asks for \{sensor\}, there is: fps, width"):
        fill("a id={sensor}", {"width": 1, "fps": 2})


@pytest.mark.parametrize(
    "text",
    [
        f"rtspsrc location=rtsp://cam/x user-id=op user-pw={SECRET} ! a",
        f'rtspsrc user-pw="a b {SECRET}" ! a',
        f'rtspsrc user-pw="a \\" {SECRET}" ! a',
        f"rtspsrc user-pw = 'a {SECRET}' ! a",
        f"rtspsrc user-pw=a\\ {SECRET} ! a",
        f"rtspsrc user-pw=a!b&{SECRET} ! a",
        f"rtspsrc location=rtsp://op:{SECRET}@cam/x ! a",
        f"rtspsrc location=rtsp://cam/x?password={SECRET} ! a",
        f"srtsrc passphrase={SECRET} ! a",
        f'souphttpsrc extra-headers="h,Authorization=(string)\\"Basic {SECRET}\\"" ! a',
        f'rtspsrc user-pw="never closed {SECRET} ! a',
    ],
)
def test_credentials_of_a_pipeline_appear_nowhere(text):
    assert SECRET not in redact(text)
    fault = fault_of(f"gstreamer:{text}")
    if fault is None:
        address = parse(f"gstreamer:{text}")
        assert SECRET not in f"{address} {address!r}"
        assert "everyone who reads the file sees" in address.warning
    else:
        assert SECRET not in fault


def test_redacting_leaves_a_pipeline_without_credentials_alone():
    text = "v4l2src device=/dev/video0 ! image/jpeg,width=1280 ! jpegdec ! videoconvert ! appsink name=user drop=true"

    assert redact(text) == text
