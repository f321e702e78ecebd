"""What people say on the page stands in the book, under their name; and nobody hears another before they spoke."""

import contextlib
import re
import shutil

import pytest

from edge_agent.evidence.catalogue import Wanted
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.store import EvidenceStore
from edge_agent.records import Standing
from tests.evidence.samples import draft, identity
from tests.review.plant import fill, running


def shown(answer):
    """The sample that the queue shows."""
    found = re.search(r'<image href="/picture/([0-9A-Z]+)"', answer.text)
    return found and found[1]


def says(answer):
    return re.search(r'id="said"[^>]*>([^<]*)<', answer.text)[1]


def follow(client, answer):
    assert answer.status == 303, answer.text
    return client.get(answer.at)


def test_a_label_is_written_under_the_persons_name_and_the_next_picture_comes(page):
    client = page.logged_in("ann")
    first = shown(client.get("/queue"))

    after = follow(client, client.act("/label", sample=first, label="scratch"))

    assert says(after) == "Labelled scratch."
    assert shown(after) != first
    assert "1 of 12" in after.text
    with page.evidence() as (catalogue, _):
        (event,) = catalogue.events(first)
        assert (event.by, event.label, event.source, event.adjudicator) == ("ann", "scratch", LabelSource.PAGE, False)
        assert catalogue.sample(first).truth == "scratch"


def test_a_picture_comes_as_it_was_kept_and_only_to_people(page):
    answer = page.logged_in("ann").get(f"/picture/{identity(1)}")

    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    with contextlib.closing(EvidenceStore(page.state_dir / "evidence")) as store, page.evidence() as (catalogue, _):
        assert answer.content == store.database.pictures.read(catalogue.sample(identity(1)).file)


def test_where_the_model_saw_a_defect_lies_over_the_picture(page):
    client = page.logged_in("ann")
    with page.evidence() as (catalogue, _):
        samples = catalogue.find(Wanted())
        hot = next(one.id for one in samples if one.where is not None)
        cold = next(one.id for one in samples if one.where is None)
        kept = catalogue.heat(hot)

    assert f'href="/heat/{hot}"' in client.get(f"/queue?sample={hot}").text
    answer = client.get(f"/heat/{hot}")
    assert (answer.status, answer.headers["content-type"], answer.content) == (200, "image/png", kept)
    assert "/heat/" not in client.get(f"/queue?sample={cold}").text
    assert client.get(f"/heat/{cold}").status == 404


def test_what_the_model_said_is_on_the_page_for_eyes_and_for_ears(page):
    text = page.logged_in("ann").get(f"/queue?sample={identity(1)}").text

    with page.evidence() as (catalogue, _):
        sample = catalogue.sample(identity(1))
    assert f"Defect score {sample.score:.2f}, threshold 0.60" in text
    assert f"part {sample.part}, model says {sample.verdict.value}" in text
    assert sample.part in text


def test_undo_takes_the_last_word_back_and_shows_that_picture_again(page):
    client = page.logged_in("ann")
    first = shown(client.get("/queue"))
    client.act("/label", sample=first, label="pit")

    again = follow(client, client.act("/undo"))

    assert says(again) == "Took back pit: not labelled."
    assert shown(again) == first
    assert "0 of 12" in again.text


def test_undo_without_anything_to_take_back_says_so(page):
    client = page.logged_in("ann")

    assert says(follow(client, client.act("/undo"))) == "Ann has no label to take back."


def test_nobody_takes_back_anothers_word(page):
    page.logged_in("ann").act("/label", sample=identity(1), label="pit")
    eve = page.logged_in("eve")

    eve.act("/undo", sample=identity(1), next="history")

    with page.evidence() as (catalogue, _):
        assert catalogue.sample(identity(1)).truth == "pit"


def test_what_is_skipped_comes_when_everything_else_is_done(page):
    client = page.logged_in("ann")
    first = shown(client.get("/queue"))
    after = follow(client, client.act("/skip", sample=first))
    assert shown(after) != first

    for _ in range(11):
        after = follow(client, client.act("/label", sample=shown(after), label="ok"))
    assert "You skipped 1." in after.text
    assert shown(follow(client, client.act("/skip"))) == first


def test_a_new_class_is_made_only_on_purpose(page):
    client = page.logged_in("ann")

    refused = follow(client, client.act("/label", sample=identity(1), label="burr"))
    assert says(refused) == "Unknown class &#39;burr&#39;."
    made = follow(client, client.act("/label", sample=identity(1), label="burr", new_class="1"))
    assert says(made) == "Labelled burr."
    assert 'value="burr"' in made.text


def test_keys_stay_where_they_were_when_a_class_is_added(page):
    client = page.logged_in("ann")

    def keys(answer):
        return dict(re.findall(r'value="(\w+)" data-key="(.)"', answer.text))

    before = keys(client.get("/queue"))
    assert before["ok"] == "1"
    with page.evidence() as (_, book):
        book.declare("surface", ["aaa"])
    after = keys(client.get("/queue"))
    assert after == {**before, "aaa": str(len(before) + 1)}


def test_a_picture_that_had_to_go_meanwhile_is_said_and_the_next_one_comes(page):
    client = page.logged_in("ann")

    after = follow(client, client.act("/label", sample=identity(99), label="ok"))
    assert "its picture was not kept, or had to go since" in says(after)
    assert shown(after) is not None


def test_a_second_person_does_not_hear_the_first_before_they_have_spoken(two_opinions):
    ann, bob = two_opinions.logged_in("ann"), two_opinions.logged_in("bob")
    first = shown(ann.get("/queue"))
    ann.act("/label", sample=first, label="stain", note="by the edge")

    asked = bob.get("/queue")
    assert shown(asked) == first
    assert "A second opinion" in asked.text
    for text in (asked.text, bob.get(f"/sample/{first}").text, bob.get("/history").text):
        assert "by the edge" not in text
        assert "aria-pressed" not in text.replace('aria-pressed="false"', "")
        assert "ann says" not in text
        assert '<strong class="label">stain' not in text

    agreed = follow(bob, bob.act("/label", sample=first, label="stain"))
    assert says(agreed) == "Labelled stain."
    assert "by the edge" in bob.get(f"/sample/{first}").text


def test_people_who_differ_make_a_dispute_that_an_adjudicator_ends(two_opinions):
    ann, bob, eve = (two_opinions.logged_in(name) for name in ("ann", "bob", "eve"))
    ann.act("/label", sample=identity(3), label="stain")
    said = says(follow(bob, bob.act("/label", sample=identity(3), label="pit")))
    assert said == "Labelled pit: disputed."

    text = re.sub(r"<[^>]+>", "", eve.get("/disputes").text)
    assert "ann says stain" in text
    assert "bob says pit" in text
    done = follow(eve, eve.act("/label", sample=identity(3), label="pit", decides="1", note="deep", next="disputes"))
    assert says(done) == "Labelled pit."
    assert "Nobody differs about anything" in done.text
    with two_opinions.evidence() as (catalogue, _):
        assert catalogue.sample(identity(3)).truth == "pit"
        assert (catalogue.events(identity(3))[-1].adjudicator, catalogue.events(identity(3))[-1].note) == (True, "deep")


def test_a_reviewer_decides_nothing_by_saying_so_in_the_form(two_opinions):
    ann, bob = two_opinions.logged_in("ann"), two_opinions.logged_in("bob")
    ann.act("/label", sample=identity(3), label="stain")

    bob.act("/label", sample=identity(3), label="pit", decides="1")

    with two_opinions.evidence() as (catalogue, _):
        assert catalogue.sample(identity(3)).standing is Standing.DISPUTED
        assert not any(event.adjudicator for event in catalogue.events(identity(3)))


HOSTILE = "<script>x</script>"


def test_names_from_outside_are_text_and_nothing_else(tmp_path, clock):
    fill(tmp_path / "evidence", 1)
    with contextlib.closing(EvidenceStore(tmp_path / "evidence")) as store:
        store.add([draft(77, part='"><img src=x>', label=HOSTILE, recipe="<b>", camera="<i>", group="'<u>")])
    with running(tmp_path, clock) as page:
        page.add("<em>ann</em>")
        client = page.logged_in("<em>ann</em>")
        client.act("/label", sample=identity(77), label="</main><h1>", new_class="1", note="<svg onload=x>")
        for path in (
            "/queue",
            "/search",
            "/history",
            "/cameras",
            "/live",
            f"/sample/{identity(77)}",
            f"/queue?sample={identity(77)}",
        ):
            text = client.get(path + ("&" if "?" in path else "?") + "text=%3Cs%3E&camera=%3Ci%3E").text
            for piece in (
                "<script>x",
                "<img src=x",
                "<em>ann",
                "</main><h1>",
                "<svg onload",
                "<s>",
                "<b>",
                "<i>",
                "<u>",
            ):
                assert piece not in text


@pytest.mark.parametrize("next_page", ["https://evil.example", "//evil.example", "/logout", ""])
def test_a_form_leads_only_to_pages_of_ours(page, next_page):
    client = page.logged_in("ann")

    assert client.act("/skip", sample=identity(1), next=next_page).at == "/queue"


def test_a_sealed_picture_may_be_labelled_and_is_marked(page):
    with page.evidence() as (catalogue, _):
        sealed = next(one.id for one in catalogue.find(Wanted(sealed=True)))
    client = page.logged_in("ann")

    assert "Sealed: tests models" in client.get(f"/queue?sample={sealed}").text
    client.act("/label", sample=sealed, label="ok")
    with page.evidence() as (catalogue, _):
        assert catalogue.sample(sealed).truth == "ok"


def test_before_anything_is_kept_the_page_says_so_and_goes_on_by_itself_when_something_is(tmp_path, clock):
    with running(tmp_path, clock) as page:
        page.add("ann")
        client = page.logged_in("ann")
        answer = client.get("/queue")
        assert (answer.status, "no pictures are kept yet" in answer.text) == (503, True)
        assert not (tmp_path / "evidence").exists()

        fill(tmp_path / "evidence", 2)
        assert client.get("/queue").status == 200


def test_a_damaged_store_is_said_and_the_page_lives(page):
    client = page.logged_in("ann")
    (page.state_dir / "evidence" / "evidence.db").write_bytes(b"no database" * 1000)
    for name in ("evidence.db-wal", "evidence.db-shm"):
        (page.state_dir / "evidence" / name).unlink(missing_ok=True)

    answer = client.get("/queue")
    assert (answer.status, "evidence repair" in answer.text) == (503, True)
    assert client.get("/help").status == 200


def test_a_picture_whose_bytes_changed_is_not_handed_out(page):
    with page.evidence() as (catalogue, _):
        file = page.state_dir / "evidence" / catalogue.sample(identity(1)).file
    file.write_bytes(b"something else")

    answer = page.logged_in("ann").get(f"/picture/{identity(1)}")
    assert (answer.status, b"something else" in answer.content) == (404, False)


def test_pictures_that_vanish_as_a_whole_are_said(page):
    shutil.rmtree(page.state_dir / "evidence" / "open")

    assert page.logged_in("ann").get("/queue").status == 503
