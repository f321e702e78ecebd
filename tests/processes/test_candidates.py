"""From a staged candidate to a ruling: real bundles, a real hold-out, this machine; each cause of a refusal once."""

import contextlib
import dataclasses
import json

import cv2
import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import BadBundleError, StorageFullError
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.importing import Importer, ImportTerms
from edge_agent.evidence.lists import Entry
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.learn.gate import Outcome, Policy
from edge_agent.models import arrays, bundle
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.journal import Event, Journal
from edge_agent.models.store import ModelStore
from edge_agent.processes.candidates import Ground, put_forward, sealed_count
from edge_agent.processes.evidence_place import examine
from edge_agent.processes.examination import Limits
from edge_agent.storage import replace_file
from tests.fakes.tiny_model import FLAVOUR, tiny_bundle, tiny_head, tiny_pictures

NAME = "surface"
# 80 parts show no more than this.
POLICY = Policy(margin=0.05, recall_margin=0.1)
BLACK = np.zeros((32, 32, 3), np.uint8)


def sealed(state, parts):
    """An evidence store all of whose parts are sealed: (label, picture) each."""
    folder = state.parent / "sealed"
    folder.mkdir(exist_ok=True)
    rules = StoreRules(seal=SealRules(share=1.0), bounds=Bounds(floor_bytes=0))
    entries = []
    for number, (label, picture) in enumerate(parts):
        path = folder / f"{number:03}.png"
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        entries.append(Entry(path=path, place=str(path), label=label, group=f"part {number}"))
    with contextlib.closing(EvidenceStore(state / "evidence", rules)) as store:
        Importer(store, SystemClock(), examine, ImportTerms(by="ana", task=NAME)).take(entries, lambda _done: None)


def parts(count, seed=5):
    return [("scratch" if n % 2 else "ok", picture) for n, picture in enumerate(tiny_pictures(count, seed=seed))]


@pytest.fixture(scope="session")
def evidence(tmp_path_factory):
    """80 sealed parts that the tiny head knows, made once."""
    state = tmp_path_factory.mktemp("evidence") / "state"
    sealed(state, parts(80))
    return state


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "models")


@pytest.fixture
def active(store, tmp_path):
    return activated(store, tmp_path)


def activated(store, tmp_path):
    digest = store.stage(tiny_bundle(tmp_path / "active"))
    store.activate(NAME, digest, RuntimeOptions())
    return digest


@pytest.fixture
def ground(store, evidence):
    return Ground(
        state_dir=evidence,
        store=store,
        runtime=RuntimeOptions(),
        flavour=FLAVOUR,
        clock=SystemClock(),
        policy=POLICY,
    )


def other_head(store, digest, *, worse=False, classes=("ok", "scratch")):
    """The same encoder with another head; a worse one takes scratches for good and good for scratches."""
    head = tiny_head(store.load(digest, RuntimeOptions()).encoder, classes, seed=3)
    if worse:
        head = dataclasses.replace(head, weights=-head.weights)
    return store.with_head(digest, head, "head-2")


def last(store):
    return store.journal.read().steps[-1]


# --- let through ---------------------------------------------------------------------------------------------------


def test_a_head_that_is_no_worse_goes_on_and_the_journal_has_every_figure(store, active, ground):
    candidate = other_head(store, active)
    seen = []

    found = put_forward(NAME, candidate, ground, seen.append)

    assert (found.outcome, found.reasons, found.accepted) == (Outcome.PASS, (), True)
    told = next(step for step in store.journal.read().steps if step.event is Event.PROPOSED)
    assert (told.digest, told.from_digest, told.by, dict(told.figures)) == (candidate, active, "learn", found.figures)
    assert {"right_parts": 80, "candidate_right": 80, "defects": 40, "good": 40}.items() <= found.figures.items()
    assert found.figures["candidate_ms"] > 0
    # The network in force is loaded already: another head on it weighs nothing.
    assert "memory_bytes" not in found.figures
    assert seen == list(range(1, 81))


def test_what_few_parts_cannot_show_goes_on_with_the_reason_why_it_is_unproven(store, active, ground):
    found = put_forward(NAME, other_head(store, active), dataclasses.replace(ground, policy=Policy()))

    assert found.outcome is Outcome.UNPROVEN
    assert "not shown" in found.reasons[0]


def test_another_network_is_weighed_and_each_judges_with_its_own(store, active, ground, tmp_path):
    candidate = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=4))

    found = put_forward(NAME, candidate, ground)

    assert found.accepted
    assert found.figures["memory_bytes"] > 20 * 1024 * 1024
    assert found.figures["candidate_right"] == 80


def test_without_evidence_there_is_nothing_to_prove_it_by(store, active, ground, tmp_path):
    found = put_forward(NAME, other_head(store, active), dataclasses.replace(ground, state_dir=tmp_path / "none"))

    assert found.outcome is Outcome.UNPROVEN
    assert "0 sealed parts" in found.reasons[0]


def test_the_first_bundle_has_nothing_to_be_held_against_and_judges_at_once(store, ground, tmp_path):
    candidate = store.stage(tiny_bundle(tmp_path / "first", float_seed=0))

    found = put_forward(NAME, candidate, ground)

    assert found.accepted
    assert store.active(NAME) == candidate
    assert found.figures["agreement"] == 1.0


def test_a_class_that_the_active_head_was_never_shown_is_won_by_the_one_that_was(store, active, ground, tmp_path):
    """Dim parts are "stain" now; the active head calls them good, and knows no better."""
    state = tmp_path / "state"
    stains = [("stain", dim(picture)) for picture in tiny_pictures(40, seed=9)[::2]]
    sealed(state, parts(80) + stains)
    model = store.load(active, RuntimeOptions())
    head = _three_classes(model.encoder)

    found = put_forward(NAME, store.with_head(active, head, "3"), dataclasses.replace(ground, state_dir=state))

    assert found.outcome is Outcome.PASS
    assert found.figures["defects"] == 60
    assert found.figures["candidate_defects_found"] == 60
    assert found.figures["active_defects_found"] < 60


def dim(picture):
    return (picture * 0.8).astype(np.uint8)


def _three_classes(encoder):
    """A head that tells a dark part by its vector, besides what the tiny head knows."""
    pictures = [*tiny_pictures(64, seed=1), *(dim(picture) for picture in tiny_pictures(32, seed=2)[::2])]
    kinds = np.array([n % 2 for n in range(64)] + [2] * 16)
    vectors = np.stack([encoder.encode(picture).vector for picture in pictures]).astype(np.float64)
    mean, scale = vectors.mean(axis=0), vectors.std(axis=0) + 1e-3
    z = (vectors - mean) / scale
    z1 = np.hstack([z, np.ones((len(z), 1))])
    weights = np.linalg.solve(z1.T @ z1 + 1e-2 * np.eye(z1.shape[1]), z1.T @ np.eye(3)[kinds])
    plain = tiny_head(encoder, ("ok", "scratch", "stain"))
    return dataclasses.replace(
        plain,
        weights=weights[:-1].astype(np.float32),
        bias=weights[-1].astype(np.float32),
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        temperature=0.1,
    )


# --- refused -------------------------------------------------------------------------------------------------------


def refused(store, candidate, ground, words):
    before = store.active(NAME)

    found = put_forward(NAME, candidate, ground)

    assert found.outcome is Outcome.REFUSE
    assert any(words in reason for reason in found.reasons), found.reasons
    assert store.active(NAME) == before
    assert store.trial(NAME) is None
    assert (last(store).event, last(store).digest, last(store).reasons) == (Event.REFUSED, candidate, found.reasons)
    return found


def test_worse_on_the_sealed_parts_is_refused(store, active, ground):
    found = refused(store, other_head(store, active, worse=True), ground, "right answers")

    assert (found.figures["right_lost"], found.figures["candidate_right"]) == (80, 0)


def test_no_finite_answer_for_a_sealed_part_is_refused(store, active, ground, tmp_path):
    state = tmp_path / "state"
    sealed(state, [*parts(40), ("scratch", BLACK)])
    candidate = store.stage(tiny_bundle(tmp_path / "fragile", version="2", fails_on_black=True))

    refused(store, candidate, dataclasses.replace(ground, state_dir=state), "no finite answer for 1 of 41 parts")


def test_golden_answers_that_are_not_reproduced_here_are_refused(store, active, ground, tmp_path):
    directory = tiny_bundle(tmp_path / "elsewhere", version="2", seed=3)
    _built_elsewhere(directory)

    refused(store, store.stage(directory), ground, "golden picture 0")


def _built_elsewhere(directory):
    """Golden vectors of a machine that computes something else."""
    path = directory / bundle.MANIFEST_NAME
    manifest = bundle.from_bytes(path.read_bytes())
    content = (directory / manifest.golden.name).read_bytes()
    golden = arrays.golden_from_bytes(
        content, input_px=manifest.input_px, dimension=manifest.features.dimension, flavours={FLAVOUR}
    )
    off = arrays.Golden(pictures=golden.pictures, vectors={FLAVOUR: golden.vectors[FLAVOUR] * np.float32(1.5)})
    content = arrays.golden_to_bytes(off)
    (directory / manifest.golden.name).write_bytes(content)
    plain = json.loads(path.read_bytes())
    described = bundle.describe(content, manifest.golden.name)
    plain["golden"] |= {"size": described.size, "sha256": described.sha256}
    path.write_bytes(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n")


def test_a_file_that_rotted_in_the_store_is_refused(store, active, ground, tmp_path):
    candidate = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=4))
    blob = store.root / "blobs" / store.manifest(candidate).networks[FLAVOUR].sha256
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x00")

    refused(store, candidate, ground, "truncated or altered")


def test_slower_than_the_configured_limit_is_refused(store, active, ground):
    tight = dataclasses.replace(ground, limits={NAME: Limits(latency_ms=1e-6)})

    refused(store, other_head(store, active), tight, "latency")


def test_a_limit_that_the_line_only_implies_is_none_for_who_is_as_quick_as_the_active_one(store, active, ground):
    implied = dataclasses.replace(ground, limits={NAME: Limits(latency_ms=1e-6, strict=False)})

    assert put_forward(NAME, other_head(store, active), implied).accepted


def test_more_memory_than_the_profile_allows_is_refused(store, active, ground, tmp_path):
    candidate = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=4))
    tight = dataclasses.replace(ground, limits={NAME: Limits(memory_bytes=1024 * 1024)})

    refused(store, candidate, tight, "memory")


def test_int8_that_says_something_else_than_float_is_refused(store, active, ground, tmp_path):
    candidate = store.stage(tiny_bundle(tmp_path / "other", version="2", seed=4, float_seed=5))

    found = refused(store, candidate, ground, "int8 and float agree on")

    assert found.figures["agreement_parts"] == 64


def test_a_first_bundle_too_must_reproduce_its_answers_and_mean_the_same_in_int8(store, ground, tmp_path):
    bad = tiny_bundle(tmp_path / "elsewhere", seed=3)
    _built_elsewhere(bad)

    refused(store, store.stage(bad), ground, "golden picture 0")
    wrong = store.stage(tiny_bundle(tmp_path / "first", float_seed=5))
    refused(store, wrong, ground, "int8 and float agree on")
    assert store.active(NAME) is None


def test_a_bundle_of_another_model_is_nobody_s_candidate(store, active, ground, tmp_path):
    candidate = store.stage(tiny_bundle(tmp_path / "other", name="screws"))

    with pytest.raises(BadBundleError, match="'screws', not 'surface'"):
        put_forward(NAME, candidate, ground)
    assert last(store).event is Event.IMPORTED


# --- a hold-out and a disk as they are -----------------------------------------------------------------------------


def test_a_sealed_picture_that_is_damaged_is_left_out(store, active, ground, tmp_path, caplog):
    state = tmp_path / "state"
    sealed(state, parts(20))
    next(path for path in (state / "evidence" / "sealed").rglob("*.png")).write_bytes(b"no picture")

    found = put_forward(NAME, other_head(store, active), dataclasses.replace(ground, state_dir=state))

    assert found.figures["right_parts"] == 19
    assert sealed_count(NAME, state) == 20
    assert "skipped" in caplog.text


def full(*_):
    raise StorageFullError("no space left")


def test_a_disk_without_room_for_the_line_lets_nothing_through(store, active, ground):
    candidate = other_head(store, active)
    blind = ModelStore(store.root, journal=Journal(store.root, append=full))

    for one in (candidate, other_head(store, active, worse=True)):
        with pytest.raises(StorageFullError):
            put_forward(NAME, one, dataclasses.replace(ground, store=blind))

    assert store.active(NAME) == active
    assert store.trial(NAME) is None
    assert put_forward(NAME, candidate, ground).accepted


def test_a_disk_that_fills_up_at_the_pointer_leaves_the_active_one_and_a_line_that_says_so(store, active, ground):
    candidate = other_head(store, active)

    def write(path, content):
        if "pointers" in path.parts:
            full()
        replace_file(path, content)

    with pytest.raises(StorageFullError):
        put_forward(NAME, candidate, dataclasses.replace(ground, store=ModelStore(store.root, write=write)))

    assert store.active(NAME) == active
    assert store.trial(NAME) is None
    assert last(store).event is Event.FAILED
    assert "no space left" in last(store).reasons[0]
    assert put_forward(NAME, candidate, ground).accepted


def test_a_disk_that_fills_up_while_the_candidate_is_staged_leaves_none(store, active, ground):
    before = [model.digest for model in store.list()]
    writes = iter([None])

    def write(path, content):
        if next(writes, full) is full:
            full()
        replace_file(path, content)

    with pytest.raises(StorageFullError):
        other_head(ModelStore(store.root, write=write), active)

    assert [model.digest for model in store.list()] == before
    assert put_forward(NAME, other_head(store, active), ground).accepted
