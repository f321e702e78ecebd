"""Other sites, other names and other methods get nowhere, and every answer says so to the browser."""

import http.client

import pytest

from tests.evidence.samples import identity
from tests.fakes.clock import FakeClock
from tests.review.plant import PASSWORD, fill, running

SAYS = {"sample": identity(1), "label": "ok"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """One page for all: nothing here gets through to it."""
    state_dir = tmp_path_factory.mktemp("state")
    fill(state_dir / "evidence", 2)
    with running(state_dir, FakeClock(), names=["GW-07.plant.local"]) as page:
        page.add("ann")
        page.add("eve")
        yield page


def events(page):
    with page.evidence() as (catalogue, _):
        return catalogue.events()


@pytest.mark.parametrize("origin", [None, "null", "https://evil.example", "http://127.0.0.1:1", "https://127.0.0.1"])
def test_a_form_of_another_site_is_refused_even_with_the_cookie_and_the_token(page, origin):
    client = page.logged_in("ann")
    token = client.token()
    client.origin = origin

    assert client.post("/label", token=token, **SAYS).status == 403
    assert events(page) == []


def test_a_login_from_another_site_is_refused(page):
    client = page.client(origin="https://evil.example")

    assert client.post("/login", name="ann", password=PASSWORD).status == 403
    assert client.cookies == {}


@pytest.mark.parametrize("path", ["/label", "/undo", "/skip", "/logout"])
def test_a_form_without_the_sessions_own_token_is_refused(page, path):
    ann, eve = page.logged_in("ann"), page.logged_in("eve")

    for token in (None, "", "x", eve.token(), "ü"):
        assert ann.post(path, token=token, **SAYS).status == 403
    assert events(page) == []
    assert ann.get("/queue").status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8480", "localhost.evil.example", "", "127.0.0.1.evil.example"]
)
def test_a_name_that_is_not_ours_is_refused_so_that_none_can_be_rebound_to_us(page, host):
    connection = http.client.HTTPConnection("127.0.0.1", page.port)
    connection.putrequest("GET", "/login", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()

    assert connection.getresponse().status == 421
    connection.close()


@pytest.mark.parametrize(
    "host", ["localhost:1", "LOCALHOST", "127.0.0.1", "10.0.0.7:8480", "[::1]:8480", "[::1]", "gw-07.plant.local"]
)
def test_addresses_localhost_and_the_names_of_the_configuration_are_ours(page, host):
    assert page.client(host=host).get("/login").status == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(page, method):
    assert page.client().send(method, "/queue").status == 405


def test_a_form_says_how_long_it_is_and_is_not_long(page):
    client = page.logged_in("ann")
    token = client.token()
    assert client.post("/label", token=token, note="x" * 20_000, **SAYS).status == 413

    connection = http.client.HTTPConnection("127.0.0.1", page.port)
    origin = f"http://127.0.0.1:{page.port}"
    connection.request(
        "POST", "/label", iter([b"token=x"]), {"Origin": origin, "Transfer-Encoding": "chunked"}, encode_chunked=True
    )
    assert connection.getresponse().status == 411
    connection.close()


@pytest.mark.parametrize("path", ["/login", "/queue", "/nowhere", "/static/review.css", f"/picture/{identity(1)}"])
def test_every_answer_forbids_what_the_page_does_not_need(page, path):
    headers = page.logged_in("ann").get(path).headers

    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/static/../people.py",
        "/static/%2e%2e/people.py",
        "/static/..%2fpeople.py",
        "/picture/../../../etc/passwd",
        "/picture/..%2f..%2fevidence.db",
        "/picture/%2e%2e%2fevidence.db",
        "/frame/..%2f..%2fetc%2fpasswd",
        "/sample/" + "A" * 5000,
    ],
)
def test_no_address_leads_out_of_what_the_page_shows(page, path):
    answer = page.logged_in("ann").get(path)

    assert answer.status == 404
    assert b"root:" not in answer.content
    assert b"SQLite format" not in answer.content
    assert b"scrypt" not in answer.content


def test_the_page_has_no_script_style_or_handler_of_its_own_text(page):
    client = page.logged_in("ann")

    for path in ("/login", "/queue", "/search", "/history", "/live", "/cameras", "/help", f"/sample/{identity(1)}"):
        text = client.get(path).text
        assert "<style" not in text
        assert "style=" not in text
        assert " on" + "click=" not in text
        assert text.count("<script") == text.count('<script src="/static/')
