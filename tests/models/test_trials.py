"""Trials in the store: one file moves the pointer and the trial together, and what was turned down stays out."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import BadBundleError, StorageFullError
from edge_agent.learn.head import LinearHead
from edge_agent.learn.release import Event, Stage
from edge_agent.learn.tally import CELLS, Tally
from edge_agent.models.encoder import Encoder, RuntimeOptions
from edge_agent.models.pointer import Pointer
from edge_agent.models.store import ModelStore
from edge_agent.models.trial import Trial
from edge_agent.storage import replace_file
from tests.fakes.tiny_model import tiny_bundle, tiny_head, tiny_onnx

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
counts = st.integers(0, 2**40)
tallies = st.builds(
    Tally,
    verdicts=st.lists(counts, min_size=CELLS, max_size=CELLS).map(tuple),
    cleared=st.lists(counts, min_size=CELLS, max_size=CELLS).map(tuple),
    blamed=counts,
    alone=counts,
    slow=counts,
    timed=counts,
    reference_slow=counts,
    candidate_ms=st.floats(0, 1e9),
)


def made(**more):
    fields = {
        "candidate": digests,
        "reference": digests,
        "stage": st.sampled_from(Stage),
        "since_utc_s": st.floats(0, 2e9),
        "by": st.text(max_size=20),
        "reasons": st.lists(st.text(max_size=40), max_size=3).map(tuple),
        "shadow": tallies,
        "probation": tallies,
        "crashes": st.integers(0, 9),
        "in_use": st.booleans(),
    }
    return st.builds(Trial, **fields, **more)


pointers = st.builds(
    Pointer,
    active=digests,
    previous=st.none() | digests,
    trial=st.none() | made(resting=st.none() | made()),
    rejected=st.lists(digests, max_size=3).map(tuple),
)


@pytest.fixture
def base(store, pristine, runtime):
    """The digest of the active bundle."""
    return store.activate("surface", store.stage(pristine), runtime).digest


@pytest.fixture
def heads(store, base):
    """The digests of three new heads for the same encoder."""
    encoder = Encoder.from_bytes(tiny_onnx().SerializeToString(), RuntimeOptions())
    return [store.with_head(base, _head(encoder, seed), f"head-{seed}") for seed in (5, 6, 7)]


def _head(encoder, seed) -> LinearHead:
    return tiny_head(encoder, seed=seed)


def proposed(store, digest):
    return store.propose("surface", digest, reasons=("tests",))


def steps(store):
    return [step.event.value for step in store.journal.read().steps]


# --- the file ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(pointer=pointers)
def test_what_was_written_is_read(pointer):
    assert Pointer.from_bytes(pointer.to_bytes()) == pointer


@settings(deadline=None, max_examples=50)
@given(pointer=pointers, data=st.data())
def test_a_trial_that_is_damaged_has_ended_and_the_pointer_stands(pointer, data):
    plain = json.loads(pointer.to_bytes())
    if plain["trial"] is None:
        return
    key = data.draw(st.sampled_from(sorted(set(plain["trial"]) - {"by", "resting"})))
    plain["trial"][key] = {"no": "such value"}
    found = Pointer.from_bytes(json.dumps(plain).encode())
    assert (found.active, found.previous, found.trial) == (pointer.active, pointer.previous, None)


def test_a_pointer_of_an_earlier_version_is_read(base):
    assert Pointer.from_bytes(json.dumps({"active": base, "previous": None}).encode()).trial is None


# --- the way of a candidate ----------------------------------------------------------------------------------------


def test_a_candidate_goes_from_shadow_to_force_and_is_kept(store, base, heads):
    proposed(store, heads[0])
    assert store.active("surface") == base

    store.trials.settle("surface", heads[0], Event.SOUND, reasons=("fine",))
    assert (store.active("surface"), store.previous("surface")) == (heads[0], base)
    assert store.trial("surface").stage is Stage.PROBATION
    store.trials.settle("surface", heads[0], Event.SOUND)

    assert store.trial("surface").stage is Stage.KEPT
    assert steps(store)[-2:] == ["promoted", "kept"]


def test_a_candidate_that_is_worse_is_dismissed_or_rolled_back_and_never_comes_again_whatever_its_digest(
    store, base, heads, runtime
):
    proposed(store, heads[0])
    store.trials.settle("surface", heads[0], Event.WORSE, reasons=("differs",))
    proposed(store, heads[1])
    store.trials.settle("surface", heads[1], Event.SOUND)
    store.trials.settle("surface", heads[1], Event.WORSE, reasons=("slow",))

    assert (store.active("surface"), store.previous("surface")) == (base, heads[1])
    assert steps(store)[-3:] == ["dismissed", "promoted", "rolled-back"]
    encoder = Encoder.from_bytes(tiny_onnx().SerializeToString(), RuntimeOptions())
    again = store.with_head(base, _head(encoder, 5), "the-same-head-solved-again")
    for digest in (heads[0], heads[1], again):
        with pytest.raises(BadBundleError, match="turned down before"):
            proposed(store, digest)
    store.activate("surface", again, runtime)
    store.activate("surface", base, runtime)
    assert proposed(store, heads[0]).stage is Stage.SHADOW


def test_a_newer_candidate_takes_the_place_of_one_in_shadow_and_lets_a_probation_rest(store, base, heads):
    proposed(store, heads[0])
    proposed(store, heads[1])
    assert store.trial("surface").candidate == heads[1]
    store.trials.settle("surface", heads[1], Event.SOUND)

    found = proposed(store, heads[2])
    assert (found.resting.candidate, found.reference, store.active("surface")) == (heads[1], base, heads[1])
    store.trials.settle("surface", heads[2], Event.WORSE)
    resumed = store.trial("surface")
    assert (resumed.candidate, resumed.stage, store.active("surface")) == (heads[1], Stage.PROBATION, heads[1])

    store.trials.settle("surface", heads[1], Event.WORSE)
    assert store.active("surface") == base


def test_a_rollback_goes_to_the_last_bundle_that_was_kept_however_many_came_into_force_since(store, base, heads):
    for digest in heads:
        proposed(store, digest)
        store.trials.settle("surface", digest, Event.SOUND)
    store.trials.settle("surface", heads[-1], Event.WORSE)
    assert store.active("surface") == base


@pytest.mark.parametrize("stage", [Stage.SHADOW, Stage.WAITING, Stage.PROBATION])
@pytest.mark.parametrize("way", ["activate", "roll back"])
def test_whoever_chooses_by_hand_ends_the_trial(store, base, heads, runtime, stage, way):
    store.activate("surface", heads[2], runtime)
    proposed(store, heads[0])
    if stage is not Stage.SHADOW:
        store.trials.settle("surface", heads[0], Event.ASKED if stage is Stage.WAITING else Event.SOUND)
    if way == "activate":
        store.activate("surface", heads[1], runtime)
    else:
        store.roll_back("surface")

    assert store.trial("surface").stage is Stage.ENDED
    with pytest.raises(BadBundleError, match="not on trial any more"):
        store.trials.settle("surface", heads[0], Event.WORSE)


def test_what_a_trial_needs_survives_pruning(store, base, heads, runtime):
    for digest in heads[:2]:
        proposed(store, digest)
        store.trials.settle("surface", digest, Event.SOUND)
    proposed(store, heads[2])
    store.prune(keep=0)
    assert {model.digest: model.state for model in store.list()} == {
        heads[1]: "active",
        heads[0]: "previous",
        base: "trial",
        heads[2]: "trial",
    }
    store.trials.settle("surface", heads[2], Event.SOUND)
    store.trials.settle("surface", heads[2], Event.WORSE)
    assert store.load(store.active("surface"), runtime).digest == base


def test_what_cannot_be_put_on_trial_is_refused_by_name(store, pristine, tmp_path, base, heads):
    other = store.stage(tiny_bundle(tmp_path / "other", name="other"))
    for name, digest, words in (
        ("surface", base, "active already"),
        ("surface", other, "not 'surface'"),
        ("other", other, "no active bundle"),
        ("surface", "0" * 64, "import it first"),
    ):
        with pytest.raises(BadBundleError, match=words):
            store.propose(name, digest)
    proposed(store, heads[0])
    with pytest.raises(BadBundleError, match="not on trial any more"):
        store.trials.settle("surface", heads[1], Event.SOUND)


def test_proposing_twice_is_as_good_as_once(store, base, heads):
    first = proposed(store, heads[0])
    store.trials.keep("surface", dataclasses.replace(first, shadow=Tally(alone=3)))
    assert proposed(store, heads[0]).shadow == Tally(alone=3)


def test_counts_of_a_trial_that_has_gone_on_are_forgotten(store, base, heads):
    before = proposed(store, heads[0])
    store.trials.settle("surface", heads[0], Event.SOUND)
    store.trials.keep("surface", dataclasses.replace(before, shadow=Tally(alone=3)))
    assert store.trial("surface").shadow == Tally()


# --- kills ---------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_at_any_write_leaves_the_candidate_in_force_and_on_probation_or_neither(store, base, heads):
    proposed(store, heads[0])
    for event, moved_to in ((Event.SOUND, heads[0]), (Event.WORSE, base)):
        before = store.active("surface"), store.trial("surface")

        def dying(path, content):
            raise Killed

        with pytest.raises(Killed):
            ModelStore(store.root, write=dying).trials.settle("surface", heads[0], event)
        assert (store.active("surface"), store.trial("surface")) == before

        def late(path, content):
            replace_file(path, content)
            raise Killed

        with pytest.raises(Killed):
            ModelStore(store.root, write=late).trials.settle("surface", heads[0], event)
        assert store.active("surface") == moved_to
        assert store.trial("surface").stage is (Stage.PROBATION if event is Event.SOUND else Stage.ROLLED_BACK)


def test_on_a_full_disk_nothing_moves_but_the_way_back_needs_no_line_in_the_journal(store, base, heads):
    proposed(store, heads[0])

    class Full(type(store.journal)):
        def write(self, step):
            raise StorageFullError("no space left")

    full = ModelStore(store.root, journal=Full(store.root))
    with pytest.raises(StorageFullError):
        full.trials.settle("surface", heads[0], Event.SOUND)
    assert store.active("surface") == base
    store.trials.settle("surface", heads[0], Event.SOUND)
    full.trials.settle("surface", heads[0], Event.WORSE)
    assert store.active("surface") == base
