"""Models in use: a pointer that moves is followed, what cannot be loaded leaves the present model in force."""

import pytest

from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.processes.models_in_use import ModelsInUse
from edge_agent.sync.alarms import AlarmBook
from tests.fakes.tiny_model import tiny_bundle
from tests.waiting import until


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


@pytest.fixture
def staged(store, tmp_path):
    def stage(version):
        return store.stage(tiny_bundle(tmp_path / f"bundle-{version}", version=version))

    return stage


class Watched:
    """ModelsInUse with an alarm book, turned by hand."""

    def __init__(self, store, options=None):
        self.book = AlarmBook()
        self.models = ModelsInUse(
            store, options or RuntimeOptions(), "u8s8", lambda condition: self.book.note(condition, 0.0)
        )

    @property
    def alarms(self):
        return {(alarm.code, alarm.subject) for alarm in self.book.active}

    def turn(self):
        self.models.watch(["surface"])
        return self.models.poll()

    def digest(self):
        model = self.models.models.get("surface")
        return model.digest if model else None


def test_a_store_without_a_bundle_is_an_alarm_that_ends_when_one_is_activated(store, staged):
    watched = Watched(store)
    watched.models.start(["surface"])
    assert watched.alarms == {("model-failed", "surface")}
    assert watched.models.states(["surface"])[0].state == "failed"

    digest = staged("1")
    store.activate("surface", digest, RuntimeOptions())
    until(watched.turn)

    assert watched.digest() == digest
    assert watched.alarms == set()
    assert watched.models.states(["surface"])[0].state == "active"


def test_a_pointer_moved_by_another_process_is_followed_and_a_rollback_returns(store, staged):
    one, two = staged("1"), staged("2")
    store.activate("surface", one, RuntimeOptions())
    watched = Watched(store)
    watched.models.start(["surface"])

    store.activate("surface", two, RuntimeOptions())
    until(watched.turn)
    assert watched.digest() == two

    answers = []
    watched.models.roll_back("surface", answers.append)
    until(watched.turn)
    assert (watched.digest(), answers) == (one, [None])


def test_a_bundle_that_cannot_be_activated_leaves_the_present_one_in_force_and_the_sender_is_told(store, staged):
    one = staged("1")
    store.activate("surface", one, RuntimeOptions())
    watched = Watched(store)
    watched.models.start(["surface"])

    answers = []
    watched.models.activate("surface", "0" * 64, answers.append)
    until(lambda: watched.turn() or answers)

    assert watched.digest() == one
    assert "no bundle" in answers[0]
    assert watched.alarms == set()


def test_a_pointer_at_a_damaged_bundle_is_an_alarm_and_is_not_loaded_over_and_over(store, staged):
    one, two = staged("1"), staged("2")
    store.activate("surface", one, RuntimeOptions())
    watched = Watched(store)
    watched.models.start(["surface"])
    store.activate("surface", two, RuntimeOptions())
    head = store.manifest(two).head.sha256
    (store.root / "blobs" / head).write_bytes(b"rotten")

    until(lambda: watched.turn() or watched.alarms)

    assert watched.digest() == one
    assert watched.alarms == {("model-failed", "surface")}
    watched.models.watch(["surface"])
    assert watched.models.states(["surface"])[0].state == "failed"


def test_a_provider_that_is_not_in_use_is_its_own_alarm_never_a_silent_fall_back(store, staged):
    store.activate("surface", staged("1"), RuntimeOptions())
    watched = Watched(store, RuntimeOptions(providers=(("CUDAExecutionProvider", {}),)))

    watched.models.start(["surface"])

    assert watched.alarms == {("provider-fallback", "surface")}
    assert watched.digest() is None
