"""Labels written down: each once, none for what is not there, every one of them to be taken back."""

import contextlib
import threading

import pytest

from edge_agent.errors import BadEvidenceError, BadLabelError, TransientError
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource, opinion
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.records import KeepReason, Standing
from tests.evidence.disks import small_disk
from tests.evidence.samples import draft, identity
from tests.fakes.clock import FakeClock

PAGE = LabelSource.PAGE
RULES = StoreRules(bounds=Bounds(floor_bytes=0))


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(EvidenceStore(tmp_path, StoreRules(bounds=Bounds(floor_bytes=0)))) as store:
        store.add([draft(number) for number in range(4)])
        yield store


@pytest.fixture
def book(store):
    book = LabelBook(store, FakeClock())
    book.declare("surface", ["ok", "dent"])
    return book


@pytest.fixture
def catalogue(store):
    return Catalogue(store.database)


def test_a_label_stands_at_once_and_who_said_it_is_known(book, catalogue):
    assert book.say(identity(1), "dent", by="ann", source=PAGE, note="left edge").truth == "dent"

    (event,) = catalogue.events(identity(1))
    assert (event.by, event.label, event.source, event.note) == ("ann", "dent", PAGE, "left edge")
    assert catalogue.sample(identity(1)).standing is Standing.LABELLED


def test_an_unknown_id_is_refused_and_says_why_it_may_be_gone(book):
    with pytest.raises(BadLabelError, match="its picture was not kept, or had to go since"):
        book.say(identity(99), "dent", by="ann", source=PAGE)


def test_an_unknown_class_is_refused_and_what_a_model_said_is_a_class(book, catalogue):
    with pytest.raises(BadLabelError, match="did you mean 'dent'"):
        book.say(identity(1), "dnt", by="ann", source=PAGE)

    assert catalogue.events() == []
    assert book.say(identity(1), "scratch", by="ann", source=PAGE).truth == "scratch"
    assert book.say(identity(2), "hole", by="ann", source=PAGE, new_class=True).truth == "hole"
    assert catalogue.classes("surface") == {"ok", "dent", "scratch", "hole"}


def test_people_who_contradict_each_other_make_a_dispute_that_a_third_ends(book, catalogue):
    book.say(identity(1), "dent", by="ann", source=PAGE)
    disputed = book.say(identity(1), "ok", by="bob", source=PAGE)
    assert (disputed.standing, disputed.truth) == (Standing.DISPUTED, None)
    assert catalogue.find(Wanted(standing=Standing.DISPUTED)) == [disputed]

    assert book.say(identity(1), "ok", by="eve", source=PAGE).truth == "ok"


def test_a_label_sent_twice_counts_once_and_its_id_cannot_say_something_else(book, catalogue):
    first = book.say(identity(1), "dent", by="ann", source=LabelSource.MQTT, identity="c1")
    again = book.say(identity(1), "dent", by="ann", source=LabelSource.MQTT, identity="c1")

    assert first == again
    assert len(catalogue.events()) == 1
    with pytest.raises(BadLabelError, match="is known as 'dent'"):
        book.say(identity(1), "ok", by="ann", source=LabelSource.MQTT, identity="c1")


def test_undo_goes_back_through_a_person_s_own_labels_and_no_further(book, catalogue):
    book.say(identity(1), "dent", by="ann", source=PAGE)
    book.say(identity(2), "ok", by="ann", source=PAGE)
    book.say(identity(1), "ok", by="ann", source=PAGE)
    book.say(identity(3), "ok", by="bob", source=PAGE)

    taken = [book.undo(by="ann", source=PAGE) for _ in range(3)]

    assert [(event.label, sample.truth) for event, sample in taken] == [("ok", "dent"), ("ok", None), ("dent", None)]
    with pytest.raises(BadLabelError, match="ann has no label to take back"):
        book.undo(by="ann", source=PAGE)
    assert catalogue.sample(identity(3)).truth == "ok"
    with pytest.raises(BadLabelError, match="ann has no label of sample"):
        book.undo(by="ann", source=PAGE, sample=identity(3))


def test_what_the_store_says_of_a_sample_is_what_its_events_amount_to(book, store, catalogue):
    for number, (by, label) in enumerate(
        [("ann", "ok"), ("bob", "dent"), ("ann", "dent"), ("eve", "ok"), ("bob", "ok")]
    ):
        book.say(identity(1), label, by=by, source=PAGE)
        if number % 2:
            book.undo(by=by, source=PAGE, sample=identity(1))
        said = opinion(catalogue.events(identity(1)), 1)
        found = catalogue.sample(identity(1))
        assert (found.standing, found.truth) == (said.standing, said.truth)


def test_undo_passes_over_samples_that_had_to_go(book, store):
    book.say(identity(1), "dent", by="ann", source=PAGE)
    book.say(identity(2), "dent", by="ann", source=PAGE)
    with store.database.writing() as connection:
        connection.execute("DELETE FROM sample WHERE id = ?", (identity(2),))

    event, _ = book.undo(by="ann", source=PAGE)
    assert event.sample == identity(1)


def test_two_people_in_two_processes_at_once_lose_no_label(tmp_path, book, catalogue):
    def label(by):
        with contextlib.closing(EvidenceStore(tmp_path)) as own:
            for _ in range(15):
                LabelBook(own, FakeClock()).say(identity(1), "dent", by=by, source=PAGE)

    threads = [threading.Thread(target=label, args=(by,)) for by in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(catalogue.events(identity(1))) == 30


def test_the_queue_brings_disputes_then_second_opinions_then_what_the_model_was_least_sure_of(tmp_path):
    with contextlib.closing(
        EvidenceStore(tmp_path / "two", StoreRules(bounds=Bounds(floor_bytes=0), people_needed=2))
    ) as store:
        scores = {1: 0.99, 2: 0.72, 3: 0.1, 4: 0.9, 5: 0.95, 6: 0.3}
        store.add([draft(number, score=score) for number, score in scores.items()])
        store.add([draft(7, score=0.0, kept=(KeepReason.UNLIKE,)), draft(8, score=None, threshold=None)])
        book, catalogue = LabelBook(store, FakeClock()), Catalogue(store.database)
        book.declare("surface", ["ok", "dent"])
        book.say(identity(4), "ok", by="ann", source=PAGE)
        book.say(identity(5), "ok", by="ann", source=PAGE)
        book.say(identity(5), "dent", by="bob", source=PAGE)

        def order(by):
            return [sample.id for sample in catalogue.queue(by, limit=10)]

        rest = [identity(number) for number in (7, 2, 1, 6, 3, 8)]
        assert order("eve") == [identity(5), identity(4), *rest]
        assert order("ann") == rest
        assert order("bob") == [identity(4), *rest]
        assert catalogue.waiting("ann") == 6


def test_samples_are_found_by_their_part_and_by_who_labelled_them(tmp_path):
    with contextlib.closing(EvidenceStore(tmp_path / "parts", StoreRules(bounds=Bounds(floor_bytes=0)))) as store:
        store.add([draft(1, part="A1"), draft(2, part="A2"), draft(3, part="A1", camera="side")])
        LabelBook(store, FakeClock()).say(identity(2), "scratch", by="ann", source=PAGE)
        catalogue = Catalogue(store.database)

        def found(**wanted):
            return {sample.id for sample in catalogue.find(Wanted(**wanted))}

        assert found(part="A1") == {identity(1), identity(3)}
        assert found(part="A1", camera="side") == {identity(3)}
        assert found(labelled_by="ann") == {identity(2)}
        assert found(labelled_by="bob") == set()


def test_a_sample_is_found_by_the_beginning_of_its_id(catalogue):
    assert catalogue.sample(identity(1).lower()).id == identity(1)
    with pytest.raises(BadEvidenceError, match="more than one"):
        catalogue.sample(identity(1)[:5])
    for wrong in ("ZZZ", ""):
        with pytest.raises(BadEvidenceError, match="sample begins"):
            catalogue.sample(wrong)


def test_a_label_that_the_full_disk_does_not_take_is_refused_whole_and_taken_when_there_is_room():
    with small_disk() as disk:
        with contextlib.closing(EvidenceStore(disk.root / "evidence", RULES)) as store:
            store.add([draft(1)])
            book = LabelBook(store, FakeClock())
            book.declare("surface", ["ok", "dent"])
            said = []

            def go_on_labelling():
                while len(said) < 20_000:
                    said.append(book.say(identity(1), ("ok", "dent")[len(said) % 2], by="ann", source=PAGE))

            disk.fill(leave_bytes=0)
            with pytest.raises(TransientError, match=str(disk.root)):
                go_on_labelling()
        # Opened anew, as after a restart.
        disk.free()
        with contextlib.closing(EvidenceStore(disk.root / "evidence", RULES)) as store:
            sample, events = (
                Catalogue(store.database).sample(identity(1)),
                Catalogue(store.database).events(identity(1)),
            )
            assert len(events) == len(said)
            assert sample.truth == (events[0].label if events else None)
            assert LabelBook(store, FakeClock()).say(identity(1), "dent", by="ben", source=PAGE)
