"""A learning pass over a store with faults: what cannot be used is left out and named, and a full disk costs nothing."""

import contextlib
import logging
import shutil

import cv2
import numpy as np
import pytest

from edge_agent.clock import SystemClock
from edge_agent.errors import TransientError
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.importing import Importer, ImportTerms
from edge_agent.evidence.lists import Entry
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.models.encoder import RuntimeOptions
from edge_agent.models.store import ModelStore
from edge_agent.processes.candidates import Ground
from edge_agent.processes.evidence_place import examine
from edge_agent.processes.learn import BUNDLES_KEPT, tidy
from edge_agent.processes.learning import Result, learn
from tests.evidence.disks import small_disk
from tests.fakes.tiny_model import FLAVOUR, tiny_bundle

NAME = "surface"
RULES = StoreRules(seal=SealRules(share=0.3), bounds=Bounds(floor_bytes=0))


def labelled(state, pictures, labels):
    """An evidence store of small pictures, one group each."""
    entries = []
    for number, label in enumerate(labels):
        pixels = np.random.default_rng(number).integers(90, 120, (32, 32, 3), dtype=np.uint8)
        if label != "ok":
            pixels[8:24, 8:24] = 5
        path = pictures / f"{number:03}.png"
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        entries.append(Entry(path=path, place=str(path), label=label, group=f"part {number}"))
    with contextlib.closing(EvidenceStore(state / "evidence", RULES)) as store:
        Importer(store, SystemClock(), examine, ImportTerms(by="ana", task=NAME)).take(entries, lambda _done: None)


def ground_of(state):
    return Ground(
        state_dir=state,
        store=ModelStore(state / "models"),
        runtime=RuntimeOptions(),
        flavour=FLAVOUR,
        clock=SystemClock(),
    )


def bundled(state, folder):
    store = ModelStore(state / "models")
    store.activate(NAME, store.stage(tiny_bundle(folder / "bundle")), RuntimeOptions())


@pytest.fixture
def state(tmp_path):
    (tmp_path / "pictures").mkdir()
    labelled(tmp_path / "state", tmp_path / "pictures", ["ok", "spot"] * 30)
    bundled(tmp_path / "state", tmp_path)
    return tmp_path / "state"


def samples(state):
    with contextlib.closing(EvidenceStore(state / "evidence")) as store:
        return Catalogue(store.database).find(Wanted(), limit=-1)


def test_damaged_and_missing_pictures_are_left_out_and_named_and_the_others_teach(state, caplog):
    of = {sealed: [sample for sample in samples(state) if sample.sealed == sealed] for sealed in (False, True)}
    broken = [of[False][0], of[True][0]]
    for sample in broken:
        (state / "evidence" / sample.file).write_bytes(b"no picture")
    lost = of[False][1]
    (state / "evidence" / lost.file).unlink()

    with caplog.at_level(logging.WARNING):
        found = learn(NAME, ground_of(state))

    assert found.result is Result.ON_TRIAL
    assert found.samples == len(of[False]) - 2
    skipped = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert {sample.id for sample in (*broken, lost)} == {words.split("sample=")[1].split()[0] for words in skipped}


def test_labels_of_one_class_only_are_told_and_change_nothing(tmp_path):
    (tmp_path / "pictures").mkdir()
    state = tmp_path / "state"
    labelled(state, tmp_path / "pictures", ["ok"] * 12)
    bundled(state, tmp_path)
    before = ModelStore(state / "models").active(NAME)

    found = learn(NAME, ground_of(state))

    assert found.result is Result.UNLEARNABLE
    assert "label parts of a second one" in found.reason
    assert ModelStore(state / "models").active(NAME) == before


@pytest.mark.parametrize("leave_bytes", [0, 4096, 8192, 12_288, 16_384, 24_576, 32_768, 49_152, 65_536])
def test_a_disk_that_fills_up_anywhere_in_a_pass_leaves_the_head_in_force_and_the_next_pass_makes_it(
    state, leave_bytes
):
    undisturbed = state.with_name("undisturbed")
    shutil.copytree(state, undisturbed)
    assert learn(NAME, ground_of(undisturbed)).result is Result.ON_TRIAL
    with small_disk("8m") as disk:
        there = disk.root / "state"
        shutil.copytree(state, there)
        ground = ground_of(there)
        disk.fill(leave_bytes)
        with contextlib.suppress(TransientError):
            learn(NAME, ground)
        assert ground.store.load(ground.store.active(NAME), RuntimeOptions(), FLAVOUR)
        disk.free()

        learn(NAME, ground)

        assert heads(there) == heads(undisturbed)
        assert books(there) == books(undisturbed)


def heads(state):
    """The hashes of the heads of all bundles: the one that came and the one that was learned, however often."""
    return {model.manifest.head.sha256 for model in ModelStore(state / "models").list()}


def books(state):
    return {path.name: path.read_bytes() for path in (state / "statistics").rglob("*.book")}


def test_the_oldest_bundles_that_nobody_uses_go_and_the_one_in_force_stays(tmp_path):
    ground = ground_of(tmp_path)
    bundled(tmp_path, tmp_path)
    active = ground.store.active(NAME)
    staged = [ground.store.stage(tiny_bundle(tmp_path / version, version=version)) for version in "abcdefghij"]

    tidy(ground)

    left = {model.digest for model in ground.store.list()}
    assert active in left
    assert len(left & set(staged)) == BUNDLES_KEPT
