"""The way in: inspection is never held up, what is kept is durable, what is not is counted."""

import contextlib
import itertools
import threading

import numpy as np
import pytest

from edge_agent import storage
from edge_agent.clock import SystemClock
from edge_agent.evidence.candidate import Candidate, Encoded
from edge_agent.evidence.catalogue import Catalogue, Wanted
from edge_agent.evidence.grouping import SealRules
from edge_agent.evidence.keeping import KeepRules
from edge_agent.evidence.retention import Bounds
from edge_agent.evidence.store import EvidenceStore, StoreRules
from edge_agent.evidence.writer import EvidenceWriter, WriterLimits
from edge_agent.records import KeepReason, Verdict
from tests.evidence.disks import FULL, small_disk
from tests.evidence.samples import draft, identity, inspection
from tests.waiting import until

DEADLINE_S = 20.0
RULES = StoreRules(bounds=Bounds(floor_bytes=0), seal=SealRules(share=0.0))
numbers = itertools.count(1000)


class Troubles:
    """Listens, and can be waited on."""

    def __init__(self):
        self.heard = []
        self._changed = threading.Condition()

    def __call__(self, code, active, text):
        with self._changed:
            self.heard.append((code, active))
            self._changed.notify_all()

    def wait_for_one_of(self, codes):
        with self._changed:
            assert self._changed.wait_for(lambda: any(active for _, active in self.heard), DEADLINE_S)
            assert self.heard[0][0] in codes
            return self.heard[0][0]

    def wait_for(self, *wanted):
        with self._changed:
            assert self._changed.wait_for(lambda: wanted in self.heard, DEADLINE_S), self.heard


@pytest.fixture
def troubles():
    return Troubles()


def candidate(verdict=Verdict.FAIL, *, likeness=None, size=1000, held_bytes=100, encode=None, **other):
    number = next(numbers)
    content = b"%08d" % number * (size // 8)
    return Candidate(
        inspection=inspection(verdict, id=identity(number), part=f"{number}", **other),
        task="surface",
        held_bytes=held_bytes,
        likeness=lambda: number * 0x9E3779B97F4A7C15 % 2**64 if likeness is None else likeness,
        encode=encode or (lambda: Encoded(content=content, suffix=".jpg", width_px=64, height_px=48)),
    )


@contextlib.contextmanager
def writer_at(root, troubles, *, keep=None, rules=RULES, limits=None):
    writer = EvidenceWriter(
        root,
        rules,
        {"top": keep or KeepRules()},
        SystemClock(),
        np.random.default_rng(7),
        trouble=troubles,
        limits=limits,
    )
    try:
        yield writer
    finally:
        writer.close(2.0)


def stored(root):
    with contextlib.closing(EvidenceStore(root)) as store:
        return Catalogue(store.database).find(Wanted(), limit=-1)


def tally(root):
    with contextlib.closing(EvidenceStore(root)) as store:
        return Catalogue(store.database).stats().tally


def test_what_is_worth_a_label_is_kept_and_the_rest_is_forgotten(tmp_path, troubles):
    offered = candidate()
    with writer_at(tmp_path, troubles) as writer:
        assert writer.offer(offered)
        assert not writer.offer(candidate(Verdict.PASS))
        assert not writer.offer(candidate(camera="unknown"))
        assert writer.flush(DEADLINE_S)
        (sample,) = stored(tmp_path)

    found = offered.inspection
    assert (sample.id, sample.camera, sample.verdict, sample.score) == (found.id, "top", Verdict.FAIL, found.score)
    assert (sample.group, sample.kept, sample.width_px) == (f"part:{found.part}", (KeepReason.FAIL,), 64)
    assert troubles.heard == []


def test_an_offer_never_waits_for_the_disk_and_what_does_not_fit_is_counted(tmp_path, troubles):
    gate, began = threading.Event(), threading.Event()

    def slow():
        began.set()
        assert gate.wait(DEADLINE_S)
        return Encoded(content=b"slow", suffix=".jpg", width_px=1, height_px=1)

    with writer_at(tmp_path, troubles, limits=WriterLimits(pictures=3, memory_bytes=1000)) as writer:
        writer.offer(candidate(encode=slow))
        assert began.wait(DEADLINE_S)
        taken = [writer.offer(candidate()) for _ in range(5)]
        taken += [writer.offer(candidate(held_bytes=10**6))]
        gate.set()
        assert writer.flush(DEADLINE_S)

    assert taken == [True, True, True, False, False, False]
    assert len(stored(tmp_path)) == 4


def test_a_picture_too_large_for_the_memory_that_may_wait_is_counted(tmp_path, troubles):
    with writer_at(tmp_path, troubles, limits=WriterLimits(memory_bytes=1000)) as writer:
        assert not writer.offer(candidate(held_bytes=1001))
        assert writer.offer(candidate(held_bytes=1000))


def test_near_duplicates_and_what_is_over_the_quota_are_not_encoded_but_counted(tmp_path, troubles):
    def never():
        raise AssertionError("encoded")

    with writer_at(tmp_path, troubles, keep=KeepRules(per_hour=2)) as writer:
        writer.offer(candidate(likeness=0))
        writer.offer(candidate(likeness=0b111, encode=never))
        writer.offer(candidate(likeness=2**64 - 1))
        writer.offer(candidate(likeness=2**32 - 1, encode=never))
        assert writer.flush(DEADLINE_S)
    assert len(stored(tmp_path)) == 2


def test_the_counts_reach_the_store(tmp_path, troubles):
    with writer_at(tmp_path, troubles) as writer:
        for likeness in (0, 1, 2):
            writer.offer(candidate(likeness=likeness))
        assert writer.flush(DEADLINE_S)
        writer._wake.set()
        assert until(lambda: tally(tmp_path)) == {"kept": 1, "alike": 2}
        writer.offer(candidate(likeness=3))
        assert writer.flush(DEADLINE_S)
    assert tally(tmp_path) == {"kept": 1, "alike": 3}


def test_after_a_restart_what_looks_like_what_was_kept_is_still_not_kept_again(tmp_path, troubles):
    for likeness in (0b1, 0b11):
        with writer_at(tmp_path, troubles) as writer:
            writer.offer(candidate(likeness=likeness))
            assert writer.flush(DEADLINE_S)

    assert len(stored(tmp_path)) == 1


def test_what_a_person_asked_for_is_kept_though_it_passed_and_looks_alike_and_then_no_more(tmp_path, troubles):
    with contextlib.closing(EvidenceStore(tmp_path, RULES)) as store:
        store.wish("top", 2)
    with writer_at(tmp_path, troubles) as writer:
        until(lambda: writer.offer(candidate(Verdict.PASS, likeness=0)))
        assert writer.offer(candidate(Verdict.PASS, likeness=0))
        assert not writer.offer(candidate(Verdict.PASS, likeness=0))
        assert writer.flush(DEADLINE_S)

    assert [sample.kept for sample in stored(tmp_path)] == [(KeepReason.REQUEST,)] * 2
    with contextlib.closing(EvidenceStore(tmp_path)) as store:
        assert store.wishes() == {}


def test_strays_of_a_crash_are_swept_while_nothing_waits(tmp_path, troubles):
    with contextlib.closing(EvidenceStore(tmp_path, RULES)) as store:
        store.add([draft(1)])
    stray = tmp_path / "open" / "ff" / ("ff" * 32 + ".png")
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    with writer_at(tmp_path, troubles) as writer:
        until(lambda: writer._wake.set() or not stray.exists())
    assert len(stored(tmp_path)) == 1


def test_when_somebody_else_fills_the_disk_pictures_go_though_none_comes(tmp_path, troubles, monkeypatch):
    with contextlib.closing(EvidenceStore(tmp_path, RULES)) as store:
        store.add([draft(number, size=992) for number in range(10)])
    monkeypatch.setattr(storage, "free_bytes", lambda path: 10_000 - sum(f.stat().st_size for f in path.rglob("*.png")))
    with writer_at(tmp_path, troubles, rules=StoreRules(bounds=Bounds(floor_bytes=3000), seal=SealRules(share=0.0))):
        until(lambda: len(stored(tmp_path)) == 7)
        assert {sample.id for sample in stored(tmp_path)} == {identity(number) for number in range(3, 10)}


def test_a_full_disk_is_told_inspection_goes_on_and_all_is_well_when_there_is_room(troubles):
    with small_disk() as disk:
        root = disk.root / "evidence"
        with writer_at(root, troubles) as writer:
            writer.offer(candidate())
            assert writer.flush(DEADLINE_S)
            disk.fill()
            for _ in range(20):
                writer.offer(candidate(size=80_000))
            code = troubles.wait_for_one_of(FULL)
            kept = {sample.id for sample in stored(root)}

            disk.free()
            assert writer.flush(DEADLINE_S)
            last = candidate()
            until(lambda: writer.offer(last))
            assert writer.flush(DEADLINE_S)
            troubles.wait_for(code, False)
        assert kept | {last.inspection.id} <= {sample.id for sample in stored(root)}


def test_a_damaged_store_is_told_and_left_alone(tmp_path, troubles):
    with contextlib.closing(EvidenceStore(tmp_path, RULES)) as store:
        (kept,) = store.add([draft(1)])
    path = tmp_path / "evidence.db"
    path.write_bytes(b"not a database" * 1000)
    with writer_at(tmp_path, troubles) as writer:
        writer.offer(candidate())
        troubles.wait_for("evidence-damaged", True)
        assert writer.is_alive()

    assert (tmp_path / kept.file).exists()
    assert path.read_bytes() == b"not a database" * 1000


def test_an_exception_that_is_no_fault_of_the_disk_ends_the_writer_and_surfaces_at_the_next_offer(tmp_path, troubles):
    with writer_at(tmp_path, troubles) as writer:
        writer.offer(candidate(encode=lambda: 1 / 0))
        writer._thread.join(DEADLINE_S)
        assert not writer.is_alive()
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            writer.offer(candidate())
