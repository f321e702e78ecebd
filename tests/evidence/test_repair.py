"""After damage: everything that can still be read is there again, nothing was deleted."""

import contextlib
import shutil
from pathlib import Path

import pytest

from edge_agent.errors import CorruptStoreError
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.label_book import LabelBook
from edge_agent.evidence.labels import LabelSource
from edge_agent.evidence.repair import repair
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules, Vector
from edge_agent.evidence.views import LearnerView
from edge_agent.records import Standing
from tests.evidence.samples import draft, identity
from tests.fakes.clock import FakeClock

RULES = StoreRules(bounds=Bounds(floor_bytes=0), seal=SealRules(share=0.3), people_needed=2)
NUMBER = 120


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole") / "evidence"
    with contextlib.closing(EvidenceStore(root, RULES)) as store:
        store.add([draft(number, size=320) for number in range(NUMBER)])
        book = LabelBook(store, FakeClock())
        for number in range(0, NUMBER, 8):
            for by in ("ann", "bob"):
                book.say(identity(number), "dent", by=by, source=LabelSource.PAGE, new_class=True)
        store.hold([identity(1)], held=True, by="ann")
    with contextlib.closing(LearnerView(root)) as view:
        lesson = view.lessons("surface")[0]
        view.keep_vectors({lesson.sample.id: Vector(encoder="e", scale="s", value=b"\x01\x02")})
    return root


@pytest.fixture
def root(whole, tmp_path):
    """A store of its own for each test."""
    shutil.copytree(whole, tmp_path / "evidence")
    return tmp_path / "evidence"


def everything(root, rules=RULES):
    with contextlib.closing(EvidenceStore(root)) as store:
        store.database.check()
        assert rules is None or store.rules == rules
        return {sample.id: sample for sample in Catalogue(store.database).find(Wanted(), limit=-1)}


def pictures(root):
    return {path.name for path in root.rglob("*.png")}


def test_a_sound_store_is_left_alone(root):
    before = (root / "evidence.db").read_bytes()
    assert repair(root, FakeClock()).aside is None
    assert (root / "evidence.db").read_bytes() == before


@pytest.mark.parametrize("place", [0.3, 0.5, 0.7, 0.9])
def test_rows_on_both_sides_of_the_damage_are_saved_and_no_picture_is_lost(root, place):
    before, shown = everything(root), pictures(root)
    path = root / "evidence.db"
    content = path.read_bytes()
    start = int(len(content) * place) // 4096 * 4096
    path.write_bytes(content[:start] + b"\xa5" * 8192 + content[start + 8192 :])
    with contextlib.closing(EvidenceStore(root)) as store, pytest.raises(CorruptStoreError):
        store.database.check()
    harmed = path.read_bytes()

    done = repair(root, FakeClock())

    after = everything(root)
    assert (done.aside / "evidence.db").read_bytes() == harmed
    assert pictures(root) == shown
    assert done.samples == len(after) >= NUMBER * 0.8
    assert done.unowned == NUMBER - len(after)
    assert {sample.sealed == before[sample.id].sealed for sample in after.values()} == {True}
    settled = [sample for sample in after.values() if before[sample.id].standing is Standing.LABELLED]
    assert sum(sample.truth == "dent" for sample in settled) >= len(settled) * 0.8
    assert repair(root, FakeClock()).aside is None


def test_of_a_file_that_is_no_database_any_more_the_pictures_are_put_aside(root):
    shown = pictures(root)
    (root / "evidence.db").write_bytes(b"garbage" * 1000)

    done = repair(root, FakeClock())

    assert (done.samples, done.unowned) == (0, NUMBER)
    assert pictures(root) == shown
    assert len(pictures(done.aside)) == NUMBER


def test_pictures_whose_database_is_gone_are_put_aside_and_a_new_store_begun(root):
    (root / "evidence.db").unlink()

    done = repair(root, FakeClock())

    assert done.unowned == NUMBER
    with contextlib.closing(EvidenceStore(root, RULES)) as store:
        assert store.add([draft(1)])


def test_who_has_the_store_open_during_a_repair_goes_on_in_the_new_one(root):
    with contextlib.closing(EvidenceStore(root)) as other:
        (root / "evidence.db").rename(root / "evidence.db.elsewhere")
        for suffix in ("-wal", "-shm"):
            (root / f"evidence.db{suffix}").unlink(missing_ok=True)
        repair(root, FakeClock())

        (kept,) = other.add([draft(9999)])

        assert set(everything(root, rules=None)) == {kept.id}


class PowerCutError(BaseException):
    """Nothing after this happens."""


@pytest.mark.parametrize("point", range(5))
def test_a_repair_that_is_cut_at_any_rename_is_finished_by_the_next(root, monkeypatch, point):
    path = root / "evidence.db"
    content = path.read_bytes()
    half = len(content) // 8192 * 4096
    path.write_bytes(content[:half] + b"\xa5" * 8192 + content[half + 8192 :])
    (root / "evidence.db.part").write_bytes(b"of an earlier attempt")
    left = [point]
    rename = Path.rename

    def cut(self, target):
        if left[0] == 0:
            raise PowerCutError
        left[0] -= 1
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", cut)
    with contextlib.suppress(PowerCutError):
        repair(root, FakeClock())
    monkeypatch.undo()
    repair(root, FakeClock(utc_s=1_790_000_100.0))

    assert len(everything(root)) >= NUMBER * 0.8
    assert repair(root, FakeClock()).aside is None
    assert not (root / "evidence.db.new").exists()
