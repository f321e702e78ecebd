"""Models in use: a pointer that moves is followed, what cannot be loaded leaves the present model in force."""

import threading

import pytest

from edge_agent.clock import SystemClock
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.processes.models_in_use import ModelsInUse
from edge_agent.sync.alarms import AlarmBook
from tests.fakes.clock import FakeClock
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

    def __init__(self, store, options=None, clock=None):
        self.rung = threading.Event()
        self.book = AlarmBook()
        self.progress = []
        self.models = ModelsInUse(
            store,
            options or RuntimeOptions(),
            "u8s8",
            lambda condition: self.book.note(condition, 0.0),
            clock or SystemClock(),
            self.rung.set,
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
    watched.models.start(["surface"], watched.progress.append)
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
    watched.models.start(["surface"], watched.progress.append)

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
    watched.models.start(["surface"], watched.progress.append)

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
    watched.models.start(["surface"], watched.progress.append)
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

    watched.models.start(["surface"], watched.progress.append)

    assert watched.alarms == {("provider-fallback", "surface")}
    assert watched.digest() is None


class Building(ModelStore):
    """A store on a device whose provider takes its time over an engine: until `built` is set."""

    def __init__(self, root):
        super().__init__(root)
        self.built = threading.Event()

    def builds_engine(self, digest, runtime, flavour="u8s8"):
        return not self.built.is_set()

    def verify(self, digest, runtime, flavour="u8s8"):
        assert self.built.wait(10)
        return super().verify(digest, runtime, flavour)


@pytest.fixture
def building(tmp_path):
    store = Building(tmp_path / "models")
    return store, [store.stage(tiny_bundle(tmp_path / f"bundle-{version}", version=version)) for version in "12"]


def test_while_an_engine_is_built_the_model_before_it_judges_and_the_state_says_how_long_it_takes(building):
    store, (one, two) = building
    store.built.set()
    clock = FakeClock()
    watched = Watched(store, clock=clock)
    store.activate("surface", one, RuntimeOptions())
    watched.models.start(["surface"], watched.progress.append)

    store.built.clear()
    answers = []
    watched.models.activate("surface", two, answers.append)
    assert watched.models.poll()
    states = []
    for _ in range(3):
        clock.advance(10)
        assert watched.models.poll()
        states.append(watched.models.states(["surface"])[0])
    store.built.set()
    until(lambda: watched.turn() and watched.digest() == two)

    assert {(state.state, state.active) for state in states} == {("loading", one)}
    assert [state.reason.rpartition(" for ")[2] for state in states] == ["10 s", "20 s", "30 s"]
    assert "building an engine for CPUExecutionProvider" in states[0].reason
    assert answers == [None]
    assert watched.models.states(["surface"])[0].reason is None


def test_a_start_that_waits_for_an_engine_says_so_again_and_again(building):
    store, (one, _) = building
    store.built.set()
    store.activate("surface", one, RuntimeOptions())
    store.built.clear()
    watched = Watched(store)

    def heard(words):
        watched.progress.append(words)
        if len(watched.progress) == 2:
            store.built.set()

    watched.models.start(["surface"], heard)

    assert watched.digest() == one
    assert len(watched.progress) == 2
    assert all("model surface: building an engine" in words for words in watched.progress)


def test_a_model_that_is_loaded_rings_so_that_nobody_waits_for_the_next_look(store, staged):
    watched = Watched(store)
    store.activate("surface", staged("1"), RuntimeOptions())

    watched.turn()

    assert watched.rung.wait(20)
    watched.models.poll()
    assert watched.digest() == store.active("surface")
