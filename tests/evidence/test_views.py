"""What learning may see, and what only the gate may."""

import contextlib

import pytest

from edge_agent.errors import BadEvidenceError, SealedEvidenceError, TransientError
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules, Vector
from edge_agent.evidence.views import GateView, LearnerView
from tests.evidence.samples import draft, identity
from tests.fakes.clock import FakeClock

NUMBERS = range(40)


@pytest.fixture
def store(tmp_path):
    rules = StoreRules(bounds=Bounds(floor_bytes=0), seal=SealRules(share=0.4))
    with contextlib.closing(EvidenceStore(tmp_path, rules)) as store:
        store.add([draft(number) for number in NUMBERS])
        book = LabelBook(store, FakeClock())
        for number in NUMBERS[:30]:
            book.say(identity(number), "dent", by="ann", source=LabelSource.PAGE, new_class=True)
        yield store


@pytest.fixture
def sides(store):
    catalogue = Catalogue(store.database)
    open_, sealed = (catalogue.find(Wanted(sealed=side), limit=-1) for side in (False, True))
    assert len(open_) > 5
    assert len(sealed) > 5
    return open_, sealed


@pytest.fixture
def audit():
    return []


@pytest.fixture
def views(store, tmp_path, audit):
    def note(event, facts):
        audit.append((event, facts))

    with (
        contextlib.closing(LearnerView(tmp_path, note)) as learner,
        contextlib.closing(GateView(tmp_path, note)) as gate,
    ):
        yield learner, gate


def test_the_learner_and_the_gate_share_the_labelled_samples_between_them(views, sides):
    open_, sealed = sides
    learner, gate = views

    def labelled(samples):
        return {sample.id for sample in samples if sample.truth is not None}

    assert {lesson.sample.id for lesson in learner.lessons("surface")} == labelled(open_)
    assert {lesson.sample.id for lesson in gate.lessons("surface")} == labelled(sealed)
    assert {sample.id for sample in learner.unlabelled("surface", 99)} == {s.id for s in open_} - labelled(open_)
    assert learner.lessons("other") == []


def test_the_learner_is_refused_a_sealed_sample_in_every_way_and_each_time_leaves_an_audit_line(views, sides, audit):
    learner, _ = views
    sealed = sides[1][0]
    vector = Vector(encoder="e", scale="s", value=b"\x01")

    for reach in (
        lambda: learner.sample(sealed.id),
        lambda: learner.picture(sealed.id),
        lambda: learner.keep_vectors({sealed.id: vector}),
    ):
        with pytest.raises(SealedEvidenceError, match="sealed, and kept for the gate"):
            reach()

    assert (
        audit == [("sealed-evidence-refused", {"sample": sealed.id, "group": sealed.group, "view": "LearnerView"})] * 3
    )


def test_the_gate_is_refused_what_may_have_been_learned_from(views, sides, audit):
    _, gate = views
    with pytest.raises(SealedEvidenceError, match="may have been learned from"):
        gate.picture(sides[0][0].id)
    assert len(audit) == 1
    assert gate.picture(sides[1][0].id)


def test_the_sealed_pictures_can_be_taken_from_the_learner_altogether(views, sides, tmp_path):
    (tmp_path / "sealed").rename(tmp_path / "hidden")
    learner, _ = views

    assert [learner.picture(sample.id) for sample in sides[0]]


def test_vectors_are_kept_by_encoder_and_come_back_with_the_lessons(views, sides):
    learner, _ = views
    one = next(sample for sample in sides[0] if sample.truth)
    first = Vector(encoder="e1", scale="s", value=b"\x80\x7f\x00")
    learner.keep_vectors({one.id: Vector(encoder="e1", scale="s", value=b"old")})
    learner.keep_vectors({one.id: first})
    learner.keep_vectors({one.id: Vector(encoder="e2", scale="s", value=b"other")})

    by_id = {lesson.sample.id: lesson for lesson in learner.lessons("surface", "e1")}
    assert by_id[one.id].vector == first
    assert [lesson.vector for lesson in by_id.values()].count(None) == len(by_id) - 1


def test_a_vector_goes_with_its_sample(views, sides, store):
    learner, _ = views
    one = sides[0][0]
    learner.keep_vectors({one.id: Vector(encoder="e", scale="s", value=b"x")})
    store.rules = StoreRules(bounds=Bounds(limit_bytes=1, floor_bytes=0))
    with contextlib.suppress(TransientError):
        store.make_room(0)
    with store.database.writing() as connection:
        store_ids = {row["id"] for row in connection.execute("SELECT id FROM sample")}
        vectors = {row["sample"] for row in connection.execute("SELECT sample FROM vector")}
    assert vectors <= store_ids
    with pytest.raises(BadEvidenceError, match="no sample"):
        learner.keep_vectors({identity(999): Vector(encoder="e", scale="s", value=b"x")})


def test_a_damaged_picture_is_told_and_the_others_are_read(views, sides, tmp_path):
    learner, _ = views
    bad, good = sides[0][:2]
    (tmp_path / bad.file).write_bytes(b"damaged")

    with pytest.raises(BadEvidenceError, match="not those that were kept"):
        learner.picture(bad.id)
    assert learner.picture(good.id)


def test_a_lesson_names_the_source_of_the_word_that_stands(store, views, sides):
    learner, _ = views
    one = next(sample for sample in sides[0] if sample.truth)
    book = LabelBook(store, FakeClock())
    book.say(one.id, "ok", by="ann", source=LabelSource.TERMINAL, new_class=True)

    lesson = next(lesson for lesson in learner.lessons("surface") if lesson.sample.id == one.id)
    assert (lesson.sample.truth, lesson.source) == ("ok", LabelSource.TERMINAL)


def test_there_is_no_view_of_a_store_that_is_not_there(tmp_path):
    with pytest.raises(TransientError, match="no evidence yet"):
        LearnerView(tmp_path / "nowhere")
