"""Each step of a model leaves its line before it is taken, with who stands for it; what cannot be told is not done."""

import pytest

from edge_agent.errors import BadBundleError, StorageFullError
from edge_agent.models.journal import Event, Journal
from edge_agent.models.store import ModelStore
from edge_agent.storage import replace_file
from tests.fakes.tiny_model import tiny_bundle


@pytest.fixture
def two(store, tmp_path, runtime):
    """Two bundles; the second is active, the first was before."""
    digests = [store.stage(tiny_bundle(tmp_path / str(n), version=str(n), seed=n), by="operator ana") for n in (1, 2)]
    for digest in digests:
        store.activate("surface", digest, runtime, by="operator ben")
    return digests


def steps(store):
    return [(step.event, step.digest, step.from_digest, step.by) for step in store.journal.read().steps]


def full(_root, _line):
    raise StorageFullError("no space left")


def blind(store):
    """The same store with a journal that finds no room."""
    return ModelStore(store.root, journal=Journal(store.root, append=full))


def test_import_activation_and_rollback_are_told_with_who_and_from_what(store, two):
    one, other = two
    store.roll_back("surface", by="operator eva", reasons=("false alarms",))

    assert steps(store) == [
        (Event.IMPORTED, one, None, "operator ana"),
        (Event.IMPORTED, other, None, "operator ana"),
        (Event.ACTIVATED, one, None, "operator ben"),
        (Event.ACTIVATED, other, one, "operator ben"),
        (Event.ROLLED_BACK, one, other, "operator eva"),
    ]
    assert store.journal.read().steps[-1].reasons == ("false alarms",)


def test_what_changes_nothing_leaves_no_line(store, two, tmp_path, runtime):
    before = steps(store)

    store.stage(tmp_path / "1")
    store.activate("surface", two[1], runtime)
    with pytest.raises(BadBundleError):
        store.activate("screws", two[0], runtime)
    with pytest.raises(BadBundleError):
        store.roll_back("screws")

    assert steps(store) == before


def test_an_activation_that_cannot_be_told_is_refused_aloud_and_changes_nothing(store, two, runtime):
    with pytest.raises(StorageFullError):
        blind(store).activate("surface", two[0], runtime)

    assert (store.active("surface"), store.previous("surface")) == (two[1], two[0])


def test_a_bundle_whose_coming_in_cannot_be_told_does_not_come_in(store, two, tmp_path):
    with pytest.raises(StorageFullError):
        blind(store).stage(tiny_bundle(tmp_path / "3", version="3", seed=3))

    assert len(store.list()) == 2


def test_a_rollback_that_cannot_be_told_is_done_and_the_log_tells_of_it(store, two, caplog):
    assert blind(store).roll_back("surface", by="operator eva") == two[0]

    assert store.active("surface") == two[0]
    assert "audit=unwritten" in caplog.text
    assert "operator eva" in caplog.text


def test_a_pointer_that_cannot_be_written_leaves_a_line_that_says_so(store, two, runtime):
    def write(path, content):
        if "pointers" in path.parts:
            raise StorageFullError("no space left for the pointer")
        replace_file(path, content)

    with pytest.raises(StorageFullError):
        ModelStore(store.root, write=write).activate("surface", two[0], runtime, by="operator eva")

    assert store.active("surface") == two[1]
    assert [event for event, *_ in steps(store)][-2:] == [Event.ACTIVATED, Event.FAILED]
    assert store.journal.read().steps[-1].reasons == ("activated: no space left for the pointer",)
