"""Search, history, cameras and the live view show what there is, and no more than a person may see."""

import re

import pytest

from edge_agent.evidence.catalogue import Wanted
from edge_agent.evidence.labels import LabelSource
from edge_agent.review.office import CameraNow, Floor
from tests.evidence.samples import identity
from tests.fakes.clock import FakeClock
from tests.review.plant import fill, running


def found(answer):
    assert answer.status == 200
    return {int(part) - 1000 for part in re.findall(r"· A(\d+)", answer.text)}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Somebody before a store in which ann has said two things."""
    state_dir = tmp_path_factory.mktemp("state")
    fill(state_dir / "evidence")
    with running(state_dir, FakeClock()) as page:
        page.add("ann")
        with page.evidence() as (_, book):
            book.say(identity(2), "ok", by="ann", source=LabelSource.PAGE)
            book.say(identity(4), "pit", by="ann", source=LabelSource.TERMINAL)
        yield page.logged_in("ann")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", set(range(1, 13))),
        ("camera=press-4-side", {3, 6, 9, 12}),
        ("text=a1007", {7}),
        ("text=" + identity(5)[:26].lower(), {5}),
        ("text=nothing+like+it", set()),
        ("label=ok&standing=labelled", {2}),
        ("standing=labelled&by=ann", {2, 4}),
        ("by=nobody", set()),
        ("standing=nonsense&verdict=X&kept=Y&since=yesterday&page=x", set(range(1, 13))),
        ("since=2026-01-01&until=2026-01-02", set()),
        ("page=99999", set()),
        ("page=%C2%B2", set(range(1, 13))),
    ],
)
def test_a_search_finds_exactly_what_was_asked_for(searched, query, expected):
    assert found(searched.get(f"/search?{query}")) == expected


def test_a_search_by_verdict_and_day_agrees_with_the_store(page):
    with page.evidence() as (catalogue, _):
        failed = {int(one.part[1:]) - 1000 for one in catalogue.find(Wanted()) if one.verdict.value == "FAIL"}
    client = page.logged_in("ann")

    assert found(client.get("/search?verdict=FAIL")) == failed
    assert found(client.get("/search?since=2026-09-21&until=2026-09-21")) == set(range(1, 13))


def test_a_long_search_has_pages_that_keep_what_was_asked(tmp_path, clock):
    fill(tmp_path / "evidence", 30)
    with running(tmp_path, clock) as page:
        page.add("ann")
        client = page.logged_in("ann")
        first = client.get("/search?text=A10")
        older = re.search(r'href="(/search\?[^"]*page=1)"', first.text)[1].replace("&amp;", "&")
        second = client.get(older)

        assert len(found(first)) == 24
        assert found(first) | found(second) == set(range(1, 31))
        assert "Older" not in second.text


def test_the_history_says_who_said_what_when_and_what_was_taken_back(page):
    client = page.logged_in("ann")
    client.act("/label", sample=identity(1), label="ok")
    client.act("/label", sample=identity(2), label="pit")
    client.act("/undo")

    text = client.get("/history").text
    assert re.findall(r'<strong class="label">(\w+)</strong>', text) == ["pit", "ok"]
    assert "taken back" in text
    assert text.count(">Undo</button>") == 1
    assert "2026-09-21T" in text


def test_an_own_word_can_be_taken_back_from_the_history(page):
    client = page.logged_in("ann")
    client.act("/label", sample=identity(1), label="ok")
    client.act("/label", sample=identity(2), label="pit")

    assert client.act("/undo", sample=identity(1), next="history").at == "/history"
    with page.evidence() as (catalogue, _):
        assert (catalogue.sample(identity(1)).truth, catalogue.sample(identity(2)).truth) == (None, "pit")


def test_the_history_of_one_person_is_theirs_alone(page):
    ann, eve = page.logged_in("ann"), page.logged_in("eve")
    ann.act("/label", sample=identity(1), label="ok")
    eve.act("/label", sample=identity(2), label="pit")

    assert re.findall(r'<strong class="label">(\w+)</strong>', ann.get("/history?by=eve").text) == ["pit"]


def test_the_cameras_page_counts_by_camera_and_class(page):
    client = page.logged_in("ann")
    client.act("/label", sample=identity(3), label="ok")

    rows = re.findall(r'scope="row">(?:<a[^>]*>)?([\w-]+)(.*?)</tr>', client.get("/cameras").text, re.DOTALL)
    numbers = {name: re.findall(r'"number">(\d+)<', rest) for name, rest in rows}
    assert numbers["press-4-side"][:5] == ["4", "3", "0", "0", "1"]
    assert numbers["press-3-top"][:5] == ["8", "8", "0", "0", "0"]
    assert sorted(numbers["ok"]) == ["0", "1"]


NOW = CameraNow(state="streaming", fps=9.8, passed=120, failed=3, held=1, yield_share=0.97, last="FAIL scratch A7")


def test_the_live_view_shows_the_frame_where_there_is_one_and_says_where_there_is_none(tmp_path, clock):
    fill(tmp_path / "evidence", 3)
    watched = []
    floor = Floor(
        cameras=lambda: {"press-3-top": NOW, "press-4-side": NOW, "new": NOW},
        picture=lambda camera: b"\xff\xd8jpeg" if camera == "press-3-top" else None,
        watched=lambda: watched.append(1),
    )
    with running(tmp_path, clock, floor=floor) as page:
        page.add("ann")
        client = page.logged_in("ann")
        text = client.get("/live").text

        assert 'src="/frame/press-3-top?' in text
        assert text.count("Not live: the newest picture that was kept") == 1
        assert "No picture yet" in text
        assert "FAIL scratch A7" in text
        assert watched == [1]
        assert client.get("/frame/press-3-top").content == b"\xff\xd8jpeg"
        assert client.get("/frame/press-4-side").status == 404


def test_the_live_view_without_inspection_shows_what_was_kept_last(page):
    text = page.logged_in("ann").get("/live").text

    assert "inspection is not running" in text
    assert text.count("Not live") == 2


def test_the_live_view_lives_without_a_store(tmp_path, clock):
    with running(tmp_path, clock) as page:
        page.add("ann")
        assert "No camera is known yet" in page.logged_in("ann").get("/live").text
