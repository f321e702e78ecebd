"""The door to HTTP cameras: places, logins, and what any server may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.capture.web import Request, _authorization, place_of, shown

PLACE = place_of("https://op%40plant:p%2Fw@cam:8443/live?channel=1")


def test_a_place_is_what_the_address_says_without_its_login_in_sight():
    assert (PLACE.scheme, PLACE.host, PLACE.port, PLACE.target) == ("https", "cam", 8443, "/live?channel=1")
    assert (PLACE.username, PLACE.password) == ("op@plant", "p/w")
    assert "p/w" not in repr(PLACE)
    assert place_of("http://[fe80::1]").where == "[fe80::1]:80"
    assert place_of("http://cam").target == "/"


@pytest.mark.parametrize(
    "challenges",
    [
        ['Basic realm="x"', 'Digest realm="x", nonce="1", qop="auth", algorithm=MD5'],
        ['Digest realm="x", nonce="1", qop="auth", algorithm=SHA-256', 'Digest realm="x", nonce="1", algorithm=MD5'],
        ['DIGEST realm="x", nonce="1"'],
    ],
)
def test_the_login_that_hides_the_password_is_preferred_and_one_that_we_do_not_know_is_passed_over(challenges):
    answer = _authorization(challenges, PLACE, Request())

    assert answer.startswith('Digest username="op@plant"')
    assert "p/w" not in answer


@given(st.lists(st.one_of(st.text(max_size=60), st.text(max_size=60).map("Digest ".__add__)), max_size=3))
def test_any_challenge_is_answered_or_left(challenges):
    answer = _authorization(challenges, PLACE, Request(body=b"x"))

    assert answer is None or answer.startswith(("Basic ", "Digest "))


@given(st.text(max_size=400))
def test_what_a_server_says_is_shown_on_one_short_line(words):
    line = shown(words)

    assert len(line) <= 120
    assert line.isprintable()
